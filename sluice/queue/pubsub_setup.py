"""Topics and subscriptions on Pub/Sub: made where they are missing, mended where that is safe.

A subscription that is there already is changed only so that it keeps more and gives up later: its
lease, how long it keeps messages, that it never expires, its dead letters. What else differs needs
a new subscription, which loses what the old one holds: that is left to a person, and said.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

from google.api_core import exceptions as google
from google.protobuf.duration_pb2 import Duration

from sluice.core.errors import QueueUnavailableError
from sluice.queue.protocol import TOPICS
from sluice.queue.pubsub_access import get_subscription, get_topic
from sluice.queue.pubsub_commands import delete_command, update_command, update_topic_command
from sluice.queue.pubsub_connect import CALL_TIMEOUT_S, ENDPOINT, Clients, connect
from sluice.queue.pubsub_faults import FAILURES, fault_of
from sluice.queue.pubsub_plan import (
    DELETED_TOPIC,
    EDITOR_ROLE,
    VIEWER_ROLE,
    Difference,
    Subscription,
    Topic,
    differences,
    plan_of,
    topic_differences,
)
from sluice.queue.pubsub_wire import Names, project_of

Outcome = Literal["created", "mended", "exists", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One topic or subscription, and what was done or found."""

    kind: Literal["topic", "subscription"]
    name: str
    outcome: Outcome
    planned: Subscription | Topic | None = None
    """How it is to be."""
    differs: tuple[Difference, ...] = ()
    """How it still is not as planned."""
    mended: tuple[Difference, ...] = ()

    @property
    def is_fatal(self) -> bool:
        """Whether only a new subscription helps."""
        return any(not one.field and one.is_harmful for one in self.differs)

    @property
    def is_mendable(self) -> bool:
        """Whether ``set_up`` would mend all that has to be mended."""
        return not self.is_fatal and any(one.field for one in self.differs)

    @property
    def remedy(self) -> str:
        """What to do by hand about what differs; empty where nothing has to be done."""
        if self.is_fatal:
            return (
                "stop the workers, delete it (what it holds is lost) and run `sluice setup`:"
                f" `{delete_command(self.name)}`"
            )
        if self.planned is None or not self.is_mendable:
            return ""
        if isinstance(self.planned, Topic):
            return f"`{update_topic_command(self.planned)}`"
        return f"`{update_command(self.planned)}`"


async def ensure_topics(
    names: Names, topics: Mapping[str, tuple[str, ...]] = TOPICS, *, endpoint: str = ENDPOINT
) -> dict[str, bool]:
    """Make what is missing; return each full name with whether it was made now.

    Raises:
        QueueUnavailableError: Pub/Sub cannot be used; the sentence says what to do.
    """
    parts = await set_up(names, topics, endpoint=endpoint)
    return {part.name: part.outcome == "created" for part in parts}


async def set_up(
    names: Names,
    topics: Mapping[str, tuple[str, ...]] = TOPICS,
    *,
    endpoint: str = ENDPOINT,
    keep_days: int = 0,
) -> list[Part]:
    """Make what is missing and mend what is there; return all parts, topics first.

    What is published to a topic before it has its subscriptions is lost. So each topic gets them
    at once (that of the dead letters comes first, because they name it), and a topic is not made
    again while a subscription of its past self stands in the way.

    Raises:
        QueueUnavailableError: Pub/Sub cannot be used, or a subscription has to be deleted first;
            the sentence says what to do.
    """
    plan = plan_of(names, topics, keep_days=keep_days)
    async with connected(plan.project, endpoint) as clients:
        for one in plan.subscriptions:
            await _refuse_if_orphaned(clients, one)
        made: list[Part] = []
        for topic in sorted(plan.topics, key=lambda topic: topic.name != names.dead_letters()):
            made.append(await _make_topic(clients, topic))
            own = [one for one in plan.subscriptions if one.topic == topic.name]
            made += [await _make_subscription(clients, one) for one in own]
        order = [topic.name for topic in plan.topics]
        order += [one.name for one in plan.subscriptions]
        return sorted(made, key=lambda part: order.index(part.name))


