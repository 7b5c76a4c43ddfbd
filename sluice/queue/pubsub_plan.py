"""What Sluice needs on Google Pub/Sub: topics, subscriptions and least roles. Pure: no I/O.

The one place where this is written down. ``sluice setup`` makes it, ``--dry-run`` and
``docs/pubsub.md`` show it, ``sluice doctor`` compares it with what is there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sluice.queue.protocol import TOPICS
from sluice.queue.pubsub_wire import Names

Process = Literal["gateway", "worker", "setup", "Pub/Sub itself"]

ACK_DEADLINE_S: Final = 10
"""The shortest that Pub/Sub takes: what a killed worker held comes again so soon."""
KEPT_S: Final = 7 * 24 * 3600
"""How long Pub/Sub keeps what nobody has acknowledged; it takes up to 31 days."""
MAX_ATTEMPTS: Final = 100
"""The most that Pub/Sub takes: a net for crash loops only (design, decision 6)."""
PUBLISHER_ROLE: Final = "roles/pubsub.publisher"
SUBSCRIBER_ROLE: Final = "roles/pubsub.subscriber"
VIEWER_ROLE: Final = "roles/pubsub.viewer"
EDITOR_ROLE: Final = "roles/pubsub.editor"
DELETED_TOPIC: Final = "_deleted-topic_"
"""What Pub/Sub names as the topic of a subscription whose topic was deleted."""
DAY_S: Final = 24 * 3600
REPLAYED_TOPIC: Final = "events"
"""The one topic whose messages may be taken again: storing an event twice changes nothing, while a
command that came again would start its run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """Where a subscription puts what was delivered too often."""

    topic: str
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """How a subscription is to be, or how one was found."""

    name: str
    """Its full name, as those of topics."""
    topic: str
    ack_deadline_s: int = ACK_DEADLINE_S
    kept_s: int = KEPT_S
    expires_after_s: int | None = None
    """Days without a subscriber after which Pub/Sub deletes it, in seconds; None: never."""
    net: Net | None = None
    is_detached: bool = False
    filter: str = ""
    pushes_to: str = ""
    """What it is pushed or written to; empty where it is pulled."""

    @property
    def words(self) -> str:
        """Its settings, for people."""
        kept = f"{self.kept_s / DAY_S:g} days"
        expires = (
            f"after {self.expires_after_s / DAY_S:g} days" if self.expires_after_s else "never"
        )
        said = f"ack deadline {self.ack_deadline_s} s, kept {kept}, expires {expires}"
        if self.net is None:
            return said
        return f"{said}, after {self.net.max_attempts} deliveries to {short(self.net.topic)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """How a topic is to be, or how one was found."""

    name: str
    """Its full name."""
    kept_s: int = 0
    """How long it keeps messages, acknowledged or not, for who seeks back; 0: it keeps none."""

    @property
    def words(self) -> str:
        """Its settings, for people; empty for the usual ones."""
        return f"keeps what is acknowledged for {self.kept_s / DAY_S:g} days" if self.kept_s else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One role on one thing that a process cannot do without."""

    process: Process
    role: str
    kind: Literal["topic", "subscription", "project"]
    resource: str
    """The thing's full name."""
    why: str
    is_in_commands: bool = True
    """False for what is only needed where the commands of ``pubsub_commands`` are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is needed in one project."""

    project: str
    topics: tuple[Topic, ...]
    subscriptions: tuple[Subscription, ...]
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """How a subscription is not as planned."""

    words: str
    field: str = ""
    """What `sluice setup` updates to mend it; empty where nothing but a new one helps."""
    is_harmful: bool = True
    """False where it may be somebody's wish: it is left alone."""


def plan_of(
    names: Names, topics: Mapping[str, tuple[str, ...]] = TOPICS, *, keep_days: int = 0
) -> Plan:
    """Return what these topics with their subscriptions need.

    Args:
        names: How they are called.
        topics: Each topic with its subscriptions.
        keep_days: For how many days the topic of events keeps what is acknowledged.
    """
    net = Net(topic=names.dead_letters(), max_attempts=MAX_ATTEMPTS)
    fed = tuple(
        Subscription(name=names.subscription(name), topic=names.topic(topic), net=net)
        for topic, subscriptions in topics.items()
        for name in subscriptions
    )
    kept = Subscription(name=names.kept_dead_letters(), topic=names.dead_letters())
    return Plan(
        project=names.project,
        topics=(
            *(
                Topic(
                    name=names.topic(topic),
                    kept_s=keep_days * DAY_S if topic == REPLAYED_TOPIC else 0,
                )
                for topic in topics
            ),
            Topic(name=names.dead_letters()),
        ),
        subscriptions=(*fed, kept),
        grants=tuple(_grants(names, topics, fed)),
    )


