"""Our own descriptions of Pub/Sub's messages beside Google's."""

from typing import Any

import pytest
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.iam.v1 import iam_policy_pb2  # type: ignore[import-untyped]  # it has none
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

from sluice.queue.pubsub_calls import routing
from sluice.queue.pubsub_connect import SCOPES
from sluice.queue.pubsub_messages import MESSAGES, PullResponse
from sluice.queue.pubsub_wire import to_delivery, to_message, to_request
from tests.support.queues import TRACES, make_envelope


def google_message(name: str) -> Any:
    """Return Google's own class of that name, as protobuf made it."""
    if name == "Timestamp":
        return Timestamp
    return getattr(iam_policy_pb2, name, None) or getattr(types, name).pb()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_fields_have_the_numbers_and_types_of_googles(name: str) -> None:
    theirs = google_message(name).DESCRIPTOR.fields_by_name
    for field in MESSAGES[name].DESCRIPTOR.fields:
        other = theirs[field.name]
        assert (field.number, field.type, field.is_repeated) == (
            other.number,
            other.type,
            other.is_repeated,
        )
        if field.message_type is not None:
            assert field.message_type.name == other.message_type.name


@pytest.mark.parametrize("traces", ["", TRACES], ids=["no traces", "traces"])
def test_publish_request_is_what_googles_classes_read(traces: str) -> None:
    envelopes = [make_envelope(traces=traces), make_envelope(body_bytes=0)]
    topic = "projects/p/topics/t"
    serialised = to_request(topic, [to_message(one, reason="é") for one in envelopes])
    request = types.PublishRequest.deserialize(serialised)
    assert request.topic == topic
    assert [message.data for message in request.messages] == [one.body for one in envelopes]
    for message, envelope in zip(request.messages, envelopes, strict=True):
        assert message.attributes["envelope_id"] == envelope.envelope_id
        assert message.attributes["count"] == str(envelope.count)
        assert message.attributes["reason"] == "é"


def test_what_google_delivers_is_read_with_its_time_and_attempt() -> None:
    envelope = make_envelope()
    message = types.PubsubMessage.deserialize(to_message(envelope).SerializeToString())
    message.message_id = "17"
    message.ordering_key = "a field that Sluice does not know"
    types.PubsubMessage.pb(message).publish_time.FromMilliseconds(1_790_000_000_250)
    received = types.ReceivedMessage(ack_id="lease", message=message, delivery_attempt=4)
    answer = types.PullResponse.serialize(types.PullResponse(received_messages=[received]))
    [ours] = PullResponse.FromString(answer).received_messages
    delivery = to_delivery(ours, "warehouse")
    assert delivery.envelope == envelope
    assert (delivery.lease_id, delivery.message_id, delivery.attempt) == ("lease", "17", 4)
    assert delivery.published_at == 1_790_000_000.25


def test_routing_header_is_what_googles_client_sends() -> None:
    name = "projects/p.com:q/topics/a+b c%é"
    header = to_grpc_metadata((("topic", name),))  # type: ignore[no-untyped-call]  # it has none
    assert routing("topic", name) == (header,)


def test_credentials_are_asked_for_what_googles_client_asks() -> None:
    assert set(SCOPES) == set(PublisherGrpcAsyncIOTransport.AUTH_SCOPES)
