"""Documents as programs: what the host of runs drives, over the pure machine.

``perform`` is the only place where a request leaves and the only one where secrets are known: what
comes back is cleared of them before anything else sees it, so that neither a state nor an error
holds one. A file that a step leaves has the same name at each attempt, and the last attempt's
content.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import msgspec
import orjson

from sluice.core.workflows import WorkflowConfig
from sluice.logs import get_logger
from sluice.workflows.core.input_problem import MASK
from sluice.workflows.core.runs import Run, RunError
from sluice.workflows.files import RunFiles
from worker.workflows.core import machine
from worker.workflows.core.calls import UnsendableError, is_json
from worker.workflows.core.expressions import Kept
from worker.workflows.core.file_names import file_stem
from worker.workflows.core.planned import Plan
from worker.workflows.core.redaction import redacted, redacted_value, spellings_of
from worker.workflows.core.rendering import render
from worker.workflows.core.state import (
    Answer,
    Done,
    Event,
    Failed,
    NoAnswer,
    Send,
    State,
    StepEnd,
    Stop,
    Wait,
)
from worker.workflows.http import Bounds, FilePlace, HttpShell
from worker.workflows.program import Act, Finished, ProgramMove
from worker.workflows.secrets import Resolver, SecretMissingError

MAX_STATE_BYTES: Final = 4 * 1024 * 1024
"""Encoded: a state is written down at every transition."""
_READS: Final = frozenset({"GET", "HEAD"})

log: Final = get_logger(__name__)


class ArazzoProgram:
    """One run of a document.

    Args:
        plan: Of the document; see ``plans``.
        run: The run.
        config: What it was started by: its inputs are used where the run gives none, its secrets
            always.
        secrets: Reads them.
        http: Sends requests.
        files: Takes large answers.
    """

    execution_type: Literal["arazzo", "builtin"] = "arazzo"

    def __init__(
        self,
        plan: Plan,
        *,
        run: Run,
        config: WorkflowConfig,
        secrets: Resolver,
        http: HttpShell,
        files: RunFiles,
    ) -> None:
        self._plan = plan
        self._run = run
        self._config = config
        self._secrets = secrets
        self._http = http
        self._files = files
        self.digest = plan.digest

    def begin(self, now: float) -> State | RunError:
        """Return the first state, or what is wrong with the inputs."""
        try:
            given = msgspec.json.decode(self._run.inputs, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            return _wrong_inputs(["the inputs are no JSON object"])
        begun = machine.begin(
            self._plan,
            {**self._config.inputs, **given},
            self._config.secrets,
            run_id=self._run.run_id,
            now=now,
        )
        if isinstance(begun, State):
            return self._bounded(begun)
        return _wrong_inputs([f"{one.pointer or '/'} {one.reason}" for one in begun])

    def encode(self, state: State) -> str:
        """Return a state as JSON text."""
        return msgspec.json.encode(state).decode()

    def decode(self, text: str) -> State:
        """Return the state that a text holds.

        Raises:
            ValueError: It holds none, or one of another document.
        """
        state = msgspec.json.decode(text, type=State)
        if state.digest != self.digest:
            message = "the document or one of its sources has changed since the run began"
            raise ValueError(message)
        return state

    def next_move(self, state: State) -> ProgramMove:
        """Return what has to happen."""
        match machine.next_move(self._plan, state):
            case Send() as send:
                return Act(
                    workflow_id=send.workflow_id,
                    step_id=send.step_id,
                    visit=send.visit,
                    attempt=send.attempt,
                    timeout_s=send.timeout_s,
                    is_repeatable=send.is_repeatable,
                )
            case Wait() as wait:
                return wait
            case Done(outputs):
                return Finished({name: _shown(kept) for name, kept in outputs.items()})
            case Failed() as failed:
                return failed

    async def perform(self, state: State, act: Act, stop: asyncio.Event) -> Event:
        """Send the current request; nothing is raised.

        What only reads and may be repeated is given up at a stop, a long download too; the answer
        of anything else is waited for.
        """
        try:
            send = machine.next_move(self._plan, state)
            assert isinstance(send, Send)  # noqa: S101 - the act came from this state
            if not (send.is_repeatable and send.request.method in _READS):
                return await self._answer(state, send)
            return await self._answer_or_stop(state, send, stop)
        except Exception as error:
            # A mistake of ours must not end the other runs of this worker.
            log.exception("Step failed unexpectedly", step=act.step_id, run_id=self._run.run_id)
            return NoAnswer(kind="network", detail=f"Sluice failed: {type(error).__name__}")

    def apply(self, state: State, event: Event, now: float) -> State:
        """Return the state after an event; one that has grown too large ends its run."""
        return self._bounded(machine.apply(self._plan, state, event, now))

    def ended(self, state: State) -> Sequence[StepEnd]:
        """Return which visits of steps the last transition ended."""
        return state.ended

    async def _answer_or_stop(self, state: State, send: Send, stop: asyncio.Event) -> Event:
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._answer(state, send))
            stopping = tasks.create_task(stop.wait())
            await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not answering.done():
                answering.cancel()
        return Stop() if answering.cancelled() else answering.result()

    async def _answer(self, state: State, send: Send) -> Answer | NoAnswer:
        try:
            secrets = await self._secrets.resolve(_references(state))
        except SecretMissingError as error:
            return NoAnswer(kind="unsendable", detail=str(error), was_sent=False)
        try:
            request = render(self._plan, state, secrets.values)
        except UnsendableError as error:
            words = redacted(str(error), secrets.hidden)
            return NoAnswer(kind="unsendable", detail=words, was_sent=False)
        answer = await self._http.send(
            request,
            Bounds(
                timeout_s=send.timeout_s,
                max_redirects=send.max_redirects,
                may_leave_origin=send.may_leave_origin,
            ),
            FilePlace(
                files=self._files,
                tenant=self._run.tenant,
                run_id=self._run.run_id,
                stem=file_stem(self._plan.root, send.workflow_id, send.step_id, send.visit),
            ),
        )
        return _cleared(answer, secrets.hidden)

    def _bounded(self, state: State) -> State:
        size = len(msgspec.json.encode(state))
        if size <= MAX_STATE_BYTES:
            return state
        message = (
            f"The run keeps more than {MAX_STATE_BYTES:,} bytes of inputs and outputs: let its"
            " steps put out less"
        )
        error = RunError("customer", "sluice.workflow.config/document", message)
        return State(
            run_id=state.run_id,
            digest=state.digest,
            started_at=state.started_at,
            now=state.now,
            visits=state.visits,
            last_status=state.last_status,
            ended=state.ended,
            error=error,
        )


def _wrong_inputs(words: Sequence[str]) -> RunError:
    message = f"The workflow does not take its inputs: {'; '.join(words)}"
    return RunError("customer", "sluice.workflow.run/inputs", message)


def _shown(kept: Kept) -> object:
    return kept.value if kept.secret is None else MASK


def _references(state: State) -> frozenset[str]:
    """Return the references of all secrets that a state holds."""
    found: list[Mapping[str, Kept]] = []
    for frame in state.frames:
        found += [frame.inputs, *frame.outputs.values()]
    for result in state.results.values():
        found += [result.inputs, result.outputs]
    return frozenset(kept.secret for one in found for kept in one.values() if kept.secret)


def _cleared(answer: Answer | NoAnswer, hidden: Iterable[str]) -> Answer | NoAnswer:
    """Return an answer without the secrets that the other side may have sent back.

    A file is kept as it came: it goes to the tenant, whose secrets they are, and to nobody else.
    """
    secrets = tuple(hidden)
    if isinstance(answer, NoAnswer):
        return replace(answer, detail=redacted(answer.detail, secrets))
    spellings = [one.encode() for one in spellings_of(secrets)]
    headers = {name: redacted(value, secrets) for name, value in answer.headers.items()}
    body = answer.body
    if isinstance(body, bytes):
        media_type = headers.get("content-type", "")
        # JSON may spell any character by its number, which only reading it brings to light.
        is_escaped = b"\\u" in body and is_json(media_type)
        if is_escaped or any(one in body for one in spellings):
            body = _cleared_body(body, media_type, secrets)
    return replace(answer, headers=headers, body=body)


def _cleared_body(body: bytes, media_type: str, secrets: tuple[str, ...]) -> bytes:
    """Return a body without secrets; JSON stays JSON."""
    if is_json(media_type):
        try:
            return orjson.dumps(redacted_value(orjson.loads(body), secrets))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
            pass  # it is text then, whatever it says
    return redacted(body.decode(errors="replace"), secrets).encode()
