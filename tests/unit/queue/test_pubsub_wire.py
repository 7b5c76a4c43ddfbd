"""Messages of Pub/Sub that are none of ours, or say of themselves what cannot be."""

from typing import Any

import pytest

from sluice.core.envelope import MAX_RAW_BYTES
from sluice.queue.pubsub_messages import ReceivedMessage
from sluice.queue.pubsub_wire import (
    MAX_REQUEST_BYTES,
    MAX_VALUE_BYTES,
    in_requests,
    to_delivery,
    to_message,
    to_value,
)
from tests.support.queues import TRACES, make_envelope


def received(**attributes: str) -> Any:
    """Return one of our messages as it is delivered, with other attributes."""
    message = to_message(make_envelope())
    message.attributes.update(attributes)
    return ReceivedMessage(ack_id="a", message=message)


def test_delivery_holds_the_envelope_that_was_published() -> None:
    envelope = make_envelope()
    given = ReceivedMessage(ack_id="a", message=to_message(envelope), delivery_attempt=3)
    delivery = to_delivery(given, "warehouse")
    assert (delivery.envelope, delivery.attempt, delivery.lease_id) == (envelope, 3, "a")


def test_message_without_traces_has_no_attribute_more_than_before_there_were_any() -> None:
    assert set(to_message(make_envelope()).attributes) == {
        "envelope_id",
        "kind",
        "count",
        "raw_bytes",
    }


def test_traces_travel_in_attributes_that_pubsub_takes() -> None:
    envelope = make_envelope(traces=TRACES)
    message = to_message(envelope)
    assert len(message.attributes) <= 100
    assert all(len(value.encode()) <= 1_024 for value in message.attributes.values())
    received = ReceivedMessage(ack_id="a", message=message)
    assert to_delivery(received, "warehouse").envelope == envelope


def test_traces_count_for_the_size_of_a_publish_request() -> None:
    envelopes = [make_envelope(body_bytes=8_000, traces=TRACES) for _ in range(1_000)]
    requests = in_requests(envelopes)
    assert [one for request in requests for one in request] == envelopes
    for request in requests:
        assert sum(len(one.body) + len(one.traces) for one in request) <= MAX_REQUEST_BYTES


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


@pytest.mark.parametrize("name", ["count", "raw_bytes", "envelope_id"])
def test_message_that_does_not_say_something_is_refused_and_left_as_it_is(name: str) -> None:
    given = received()
    del given.message.attributes[name]
    before = dict(given.message.attributes)
    with pytest.raises(ValueError, match=r"message|invalid literal"):
        to_delivery(given, "warehouse")
    assert dict(given.message.attributes) == before


def test_reason_is_cut_to_what_an_attribute_may_hold_in_bytes() -> None:
    reason = "invalid literal: " + "\u00e9" * MAX_VALUE_BYTES
    value = to_value(reason)
    assert reason.startswith(value)
    assert MAX_VALUE_BYTES - 1 <= len(value.encode()) <= MAX_VALUE_BYTES
