"""Going back on a subscription: Pub/Sub delivers again what was published since a moment.

That is how a lost warehouse is filled again (``docs/recovery.md``). It works as far back as the
topic keeps messages that were acknowledged (``SLUICE_PUBSUB_KEEP_DAYS``).
"""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from sluice.core.errors import QueueUnavailableError
from sluice.queue.pubsub_access import get_topic
from sluice.queue.pubsub_connect import CALL_TIMEOUT_S, ENDPOINT
from sluice.queue.pubsub_faults import FAILURES, fault_of
from sluice.queue.pubsub_plan import REPLAYED_TOPIC, SUBSCRIBER_ROLE, VIEWER_ROLE
from sluice.queue.pubsub_setup import connected
from sluice.queue.pubsub_wire import Names


async def kept_since(names: Names, *, now: datetime, endpoint: str = ENDPOINT) -> datetime | None:
    """Return the moment since which the topic keeps all messages; None: it keeps none.

    Raises:
        QueueUnavailableError: Pub/Sub cannot be asked; the sentence says what to do.
    """
    topic = names.topic(REPLAYED_TOPIC)
    async with connected(names.project, endpoint) as clients:
        try:
            found = await get_topic(clients, topic)
        except FAILURES as error:
            sentence = fault_of(error, resource=topic, role=VIEWER_ROLE).sentence
            raise QueueUnavailableError(sentence) from error
    return now - timedelta(seconds=found.kept_s) if found.kept_s else None


async def rewind(
    names: Names, subscription: str, moment: datetime, *, endpoint: str = ENDPOINT
) -> None:
    """Have everything delivered again that was published at ``moment`` or later.

    What was published before counts as acknowledged afterwards, also where it was not.

    Raises:
        QueueUnavailableError: Pub/Sub cannot be asked; the sentence says what to do.
    """
    name = names.subscription(subscription)
    at = Timestamp()
    at.FromDatetime(moment.astimezone(UTC))
    async with connected(names.project, endpoint) as clients:
        try:
            await clients.subscriber.seek(
                request={"subscription": name, "time": at}, retry=None, timeout=CALL_TIMEOUT_S
            )
        except FAILURES as error:
            sentence = fault_of(error, resource=name, role=SUBSCRIBER_ROLE).sentence
            raise QueueUnavailableError(sentence) from error