def _grants(
    names: Names, topics: Mapping[str, tuple[str, ...]], fed: tuple[Subscription, ...]
) -> Iterator[Grant]:
    project = f"projects/{names.project}"
    dead = names.dead_letters()

    def publishes(process: Process, topic: str, why: str) -> Grant:
        return Grant(process=process, role=PUBLISHER_ROLE, kind="topic", resource=topic, why=why)

    def consumes(process: Process, one: Subscription, why: str) -> Grant:
        return Grant(
            process=process, role=SUBSCRIBER_ROLE, kind="subscription", resource=one.name, why=why
        )

    for topic in topics:
        yield publishes("gateway", names.topic(topic), "publishes events and error records")
    for subscription in fed:
        yield consumes("worker", subscription, "takes events")
    yield publishes("worker", dead, "puts aside what it cannot read")
    yield publishes("Pub/Sub itself", dead, "moves what was delivered too often")
    for subscription in fed:
        yield consumes("Pub/Sub itself", subscription, "takes away what it moved")
    yield Grant(
        process="setup",
        role=VIEWER_ROLE,
        kind="project",
        resource=project,
        why="sees that all is there and as planned; goes back (`sluice rewind`)",
    )
    for subscription in fed:
        if subscription.topic == names.topic(REPLAYED_TOPIC):
            yield consumes("setup", subscription, "goes back (`sluice rewind`)")
    yield Grant(
        process="setup",
        role=EDITOR_ROLE,
        kind="project",
        resource=project,
        why="makes all this; not needed where the commands below made it",
        is_in_commands=False,
    )


def topic_differences(planned: Topic, found: Topic) -> list[Difference]:
    """Return how a topic that was found is not as planned; one that keeps more is left so."""
    if found.kept_s >= planned.kept_s:
        return []
    words = (
        f"keeps what is acknowledged for {found.kept_s / DAY_S:.3g} days,"
        f" not {planned.kept_s / DAY_S:g}"
    )
    return [Difference(words, "message_retention_duration")]


def differences(planned: Subscription, found: Subscription) -> list[Difference]:
    """Return how a subscription that was found is not as planned; the worst first."""
    return [*_fatal(planned, found), *_mendable(planned, found)]


def _fatal(planned: Subscription, found: Subscription) -> Iterator[Difference]:
    if found.topic == DELETED_TOPIC:
        yield Difference("its topic was deleted, so that it gets nothing any more")
    elif found.topic != planned.topic:
        yield Difference(f"it takes from {short(found.topic)}, not {short(planned.topic)}")
    if found.is_detached:
        yield Difference("it is detached from its topic, so that it gets nothing any more")
    if found.filter:
        yield Difference("it has a filter, which loses events")
    if found.pushes_to:
        yield Difference(f"it delivers to {found.pushes_to}, so that no worker can pull")


def _mendable(planned: Subscription, found: Subscription) -> Iterator[Difference]:
    if found.ack_deadline_s != planned.ack_deadline_s:
        words = f"ack deadline {found.ack_deadline_s} s, not {planned.ack_deadline_s} s"
        yield Difference(words, "ack_deadline_seconds")
    if found.kept_s < planned.kept_s:
        words = f"kept {found.kept_s / DAY_S:.3g} days, not {planned.kept_s / DAY_S:g}"
        yield Difference(words, "message_retention_duration")
    if found.expires_after_s is not None:
        words = f"deleted after {found.expires_after_s / DAY_S:.3g} days without a worker"
        yield Difference(words, "expiration_policy")
    if planned.net is None:
        return
    if found.net is None:
        yield Difference("no dead-letter policy", "dead_letter_policy")
    elif found.net.topic != planned.net.topic:
        where = short(found.net.topic)
        yield Difference(f"its dead letters go to {where}", is_harmful=False)
    elif found.net.max_attempts < planned.net.max_attempts:
        words = f"dead letter after {found.net.max_attempts} deliveries, not "
        yield Difference(f"{words}{planned.net.max_attempts}", "dead_letter_policy")


def short(name: str) -> str:
    """Return the last part of a full name."""
    return name.rpartition("/")[2]
