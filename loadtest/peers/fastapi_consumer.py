"""The worker of the peer: streaming pull, a simple buffer, one insert of it, then acknowledgements.

A row is acknowledged after its insert, so nothing is lost; redelivered ones are inserted twice,
because a ``MergeTree`` and no more is what most people start with.
"""

import os
import queue
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from google.api_core.exceptions import AlreadyExists
from google.cloud import pubsub_v1
from pydantic_core import to_json

from loadtest.peers.fastapi_service import StoredEvent

MAX_ROWS = 10_000
MAX_AGE_S = 1.0
COLUMNS = [
    "tenant", "event_id", "user_id", "anonymous_id", "event_type", "occurred_at", "received_at",
    "payload",
]  # fmt: skip
TABLE = """
CREATE TABLE IF NOT EXISTS peer_events (
    tenant LowCardinality(String), event_id UUID, user_id String, anonymous_id String,
    event_type LowCardinality(String), occurred_at DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'), payload String
) ENGINE = MergeTree ORDER BY (tenant, event_type, received_at)
"""


def row_of(data: bytes) -> list[Any]:
    """Return one event as a row."""
    event = StoredEvent.model_validate_json(data)
    return [
        event.tenant,
        event.event_id,
        event.user_id or "",
        event.anonymous_id or "",
        event.event_type,
        event.occurred_at or event.received_at,
        event.received_at,
        to_json(event.payload).decode(),
    ]


def buffers(arrived: "queue.Queue[Any]") -> Iterator[list[Any]]:
    """Yield messages, as many as come within a second of the first, up to a bound."""
    while True:
        messages = [arrived.get()]
        until = time.monotonic() + MAX_AGE_S
        while len(messages) < MAX_ROWS and (left := until - time.monotonic()) > 0:
            try:
                messages.append(arrived.get(timeout=left))
            except queue.Empty:
                break
        yield messages


def main() -> None:
    """Consume until killed."""
    project, topic_id = os.environ["PEER_PROJECT"], os.environ["PEER_TOPIC"]
    url = urlsplit(os.environ["PEER_WAREHOUSE_URL"])
    client = clickhouse_connect.get_client(
        host=url.hostname,
        port=url.port,
        username=url.username,
        password=url.password or "",
        database=url.path.strip("/"),
    )
    client.command(TABLE)
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    topic = publisher.topic_path(project, topic_id)
    subscription = subscriber.subscription_path(project, f"{topic_id}-warehouse")
    for create, request in (
        (publisher.create_topic, {"name": topic}),
        (subscriber.create_subscription, {"name": subscription, "topic": topic}),
    ):
        try:
            create(request=request)
        except AlreadyExists:
            continue
    arrived: queue.Queue[Any] = queue.Queue()  # bounded by the flow control below
    flow = pubsub_v1.types.FlowControl(max_messages=2 * MAX_ROWS)
    subscriber.subscribe(subscription, callback=arrived.put, flow_control=flow)
    print("ready", flush=True)
    for messages in buffers(arrived):
        client.insert("peer_events", [row_of(message.data) for message in messages], COLUMNS)
        for message in messages:
            message.ack()


if __name__ == "__main__":
    main()
