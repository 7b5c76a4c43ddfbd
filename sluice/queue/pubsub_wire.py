"""Names on Google Pub/Sub, and envelopes as its messages. Pure: no I/O.

Attributes carry only what an envelope has beside its rows, so that a consumer can bound its memory
before it decompresses anything; the tenant is inside (design, decision 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sluice.core.envelope import MAX_RAW_BYTES, READABLE_KINDS, Envelope
from sluice.core.trace_context import MAX_CARRIED_BYTES
from sluice.queue.protocol import Delivery
from sluice.queue.pubsub_messages import PublishRequest, PubsubMessage

MAX_REQUEST_BYTES: Final = 9_000_000
"""Pub/Sub takes 10 MB in one publish request; the rest is for names and attributes."""
MAX_REQUEST_MESSAGES: Final = 1_000
MAX_VALUE_BYTES: Final = 1_024
"""Pub/Sub takes no longer value of an attribute."""
MAX_PIECES: Final = MAX_CARRIED_BYTES // MAX_VALUE_BYTES


@dataclass(frozen=True, slots=True)
class Names:
    """Full names of topics and subscriptions in one project."""

    project: str
    prefix: str = "sluice"

    def topic(self, topic: str) -> str:
        """Return the full name of a topic."""
        return f"projects/{self.project}/topics/{self.prefix}-{topic}"

    def subscription(self, subscription: str) -> str:
        """Return the full name of a subscription."""
        return f"projects/{self.project}/subscriptions/{self.prefix}-{subscription}"

    def dead_letters(self) -> str:
        """Return the full name of the topic of what was put aside."""
        return self.topic("dead-letters")

    def kept_dead_letters(self) -> str:
        """Return the full name of the subscription that keeps what was put aside."""
        return self.subscription("dead-letters")


def project_of(name: str) -> str:
    """Return the project of a full name."""
    return name.removeprefix("projects/").partition("/")[0]


def to_message(envelope: Envelope, **more: str) -> Any:
    """Return the message (``PubsubMessage``) of an envelope; ``more`` are further attributes."""
    attributes = {
        "envelope_id": envelope.envelope_id,
        "kind": envelope.kind,
        "count": str(envelope.count),
        "raw_bytes": str(envelope.raw_bytes),
    }
    if envelope.traces:
        attributes |= _pieces(envelope.traces)
    return PubsubMessage(data=envelope.body, attributes=attributes | more)


def to_request(topic: str, messages: Sequence[Any]) -> bytes:
    """Return the request that publishes messages to a topic, given by its full name."""
    serialised: bytes = PublishRequest(topic=topic, messages=messages).SerializeToString()
    return serialised


def to_value(text: str) -> str:
    """Return as much of a text as the value of an attribute may hold."""
    return text.encode()[:MAX_VALUE_BYTES].decode(errors="ignore")


def _pieces(traces: str) -> dict[str, str]:
    """Return the attributes that carry contexts of traces: none, mostly."""
    return {
        f"traces_{start // MAX_VALUE_BYTES}": traces[start : start + MAX_VALUE_BYTES]
        for start in range(0, len(traces), MAX_VALUE_BYTES)
    }


def _traces(attributes: Mapping[str, str]) -> str:
    return "".join(attributes.get(f"traces_{number}", "") for number in range(MAX_PIECES))


def to_delivery(received: Any, subscription: str) -> Delivery:
    """Return the hand-over of one received message (``ReceivedMessage``).

    Raises:
        ValueError: The message is none of Sluice's.
    """
    message = received.message
    attributes = message.attributes
    kind = attributes.get("kind", "")
    if kind not in READABLE_KINDS:
        text = f"message {message.message_id} has no kind that Sluice knows"
        raise ValueError(text)
    # Asked by [], a map of protobuf's would hold from then on what it was asked for.
    count, raw_bytes = int(attributes.get("count", "")), int(attributes.get("raw_bytes", ""))
    envelope_id = attributes.get("envelope_id", "")
    if not envelope_id:
        text = f"message {message.message_id} does not say which envelope it is"
        raise ValueError(text)
    if not 0 < count <= raw_bytes <= MAX_RAW_BYTES:
        text = f"message {message.message_id} announces {count} rows in {raw_bytes} bytes"
        raise ValueError(text)
    published = message.publish_time
    return Delivery(
        subscription=subscription,
        message_id=message.message_id,
        lease_id=received.ack_id,
        attempt=max(1, received.delivery_attempt),
        published_at=published.seconds + published.nanos / 1e9,
        envelope=Envelope(
            envelope_id=envelope_id,
            kind=kind,
            count=count,
            raw_bytes=raw_bytes,
            body=message.data,
            traces=_traces(attributes),
        ),
    )


def in_requests(envelopes: Sequence[Envelope]) -> list[list[Envelope]]:
    """Return the envelopes in order, in portions that one publish request may hold."""
    portions: list[list[Envelope]] = []
    size = MAX_REQUEST_BYTES
    for envelope in envelopes:
        if (
            size + len(envelope.body) > MAX_REQUEST_BYTES
            or len(portions[-1]) >= MAX_REQUEST_MESSAGES
        ):
            portions.append([])
            size = 0
        portions[-1].append(envelope)
        size += len(envelope.body) + len(envelope.traces)
    return portions
