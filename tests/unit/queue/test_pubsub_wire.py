"""Messages of Pub/Sub that are none of ours, or say of themselves what cannot be."""

import pytest
from google.pubsub_v1.types import ReceivedMessage

from sluice.core.envelope import MAX_RAW_BYTES
from sluice.queue.pubsub_wire import to_delivery, to_message
from tests.support.queues import make_envelope


def received(**attributes: str) -> ReceivedMessage:
    """Return one of our messages as it is delivered, with other attributes."""
    message = to_message(make_envelope())
    message.attributes.update(attributes)
    return ReceivedMessage(ack_id="a", message=message)


def test_delivery_holds_the_envelope_that_was_published() -> None:
    envelope = make_envelope()
    given = ReceivedMessage(ack_id="a", message=to_message(envelope), delivery_attempt=3)
    delivery = to_delivery(given, "warehouse")
    assert (delivery.envelope, delivery.attempt, delivery.lease_id) == (envelope, 3, "a")


@pytest.mark.parametrize(
    "attributes",
    [
        {"kind": "secrets"},
        {"count": "0"},
        {"count": "-1"},
        {"count": "many"},
        {"count": "1001", "raw_bytes": "1000"},
        {"raw_bytes": "-1000000000000"},
        {"raw_bytes": str(MAX_RAW_BYTES + 1)},
        {"raw_bytes": "1" + "0" * 30},
    ],
    ids=str,
)
def test_message_that_says_what_cannot_be_is_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"message|invalid literal"):
        to_delivery(received(**attributes), "warehouse")