async def _refuse_if_orphaned(clients: Clients, planned: Subscription) -> None:
    try:
        found = await get_subscription(clients, planned.name)
    except (google.NotFound, google.PermissionDenied):
        return  # there is none; or what is made next says what is missing
    except FAILURES as error:
        raise _failed(error, planned.name, EDITOR_ROLE) from error
    if found.topic == DELETED_TOPIC:
        message = (
            f"{planned.name} gets nothing any more, because its topic was deleted; a new topic"
            " would lose what is published. Stop the workers, delete it (what it holds is lost)"
            f" and run `sluice setup` again: `{delete_command(planned.name)}`"
        )
        raise QueueUnavailableError(message)


async def look(
    names: Names,
    topics: Mapping[str, tuple[str, ...]] = TOPICS,
    *,
    endpoint: str = ENDPOINT,
    keep_days: int = 0,
) -> list[Part]:
    """Return what ``set_up`` would find, and change nothing.

    Raises:
        QueueUnavailableError: Pub/Sub cannot be used; the sentence says what to do.
    """
    plan = plan_of(names, topics, keep_days=keep_days)
    async with connected(plan.project, endpoint) as clients:
        parts = [await _look_at_topic(clients, topic) for topic in plan.topics]
        return parts + [await _look_at(clients, one) for one in plan.subscriptions]


@asynccontextmanager
async def connected(project: str, endpoint: str) -> AsyncIterator[Clients]:
    """Connect until the block ends.

    Raises:
        QueueUnavailableError: There are no credentials; the sentence says what to do.
    """
    try:
        clients = await connect(endpoint)
    except FAILURES as error:
        raise _failed(error, f"projects/{project}", EDITOR_ROLE) from error
    try:
        yield clients
    finally:
        await clients.channel.close()


async def _make_topic(clients: Clients, planned: Topic) -> Part:
    create = clients.publisher.create_topic(
        request=_topic_request(planned), retry=None, timeout=CALL_TIMEOUT_S
    )
    if await _make(create, planned.name, partial(_look_at_topic, clients, planned)):
        return Part(kind="topic", name=planned.name, outcome="created", planned=planned)
    if not planned.kept_s:  # nothing is asked of it, so that no right to look is needed
        return Part(kind="topic", name=planned.name, outcome="exists", planned=planned)
    part = await _look_at_topic(clients, planned)
    if not part.differs:
        return part
    try:
        await clients.publisher.update_topic(
            request={
                "topic": _topic_request(planned),
                "update_mask": {"paths": [one.field for one in part.differs]},
            },
            retry=None,
            timeout=CALL_TIMEOUT_S,
        )
    except FAILURES as error:
        raise _failed(error, planned.name, EDITOR_ROLE) from error
    return replace(part, outcome="mended", differs=(), mended=part.differs)


def _topic_request(planned: Topic) -> dict[str, object]:
    if not planned.kept_s:
        return {"name": planned.name}
    return {
        "name": planned.name,
        "message_retention_duration": Duration(seconds=planned.kept_s),
    }


async def _make_subscription(clients: Clients, planned: Subscription) -> Part:
    request = {
        "name": planned.name,
        "topic": planned.topic,
        **{field: value(planned) for field, value in _FIELDS.items()},
    }
    create = clients.subscriber.create_subscription(
        request=request, retry=None, timeout=CALL_TIMEOUT_S
    )
    if await _make(create, planned.name, partial(_look_at, clients, planned)):
        return Part(kind="subscription", name=planned.name, outcome="created", planned=planned)
    part = await _look_at(clients, planned)
    mendable = tuple(one for one in part.differs if one.field)
    if not mendable or not await _mend(clients, planned, mendable):
        return part
    left = tuple(one for one in part.differs if not one.field)
    return Part(
        kind="subscription",
        name=planned.name,
        outcome="mended",
        planned=planned,
        differs=left,
        mended=mendable,
    )


