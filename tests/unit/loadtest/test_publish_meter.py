from google.pubsub_v1.types import PublishRequest

from loadtest.publish_meter import BESIDE_BYTES, LEAST_BILLED_BYTES, Count


def request_of(*bodies: bytes, **attributes: str) -> bytes:
    request = PublishRequest.pb()(topic="projects/p-project/topics/events")
    for body in bodies:
        request.messages.add(data=body, attributes=attributes)
    serialized: bytes = request.SerializeToString()
    return serialized


def test_count_bills_body_attributes_time_and_id_when_a_request_is_large() -> None:
    count = Count()
    count.add(request_of(b"x" * 2_000, b"y" * 3_000, kind="events"))
    assert (count.requests, count.messages) == (1, 2)
    assert count.data_bytes == 5_000
    assert count.attribute_bytes == 2 * len("kindevents")
    assert count.billed_bytes == 5_000 + 2 * (len("kindevents") + BESIDE_BYTES)


def test_count_bills_the_least_of_each_request_when_requests_are_small() -> None:
    count = Count()
    count.add(request_of(b"x"))
    count.add(request_of(b"x", b"y"))
    assert count.billed_bytes == 2 * LEAST_BILLED_BYTES
