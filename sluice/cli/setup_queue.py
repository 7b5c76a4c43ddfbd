"""The queue's part of ``sluice setup``: made, or only looked at."""

from dataclasses import dataclass, field
from typing import Any

from sluice.core.errors import QueueUnavailableError
from sluice.queue import open_queue
from sluice.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePart:
    """One thing that the queue consists of, and how it is."""

    kind: str
    """`file`, `topic` or `subscription`."""
    name: str
    outcome: str
    """`created`, `mended`, `exists` or `missing`."""
    settings: str = ""
    mended: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    """How it still is not as planned."""
    remedy: str = ""

    @property
    def line(self) -> str:
        """All of it, as one line."""
        line = f"{self.name} {self.outcome}"
        if self.mended:
            line += f" ({'; '.join(self.mended)})"
        if self.differs:
            line += f"; not as planned: {'; '.join(self.differs)}"
        return f"{line} -> {self.remedy}" if self.remedy else line

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "kind": self.kind,
            "name": self.name,
            "outcome": self.outcome,
            "settings": self.settings,
            "mended": self.mended,
            "differs": self.differs,
            "remedy": self.remedy,
        }


async def set_up_queue(settings: Settings) -> list[QueuePart]:
    """Make what the queue needs; return each part with what was done.

    Raises:
        QueueUnavailableError: It cannot be made; the sentence says what to do.
    """
    if settings.pubsub_project is not None:
        return await _pubsub(settings, settings.pubsub_project, is_dry=False)
    is_new = not settings.queue_path.exists()
    async with open_queue(settings) as queue:
        state = await queue.state()
        if state.condition == "unavailable":
            raise QueueUnavailableError(state.detail)
    outcome = "created" if is_new else "exists"
    return [QueuePart(kind="file", name=str(settings.queue_path), outcome=outcome)]


async def look_at_queue(settings: Settings) -> list[QueuePart]:
    """Return what ``set_up_queue`` would find, and change nothing; raises as it does."""
    if settings.pubsub_project is not None:
        return await _pubsub(settings, settings.pubsub_project, is_dry=True)
    outcome = "exists" if settings.queue_path.exists() else "missing"
    return [QueuePart(kind="file", name=str(settings.queue_path), outcome=outcome)]


async def _pubsub(settings: Settings, project: str, *, is_dry: bool) -> list[QueuePart]:
    # Here, because it is heavy, and not needed where the queue is a file.
    from sluice.queue.pubsub_setup import look, set_up
    from sluice.queue.pubsub_wire import Names

    act = look if is_dry else set_up
    return [
        QueuePart(
            kind=part.kind,
            name=part.name,
            outcome=part.outcome,
            settings=part.planned.words if part.planned else "",
            mended=[one.words for one in part.mended],
            differs=[one.words for one in part.differs],
            remedy="`sluice setup` mends it" if is_dry and part.is_mendable else part.remedy,
        )
        for part in await act(
            Names(project),
            endpoint=settings.pubsub_endpoint,
            keep_days=settings.pubsub_keep_days,
        )
    ]
