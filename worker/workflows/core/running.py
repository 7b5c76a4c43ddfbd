"""The moves of a run: arriving at a step, hearing its answer, choosing what comes after it.

Each move changes the state that it was given and returns the next move, or None where something
outside has to happen first.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from sluice.workflows.core.pointers import ABSENT
from sluice.workflows.core.runs import RunError
from worker.workflows.core.calls import UnsendableError
from worker.workflows.core.expressions import Exchange, Kept, Scope
from worker.workflows.core.frames import entered, given, outputs_of
from worker.workflows.core.hearing import (
    hear,
    is_transient,
    no_action,
    unmet,
    why_failed,
    why_silent,
)
from worker.workflows.core.planned import (
    Plan,
    PlannedAction,
    PlannedStep,
    PlannedWorkflow,
)
from worker.workflows.core.rendering import current_step, rendered, scope_of
from worker.workflows.core.state import (
    MAX_LOST,
    MAX_RUN_S,
    MAX_VISITS,
    Answer,
    Frame,
    Lost,
    NoAnswer,
    Outcome,
    Purpose,
    Result,
    State,
    StepEnd,
)
from worker.workflows.core.waits import MAX_OWN_RETRIES, own_retry_wait_s, poll_wait_s

Next = Callable[[], object] | None


class Run:
    """A run in motion, over a state that is its own to change."""

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state

    # Where a run stands

    @property
    def _frame(self) -> Frame:
        return self._state.frames[-1]

    @property
    def _workflow(self) -> PlannedWorkflow:
        return self._plan.workflows[self._frame.workflow_id]

    @property
    def _step(self) -> PlannedStep:
        return current_step(self._plan, self._state)

    def _push(self, workflow_id: str, purpose: Purpose, inputs: dict[str, Kept]) -> Next:
        """Begin a workflow inside of the current one."""
        frame = entered(self._plan, workflow_id, purpose, inputs)
        if not isinstance(frame, RunError):
            self._state.frames.append(frame)
            return self.arrive
        if purpose == "step":
            return lambda: self._failed(frame, Exchange())
        return lambda: self._fail_frame(frame)

    # Arriving

    def arrive(self) -> Next:
        """Come to the current step, or to the end of the workflow."""
        frame, workflow = self._frame, self._workflow
        if frame.step == 0 and frame.visit == 0:
            for needed in workflow.depends_on:
                if needed not in self._state.results:
                    return self._push(needed, "depends", self._same_inputs(needed))
        if frame.step >= len(workflow.steps):
            return self._finish
        step = self._step
        key = f"{frame.workflow_id}/{step.id}"
        visit = self._state.visits.get(key, 0) + 1
        if visit > MAX_VISITS:
            message = f"Step {step.id} was visited {MAX_VISITS} times"
            return self._end(RunError("customer", "sluice.workflow.step/loop-limit", message))
        self._state.visits[key] = visit
        frame.visit, frame.attempt, frame.own_retries, frame.lost = visit, 1, 0, 0
        frame.retries, frame.retry_at = {}, None
        return self._start

    def _start(self) -> Next:
        """Begin an attempt of the current step."""
        step = self._step
        if step.workflow_id is not None:
            scope = scope_of(self._plan, self._state)
            return self._push(step.workflow_id, "step", given(step.parameters, scope))
        try:
            rendered(self._plan, self._state)
        except UnsendableError as error:
            silence = NoAnswer(kind="unsendable", detail=str(error), was_sent=False)
            return lambda: self._failed(why_silent(step, silence), Exchange())
        return None

    def resume(self) -> Next:
        """Go on after a wait."""
        self._state.resume_at = None
        if self._state.on_resume == "arrive":
            return self.arrive
        self._frame.attempt += 1
        return self._start

    # Hearing

    def heard(self, event: Answer | NoAnswer | Lost) -> Next:
        """Take what became of the current request."""
        match event:
            case Answer():
                return self._answered(event)
            case NoAnswer():
                return self._silent(event)
            case Lost():
                return self._lost()

    def _answered(self, answer: Answer) -> Next:
        state, step = self._state, self._step
        adapter = step.call.operation.adapter if step.call is not None else None
        made = rendered(self._plan, state)
        heard = hear(answer, made, step, state.memory.get(adapter or "", {}), state.now)
        if adapter is not None and heard.memory:
            state.memory[adapter] = dict(heard.memory)
        state.last_status = answer.status
        scope = scope_of(self._plan, state, exchange=heard.exchange)
        error = why_failed(step, heard, scope)
        if error is None:
            return lambda: self._succeeded(scope, heard.retry_after_s)
        return lambda: self._failed(
            error,
            heard.exchange,
            is_transient=is_transient(answer.status),
            retry_after_s=heard.retry_after_s,
        )

    def _silent(self, silence: NoAnswer) -> Next:
        step = self._step
        repeat = step.call.repeat if step.call is not None else None
        may_be_done = silence.was_sent and silence.kind != "unsendable"
        if repeat is not None and repeat.ask is not None and may_be_done:
            return self._push(repeat.ask, "ask", self._same_inputs(repeat.ask))
        return self._failed(
            why_silent(step, silence),
            Exchange(),
            is_transient=silence.kind in ("timeout", "network"),
            is_certain=not silence.was_sent,
        )

    def _lost(self) -> Next:
        frame, step = self._frame, self._step
        repeat = step.call.repeat if step.call is not None else None
        frame.lost += 1
        if frame.lost >= MAX_LOST:
            message = f"Step {step.id}: the worker was lost {MAX_LOST} times"
            return self._end(RunError("platform", "sluice.workflow.worker/lost", message))
        if repeat is not None and repeat.is_safe:
            frame.attempt += 1
            return None
        if repeat is not None and repeat.ask is not None:
            return self._push(repeat.ask, "ask", self._same_inputs(repeat.ask))
        message = (
            f"Step {step.id}: the worker was lost while its request was under way; it may have"
            " been done, and the document does not say that it may be repeated"
        )
        return self._end(RunError("platform", "sluice.workflow.worker/lost", message))

    # After a step

    def _note(self, outcome: Outcome, error: RunError | None = None) -> None:
        frame = self._frame
        self._state.ended.append(
            StepEnd(
                workflow_id=frame.workflow_id,
                step_id=self._step.id,
                visit=frame.visit,
                attempt=frame.attempt,
                outcome=outcome,
                status=self._state.last_status if self._step.call is not None else None,
                error=error,
            )
        )

    def _succeeded(self, scope: Scope, retry_after_s: float | None = None) -> Next:
        frame, step = self._frame, self._step
        self._note("succeeded")
        frame.outputs[step.id] = outputs_of(step.outputs, scope)
        if frame.purpose == "helper step":
            return self._helped
        action = self._chosen(step.on_success, scope)
        if action is not None:
            return self._act(action, scope, retry_after_s)
        if step.is_gate:
            return self._fail_frame(no_action(step, scope))
        frame.step += 1
        return self.arrive

    def _failed(
        self,
        error: RunError,
        exchange: Exchange,
        *,
        is_transient: bool = False,
        is_certain: bool = False,
        retry_after_s: float | None = None,
    ) -> Next:
        frame, step = self._frame, self._step
        if is_transient and self._retries_itself(step, is_certain=is_certain):
            self._note("up for retry", error)
            frame.own_retries += 1
            return self._again(own_retry_wait_s(frame.own_retries - 1, retry_after_s))
        scope = scope_of(self._plan, self._state, exchange=exchange)
        action = self._chosen(step.on_failure, scope)
        if action is not None and action.type == "retry":
            self._note("up for retry", error)
            return self._retry(action, scope, retry_after_s)
        self._note("failed", error)
        if action is None or action.type == "end" or frame.purpose == "helper step":
            return self._fail_frame(error)
        return self._act(action, scope, retry_after_s)

    def _retries_itself(self, step: PlannedStep, *, is_certain: bool) -> bool:
        """Whether the executor retries on its own (rule K17).

        What may not be repeated is, too, when it is certain that it never arrived.
        """
        if step.call is None or not (step.call.repeat.is_safe or is_certain):
            return False
        has_own = any(action.type == "retry" for action in step.on_failure)
        return not has_own and self._frame.own_retries < MAX_OWN_RETRIES

    def _chosen(self, actions: tuple[PlannedAction, ...], scope: Scope) -> PlannedAction | None:
        """Return the first action that applies and, of retries, is not used up."""
        for action in actions:
            used = self._frame.retries.get(action.name, 0)
            if action.type == "retry" and used >= action.retry_limit:
                continue
            if unmet(action.criteria, scope) is None:
                return action
        return None

    def _act(self, action: PlannedAction, scope: Scope, retry_after_s: float | None) -> Next:
        if action.type == "end":
            return self._finish
        frame, step = self._frame, self._step
        target = action.workflow_id or frame.workflow_id
        if action.workflow_id is not None:
            inputs = self._given_or_same(action, scope)
            replacing = entered(self._plan, action.workflow_id, frame.purpose, inputs)
            if isinstance(replacing, RunError):
                return self._fail_frame(replacing)
            self._state.frames[-1] = replacing
            first = self._workflow.steps[0].id
            is_back = f"{target}/{first}" in self._state.visits
        else:
            first = action.step_id or ""
            at = self._workflow.index[first]
            is_back = at <= frame.step
            frame.step = at
        if not is_back:
            return self.arrive
        name = f"{target}/{first}"
        said = action.poll_s if action.poll_s is not None else step.poll_s
        visits = self._state.visits.get(name, 0)
        wait = poll_wait_s(f"{self._state.run_id}/{name}", visits, retry_after_s, said)
        return self._wait(wait, "arrive")

    # Waiting and retrying

    def _wait(self, seconds: float, then: Literal["arrive", "again"]) -> Next:
        state = self._state
        state.resume_at = min(state.now + seconds, state.started_at + MAX_RUN_S)
        state.on_resume = then
        return None

    def _again(self, seconds: float) -> Next:
        return self._wait(seconds, "again")

    def _retry(self, action: PlannedAction, scope: Scope, retry_after_s: float | None) -> Next:
        frame = self._frame
        frame.retries[action.name] = frame.retries.get(action.name, 0) + 1
        wait = retry_after_s if retry_after_s is not None else action.retry_after_s or 0.0
        if action.workflow_id is not None:
            frame.retry_at = self._state.now + wait
            return self._push(action.workflow_id, "helper", self._given_or_same(action, scope))
        if action.step_id is not None and action.step_id != self._step.id:
            frame.retry_at = self._state.now + wait
            self._state.frames.append(
                Frame(
                    workflow_id=frame.workflow_id,
                    purpose="helper step",
                    inputs=frame.inputs,
                    step=self._workflow.index[action.step_id],
                    outputs=dict(frame.outputs),
                )
            )
            return self.arrive
        return self._again(wait)

    def _helped(self) -> Next:
        """Come back from a step that ran before a retry."""
        helper = self._state.frames.pop()
        self._frame.outputs.update(helper.outputs)
        return self._back_to_retry

    def _back_to_retry(self) -> Next:
        retry_at = self._frame.retry_at or 0.0
        self._frame.retry_at = None
        return self._again(max(retry_at - self._state.now, 0.0))

    # Workflows inside of workflows

    def _same_inputs(self, workflow_id: str) -> dict[str, Kept]:
        """Return those inputs of this workflow that the other one has too."""
        names = self._plan.workflows[workflow_id].schema.names
        return {name: one for name, one in self._frame.inputs.items() if name in names}

    def _given_or_same(self, action: PlannedAction, scope: Scope) -> dict[str, Kept]:
        """Return the inputs that an action gives; without parameters those of the same names."""
        same = self._same_inputs(action.workflow_id or "")
        return {**same, **given(action.parameters, scope)}

    def _finish(self) -> Next:
        """End the innermost workflow well."""
        scope = scope_of(self._plan, self._state)
        outputs = outputs_of(self._workflow.outputs, scope)
        done = self._state.frames.pop()
        self._state.results[done.workflow_id] = Result(done.inputs, outputs)
        match done.purpose:
            case "root":
                self._state.outputs = outputs
                return None
            case "step":
                return lambda: self._returned(outputs)
            case "depends":
                return self.arrive
            case "ask":
                return lambda: self._found_out(outputs)
            case "helper" | "helper step":
                return self._back_to_retry

    def _returned(self, outputs: Mapping[str, Kept]) -> Next:
        """Come back to the step that ran a workflow."""
        step = self._step
        # Documents test $statusCode after a nested workflow: it is that of its last answer.
        exchange = Exchange(status=self._state.last_status)
        scope = scope_of(self._plan, self._state, exchange=exchange, outputs=outputs)
        first = unmet(step.criteria, scope)
        if first is None:
            return self._succeeded(scope)
        message = f"Step {step.id}: the criterion {first[0].text[:500]} does not hold"
        error = RunError("customer", "sluice.workflow.step/criteria", message)
        return self._failed(error, exchange)

    def _found_out(self, outputs: Mapping[str, Kept]) -> Next:
        """Come back from the workflow that was to find out whether a request had been done."""
        done = outputs.get("done", Kept()).value
        if done is False:
            return self._again(0.0)
        step = self._step
        if done is not True:
            message = f"Step {step.id}: nobody knows whether its request was done"
            return self._end(RunError("platform", "sluice.workflow.worker/lost", message))
        body = outputs.get("body", Kept(value=ABSENT)).value
        made = rendered(self._plan, self._state)
        exchange = replace(made.exchange, status=200, answer_body=body)
        return self._succeeded(scope_of(self._plan, self._state, exchange=exchange))

    def _fail_frame(self, error: RunError) -> Next:
        """End the innermost workflow badly."""
        failed = self._state.frames[-1]
        if failed.purpose == "root":
            return self._end(error)
        self._state.frames.pop()
        if failed.purpose == "step":
            return lambda: self._failed(error, Exchange(status=self._state.last_status))
        return lambda: self._fail_frame(error)

    def _end(self, error: RunError) -> Next:
        self._state.error = error
        return None
