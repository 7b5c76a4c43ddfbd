"""Topics and subscriptions on Pub/Sub: made where they are missing, else left as they are."""

from collections.abc import Awaitable, Mapping
from typing import Any, Final

from google.api_core import exceptions as google
from google.protobuf.duration_pb2 import Duration

from sluice.core.errors import QueueUnavailableError
from sluice.queue.protocol import TOPICS
from sluice.queue.pubsub import ACK_DEADLINE_S
from sluice.queue.pubsub_connect import connect
from sluice.queue.pubsub_faults import FAILURES, fault_of
from sluice.queue.pubsub_link import CALL_TIMEOUT_S
from sluice.queue.pubsub_wire import Names

KEPT_S: Final = 7 * 24 * 3600
"""How long Pub/Sub keeps what nobody has acknowledged: the longest that it can."""
MAX_ATTEMPTS: Final = 100
"""The most that Pub/Sub takes: a net for crash loops only (design, decision 6)."""
EDITOR_ROLE: Final = "roles/pubsub.editor"


async def ensure_topics(
    names: Names, topics: Mapping[str, tuple[str, ...]] = TOPICS
) -> dict[str, bool]:
    """Make what is missing; return each full name with whether it was made now.

    Raises:
        QueueUnavailableError: Pub/Sub cannot be used; the sentence says what to do.
    """
    made: dict[str, bool] = {}
    try:
        clients = await connect()
    except FAILURES as error:
        raise _failed(error, f"projects/{names.project}") from error
    try:
        wanted = {names.topic(topic): subscriptions for topic, subscriptions in topics.items()}
        for topic in [*wanted, names.dead_letters()]:
            create = clients.publisher.create_topic(name=topic, retry=None, timeout=CALL_TIMEOUT_S)
            made[topic] = await _make(create, topic)
        net = {
            "dead_letter_topic": names.dead_letters(),
            "max_delivery_attempts": MAX_ATTEMPTS,
        }
        for topic, subscriptions in wanted.items():
            for subscription in subscriptions:
                name = names.subscription(subscription)
                call = _subscribe(clients, name, topic, dead_letter_policy=net)
                made[name] = await _make(call, name)
        name = names.kept_dead_letters()
        made[name] = await _make(_subscribe(clients, name, names.dead_letters()), name)
    finally:
        await clients.channel.close()
    return made


def _subscribe(clients: Any, name: str, topic: str, **more: Any) -> Awaitable[object]:
    request = {
        "name": name,
        "topic": topic,
        "ack_deadline_seconds": ACK_DEADLINE_S,
        "message_retention_duration": Duration(seconds=KEPT_S),
        "expiration_policy": {},  # without a time to live it never expires
        **more,
    }
    call: Awaitable[object] = clients.subscriber.create_subscription(
        request=request, retry=None, timeout=CALL_TIMEOUT_S
    )
    return call


async def _make(call: Awaitable[object], name: str) -> bool:
    try:
        await call
    except google.AlreadyExists:
        return False
    except FAILURES as error:
        raise _failed(error, name) from error
    return True


def _failed(error: Exception, name: str) -> QueueUnavailableError:
    return QueueUnavailableError(fault_of(error, resource=name, role=EDITOR_ROLE).sentence)