async def _make(call: Awaitable[object], name: str, look_at: Callable[[], Awaitable[Part]]) -> bool:
    """Return whether it was made now; False: it is there already.

    Who may only look is refused before Pub/Sub says that it is there: then it is looked for, so
    that setup can run with the viewer's role where somebody else made everything.
    """
    try:
        await call
    except google.AlreadyExists:
        return False
    except google.PermissionDenied as error:
        with suppress(QueueUnavailableError):  # then what was refused first is what to mend
            if (await look_at()).outcome == "exists":
                return False
        raise _failed(error, name, EDITOR_ROLE) from error
    except FAILURES as error:
        raise _failed(error, name, EDITOR_ROLE) from error
    return True


async def _mend(clients: Clients, planned: Subscription, found: tuple[Difference, ...]) -> bool:
    """Return whether Pub/Sub took the changes; the emulator does not take all."""
    fields = [one.field for one in found]
    changed = {"name": planned.name, **{field: _FIELDS[field](planned) for field in fields}}
    try:
        await clients.subscriber.update_subscription(
            request={"subscription": changed, "update_mask": {"paths": fields}},
            retry=None,
            timeout=CALL_TIMEOUT_S,
        )
    except (google.InvalidArgument, google.FailedPrecondition):
        return False
    except FAILURES as error:
        raise _failed(error, planned.name, EDITOR_ROLE) from error
    return True


def _net(planned: Subscription) -> dict[str, object] | None:
    if planned.net is None:
        return None
    net = planned.net
    return {"dead_letter_topic": net.topic, "max_delivery_attempts": net.max_attempts}


_FIELDS: Final[dict[str, Any]] = {
    "ack_deadline_seconds": lambda planned: planned.ack_deadline_s,
    "message_retention_duration": lambda planned: Duration(seconds=planned.kept_s),
    "expiration_policy": lambda _planned: {},  # without a time to live it never expires
    "dead_letter_policy": _net,
}
"""Each field of Pub/Sub's that is set, with its value."""


async def _look_at_topic(clients: Clients, planned: Topic) -> Part:
    name = planned.name
    try:
        found = await get_topic(clients, name)
    except google.NotFound as error:
        _raise_if_general(error, name)
        return Part(kind="topic", name=name, outcome="missing", planned=planned)
    except FAILURES as error:
        raise _failed(error, name, VIEWER_ROLE) from error
    differs = tuple(topic_differences(planned, found))
    return Part(kind="topic", name=name, outcome="exists", planned=planned, differs=differs)


async def _look_at(clients: Clients, planned: Subscription) -> Part:
    name = planned.name
    try:
        found = await get_subscription(clients, name)
    except google.NotFound as error:
        _raise_if_general(error, name)
        return Part(kind="subscription", name=name, outcome="missing", planned=planned)
    except FAILURES as error:
        raise _failed(error, name, VIEWER_ROLE) from error
    differs = tuple(differences(planned, found))
    return Part(kind="subscription", name=name, outcome="exists", planned=planned, differs=differs)


def _raise_if_general(error: Exception, name: str) -> None:
    """Tell a missing project from a missing topic."""
    if fault_of(error, resource=name, role=VIEWER_ROLE).is_general:
        raise _failed(error, name, VIEWER_ROLE) from error


def _failed(error: Exception, name: str, role: str) -> QueueUnavailableError:
    fault = fault_of(error, resource=name, role=role)
    if role == EDITOR_ROLE and isinstance(error, google.PermissionDenied) and not fault.is_general:
        project = f"projects/{project_of(name)}"  # what is not there yet has no roles of its own
        sentence = (
            f"{name} may not be made or changed: grant {role} on {project} to who runs setup."
        )
        return QueueUnavailableError(sentence)
    return QueueUnavailableError(fault.sentence)
