"""The program of a built-in type: calls its steps, and says what came of each call."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import aiohttp
import msgspec
import orjson

from sluice.core.errors import (
    QueueFullError,
    QueueUnavailableError,
    WarehouseError,
    WarehouseUnavailableError,
)
from sluice.logs import get_logger
from sluice.workflows.core.runs import Run, RunError
from worker.workflows.builtin import (
    Again,
    Builtin,
    BuiltinStep,
    Context,
    StepError,
    StoppedError,
    Tools,
)
from worker.workflows.core import builtin_steps as deciding
from worker.workflows.core.builtin_steps import Broke, Did, Later, Shaken, State
from worker.workflows.core.state import StepEnd, Stop
from worker.workflows.program import Act, Finished, ProgramMove

PLATFORM: Final = (
    WarehouseUnavailableError,
    QueueUnavailableError,
    QueueFullError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)
"""What may pass by itself."""
_STATE: Final = msgspec.json.Decoder(State)

log: Final = get_logger(__name__)


class BuiltinProgram:
    """One run of a built-in type.

    Args:
        builtin: The type.
        run: The run.
        inputs: Of the run, defaults filled in.
        tools: What steps work with.
    """

    execution_type: Literal["arazzo", "builtin"] = "builtin"

    def __init__(
        self, builtin: Builtin, *, run: Run, inputs: Mapping[str, Any], tools: Tools
    ) -> None:
        self.digest = f"builtin:{builtin.type}"
        self._type = builtin.type
        self._steps: dict[str, BuiltinStep] = {step.id: step for step in builtin.steps}
        self._order = tuple(self._steps)
        self._run = run
        self._inputs = inputs
        self._tools = tools

    def begin(self, now: float) -> State | RunError:
        """Return the first state."""
        return deciding.begin(self._order, self._inputs, now)

    def encode(self, state: State) -> str:
        """Return a state as JSON text."""
        return msgspec.json.encode(state).decode()

    def decode(self, text: str) -> State:
        """Return the state that a text holds.

        Raises:
            ValueError: It holds none of this type.
        """
        state = _STATE.decode(text)
        if state.step not in self._steps:
            message = f"{self._type} has no step {state.step} any more"
            raise ValueError(message)
        return state

    def next_move(self, state: State) -> ProgramMove:
        """Return what has to happen."""
        waiting = deciding.next_wait(state)
        if waiting is not None:
            return waiting
        if state.is_done:
            return Finished(state.outputs[state.step])
        step = self._steps[state.step]
        return Act(
            workflow_id=self._type,
            step_id=step.id,
            visit=1,
            attempt=state.attempt,
            timeout_s=step.timeout_s,
            is_repeatable=True,
        )

    async def perform(self, state: State, act: Act, stop: asyncio.Event) -> Any:
        """Call the step and return what came of it; nothing is raised."""
        context = Context(
            tools=self._tools,
            run=self._run,
            inputs=state.inputs,
            outputs=state.outputs,
            memory=state.memory,
            started_at=state.started_at,
            stop=stop,
        )
        limit = asyncio.timeout(act.timeout_s)
        try:
            async with limit:
                found = await self._steps[act.step_id].do(context)
        except StoppedError:
            return Stop()
        except StepError as error:
            kind = f"sluice.workflow.step/{error.rule}"
            return Broke(RunError(error.attribution, kind, str(error)))
        except WarehouseError as error:
            if not isinstance(error, WarehouseUnavailableError):
                # A statement of ours is refused: the server is newer, older, or without rights.
                log.error("A step's statement was refused", step=act.step_id, detail=str(error))  # noqa: TRY400 - the text says all
            return Shaken("the warehouse did not do what was asked of it")
        except PLATFORM as error:
            if limit.expired():
                return Shaken(f"it did not end within {act.timeout_s:g} s", is_timeout=True)
            log.warning("A step failed at the platform", step=act.step_id, detail=str(error))
            return Shaken(_words(error))
        if isinstance(found, Again):
            return Later(found.after_s, found.memory)
        return Did(_as_json(found))

    def apply(self, state: State, event: Any, now: float) -> State:
        """Return the state after what ``perform`` returned, or what the host says."""
        return deciding.apply(self._type, self._order, state, event, now)

    def ended(self, state: State) -> Sequence[StepEnd]:
        """Return which visits of steps the last transition ended."""
        return state.ended


def _words(error: BaseException) -> str:
    """Return what failed in words that hold no address and no secret."""
    if isinstance(error, QueueUnavailableError | QueueFullError):
        return "the queue does not take events now"
    if isinstance(error, aiohttp.ClientError | TimeoutError):
        return "the network or the other side did not answer"
    return f"the disk or the network failed ({type(error).__name__})"


def _as_json(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return outputs as they are after they were written and read."""
    found: dict[str, Any] = orjson.loads(orjson.dumps(dict(outputs)))
    return found
