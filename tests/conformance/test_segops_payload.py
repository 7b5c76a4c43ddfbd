"""Cases 41 to 45, 47, 48 and 51: the payload."""

import orjson

from tests.support.segops import Segops, assert_queued, assert_refused
from tests.support.telemetry import sum_of


async def track_payload(api: Segops, text: bytes) -> None:
    """Send an event whose payload is exactly this JSON text."""
    assert_queued(
        await api.track(b'{"user_id":"u-1","event_type":"x","payload":' + text + b',"foo":1}')
    )


async def test_case_041_null_payload_is_stored_as_an_empty_object(api: Segops) -> None:
    await track_payload(api, b"null")
    assert [row.payload for row in await api.rows_when(1)] == ["{}"]


async def test_case_042_payload_that_is_no_object_is_refused(client: Segops) -> None:
    payloads: list[object] = [[], "x", "", 1, 0, False]
    for payload in payloads:
        answer = await client.track({"user_id": "u-1", "event_type": "x", "payload": payload})
        assert_refused(answer, 400, "payload_invalid", field="payload")


async def test_case_043_payload_has_at_most_32_levels(api: Segops) -> None:
    for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
        deepest = b'{"a":' + opening * 31 + b"1" + closing * 31 + b"}"
        await track_payload(api, deepest)
        body = b'{"user_id":"u-1","event_type":"x","payload":{"a":%b}}'
        answer = await api.track(body % (opening * 32 + b"1" + closing * 32))
        assert_refused(answer, 400, "payload_too_deep", field="payload")
    wide = b'{"s":"' + b"{[" * 100 + b'","l":[' + b",".join([b"{}"] * 100) + b"]}"
    await track_payload(api, wide)
    assert wide.decode() in [row.payload for row in await api.rows_when(3)]


async def test_case_044_100_000_levels_are_refused(api: Segops) -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
        answer = await api.track(body)
        assert_refused(answer, 400)
        assert answer.error_type in {"json_too_deep", "json_invalid"}
    await track_payload(api, b"{}")


async def test_case_045_nan_and_infinity_are_stored_as_null(api: Segops) -> None:
    counter = "sluice_events_normalised_total"
    before = sum_of(await api.metrics(), counter)
    await track_payload(api, b'{"n": NaN, "i": -Infinity, "p": Infinity, "s": "NaN -Infinity"}')
    (row,) = await api.rows_when(1)
    assert row.payload == '{"n": null, "i": null, "p": null, "s": "NaN -Infinity"}'
    assert sum_of(await api.metrics(), counter) > before


async def test_case_047_numbers_keep_their_text(api: Segops) -> None:
    text = b'{"n": 18446744073709551616, "d": 0.10, "e": 1e400, "z": -0.0}'
    await track_payload(api, text)
    assert [row.payload.encode() for row in await api.rows_when(1)] == [text]


async def test_case_048_equal_keys_in_a_payload_stay(api: Segops) -> None:
    await track_payload(api, b'{"a":1,"a":2}')
    assert [row.payload for row in await api.rows_when(1)] == ['{"a":1,"a":2}']


async def test_case_051_keys_of_a_payload_are_not_restricted(api: Segops) -> None:
    payload = {"": 1, "a.b": 2, "$x": 3, "😀": 4, "payload": {"tenant": 5}}
    await track_payload(api, orjson.dumps(payload))
    assert [orjson.loads(row.payload) for row in await api.rows_when(1)] == [payload]
