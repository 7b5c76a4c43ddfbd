"""What the host of runs needs of whatever a run executes: a document, or a built-in type.

The host asks for the next move, writes down that it begins, performs it, applies what came of it,
and writes the new state down. A program decides; it does not write, and it does not wait: a wait is
a move. Its state is one JSON value; nothing else is needed to go on in another process.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from sluice.workflows.core.runs import RunError
from worker.workflows.core.state import Elapsed, Failed, Lost, StepEnd, Stop, Wait

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Perform the current step, or another attempt of it."""

    workflow_id: str
    step_id: str
    visit: int
    attempt: int
    timeout_s: float
    is_repeatable: bool = False
    """It may be broken off and performed again; else a worker that stops waits for its end."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The run succeeded."""

    outputs: Mapping[str, Any]
    """JSON values; ``***`` in the place of secrets."""


ProgramMove = Act | Wait | Finished | Failed


class Program(Protocol[S]):
    """One run's way from its first state to its end. It is made for one run."""

    execution_type: Literal["arazzo", "builtin"]
    digest: str
    """Of what is executed: a state goes on only with the same."""

    def begin(self, now: float) -> S | RunError:
        """Return the first state, or why the run cannot begin."""

    def encode(self, state: S) -> str:
        """Return a state as JSON text."""

    def decode(self, text: str) -> S:
        """Return the state that a text holds.

        Raises:
            ValueError: It holds none of this program.
        """

    def next_move(self, state: S) -> ProgramMove:
        """Return what has to happen."""

    async def perform(self, state: S, act: Act, stop: asyncio.Event) -> Any:
        """Do what an ``Act`` says and return what came of it, for ``apply``; nothing is raised.

        Args:
            state: The one that the act belongs to.
            act: The move.
            stop: Set when a person stops the run: what takes long ends early, as if it had not
                been begun, and returns ``Stop``.
        """

    def apply(self, state: S, event: Any, now: float) -> S:
        """Return the state after what ``perform`` returned, or ``Elapsed``, ``Lost``, ``Stop``."""

    def ended(self, state: S) -> Sequence[StepEnd]:
        """Return which visits of steps the last transition ended."""


Outside = Elapsed | Lost | Stop
"""Events that come from the host, for every program."""
