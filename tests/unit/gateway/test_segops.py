"""The SegOps dialect, event by event and as a whole (reference/segops.md, 4, 5 and 11)."""

import re
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sources.segops import Batch, parse_batch, parse_track
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import Candidate

DATA: Final = Path(__file__).parents[2] / "data"
EVENT: Final = {"user_id": "u-1", "event_type": "page_viewed"}
GIVEN_PAGE_EVENT: Final = b"""{
  "user_id": "usr_8f3kd92", "event_type": "order_placed", "occurred_at": "2026-04-25T14:32:00Z",
  "payload": {"order_id": "ord_123", "total": 129.99, "currency": "EUR"}
}"""


def body_of(**fields: object) -> bytes:
    return orjson.dumps(EVENT | fields)


def text_of(**fields: str) -> bytes:
    """An event with fields as JSON text, which may be what no encoder writes."""
    given = {"user_id": '"u-1"', "event_type": '"page_viewed"'} | fields
    return ("{" + ",".join(f'"{name}":{text}' for name, text in given.items()) + "}").encode()


def batch_of(events: Sequence[object]) -> bytes:
    return orjson.dumps({"events": events})


def accepted(body: bytes, *, strict: bool = False, **more: Any) -> Candidate:
    candidate = parse_track(body, strict=strict, **more)
    assert isinstance(candidate, Candidate), candidate
    together = parse_batch(b'{"events":[' + body + b"]}", strict=strict, **more)
    assert isinstance(together, Batch)
    assert not together.rejected
    (other,) = together.candidates
    if "idempotency_key" not in more:
        assert msgspec.structs.asdict(other) == msgspec.structs.asdict(candidate)
    return candidate


def refused(body: bytes, *, strict: bool = False) -> list[ErrorType]:
    rejected = parse_track(body, strict=strict)
    assert isinstance(rejected, list), rejected
    together = parse_batch(b'{"events":[' + body + b"]}", strict=strict)
    assert isinstance(together, Batch)
    assert not together.candidates
    (first,) = together.rejected
    assert (first.error_type, first.field, first.index) == (
        rejected[0].error_type,
        rejected[0].field,
        0,
    )
    return [one.error_type for one in rejected]


def batch(body: bytes, **more: Any) -> Batch:
    parsed = parse_batch(body, strict=False, **more)
    assert isinstance(parsed, Batch), parsed
    assert parsed.total == len(parsed.candidates) + len(parsed.rejected)
    return parsed


def whole_refusal(body: bytes) -> Rejected:
    parsed = parse_batch(body, strict=False)
    assert isinstance(parsed, Rejected), parsed
    return parsed


# --- user_id (5.1) ---


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ('"u-1"', "u-1"),
        ('" u 1 "', " u 1 "),
        ('"78"', "78"),
        ("7", "7"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ('"' + "x" * 255 + '"', "x" * 255),
        ('"' + "😀" * 255 + '"', "😀" * 255),
        (r'"\u00e9\ud83d\ude00"', "é😀"),
        ('"a\u2028b\u200f"', "a\u2028b\u200f"),
        ('"\ufffd"', "\ufffd"),
    ],
    ids=lambda value: value[:24],
)
def test_user_id_is_kept_as_sent_when_valid(text: str, stored: str) -> None:
    assert accepted(text_of(user_id=text)).user_id == stored


@pytest.mark.parametrize(
    "text",
    [
        *('"   "', '"\u00a0"', '"' + "x" * 256 + '"', r'"a\u0000b"', r'"a\nb"', r'"\u0085"'),
        *(r'"\ud800"', r'"\udc00x"', "18446744073709551616", "-9223372036854775809", "9" * 1500),
        *("true", "false", "1.5", "7.0", "1e3", "[]", "{}", "NaN", "-Infinity", '["u"]'),
    ],
    ids=lambda value: value[:24],
)
def test_user_id_is_invalid_when_it_is_no_plain_text(text: str) -> None:
    assert refused(text_of(user_id=text)) == [ErrorType.USER_ID_INVALID]


@pytest.mark.parametrize(
    ("text", "kind"), [("1.5", "another number"), ("true", "a boolean"), ("[]", "a list")]
)
def test_user_id_is_refused_with_what_it_may_be(text: str, kind: str) -> None:
    rejected = parse_track(text_of(user_id=text), strict=False)
    assert isinstance(rejected, list)
    assert rejected[0].detail == f"user_id must be a string or an integer, not {kind}."


@pytest.mark.parametrize("text", ["null", '""'])
def test_user_id_is_missing_when_null_or_empty(text: str) -> None:
    assert refused(text_of(user_id=text)) == [ErrorType.USER_ID_MISSING]


def test_user_id_comes_from_the_anonymous_id_when_missing() -> None:
    assert accepted(body_of(user_id=None, anonymous_id="abc")).user_id == "anon_abc"
    assert accepted(body_of(user_id="", anonymous_id="abc")).anonymous_id == "abc"
    assert accepted(body_of(user_id="u-2", anonymous_id="abc")).user_id == "u-2"


def test_anonymous_id_stands_in_only_where_it_makes_a_user_id_of_255_characters() -> None:
    """What is stored is under the limit of section 5.1, however it came about."""
    longest, longer = "x" * 250, "x" * 251
    assert accepted(body_of(user_id=None, anonymous_id=longest)).user_id == "anon_" + longest
    assert refused(body_of(user_id=None, anonymous_id=longer)) == [ErrorType.USER_ID_MISSING]
    beside = accepted(body_of(user_id="u-2", anonymous_id="x" * 255))
    assert (beside.user_id, beside.anonymous_id) == ("u-2", "x" * 255)


@pytest.mark.parametrize("text", ['"a\\nb"', '""', "true", "[1]", "1.5", '"\\ud800"', "null"])
def test_anonymous_id_is_ignored_when_invalid(text: str) -> None:
    assert accepted(text_of(anonymous_id=text)).anonymous_id == ""
    assert refused(text_of(user_id="null", anonymous_id=text)) == [ErrorType.USER_ID_MISSING]


@pytest.mark.parametrize("text", ['"someone-else"', "null", "[]", '"\\ud800"', "1.5", '""'])
def test_user_is_that_of_the_session_token_whatever_the_event_says(text: str) -> None:
    assert accepted(text_of(user_id=text), uid="anon_1").user_id == "anon_1"


# --- event_type (5.2) ---


@pytest.mark.parametrize(
    "name",
    [
        *("page_viewed", "Order Completed", "[Amplitude] Page Viewed", "$identify", "商品を見る"),
        *("x", "x" * 200, "😀" * 200, "1", "a'; DROP TABLE events;--", "<b>&</b>"),
    ],
    ids=lambda name: name[:24],
)
def test_event_type_is_stored_as_sent_when_printable(name: str) -> None:
    assert accepted(body_of(event_type=name)).event_type == name


@pytest.mark.parametrize("text", ["null", '""', '"  "', '"\\t"'])
def test_event_type_is_missing_when_there_is_nothing_in_it(text: str) -> None:
    assert refused(text_of(event_type=text)) == [ErrorType.EVENT_TYPE_MISSING]


@pytest.mark.parametrize(
    "text",
    [
        *('" x"', '"x "', r'"x\ty"', r'"x\u0000"', r'"\ud800"', '"x\u2028y"', '"x\u00a0y"'),
        *('"' + "x" * 201 + '"', "5", "1.5", "true", "[]", "{}", "NaN", '"x\u200by"'),
    ],
    ids=lambda text: text[:24],
)
def test_event_type_is_invalid_when_not_printable_text(text: str) -> None:
    assert refused(text_of(event_type=text)) == [ErrorType.EVENT_TYPE_INVALID]


@pytest.mark.parametrize("name", ["Order Completed", "$identify", "x" * 129, "1st", "pagé", "a-b"])
def test_event_type_is_invalid_when_the_tenant_is_strict(name: str) -> None:
    assert refused(body_of(event_type=name), strict=True) == [ErrorType.EVENT_TYPE_INVALID]
    assert accepted(body_of(event_type="page_viewed_2"), strict=True).event_type == "page_viewed_2"


# --- occurred_at (5.3; the forms are in test_times.py) ---


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ('"2026-04-25T14:32:00.123Z"', "2026-04-25T14:32:00.123"),
        ('"2026-04-25T14:32:00.123456+00:00"', "2026-04-25T14:32:00.123456"),
        ("1777127520", "2026-04-25T14:32:00"),
        ("1777127520.25", "2026-04-25T14:32:00.25"),
        ("1777127520123456789", "2026-04-25T14:32:00.123456789"),
        ("null", None),
        ('""', None),
    ],
)
def test_time_is_read_whatever_its_json_type(text: str, stored: str | None) -> None:
    assert accepted(text_of(occurred_at=text)).occurred_at == stored


@pytest.mark.parametrize(
    "text", ["177712752", '"tomorrow"', "true", "[]", "{}", "1.7e9", "NaN", "9" * 1500, r'"\ud800"']
)
def test_time_is_invalid_when_it_is_none(text: str) -> None:
    assert refused(text_of(occurred_at=text)) == [ErrorType.OCCURRED_AT_INVALID]


def test_time_is_out_of_range_when_the_columns_cannot_hold_it() -> None:
    assert refused(body_of(occurred_at="2262-01-01T00:00:00Z")) == [
        ErrorType.OCCURRED_AT_OUT_OF_RANGE
    ]


# --- payload (5.4) ---


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"n": 18446744073709551616, "d": 0.10, "e": 1e400}',
        '{"a":1,"a":2}',
        '{"":1,"a.b":2,"$x":3,"😀":4}',
        '{ "a" :\t[ 1 ,\r\n 2 ] }',
        r'{"s":"\u0000\/\u00e9é\ud83d\ude00"}',
        '{"s":"' + "[{" * 100 + '"}',
        '{"n":' + "9" * 1500 + "}",
    ],
    ids=lambda text: text[:24],
)
def test_payload_is_kept_byte_for_byte(text: str) -> None:
    candidate = accepted(text_of(payload=text))
    assert candidate.payload == text.encode()
    assert candidate.normalised == ()


def test_payload_is_empty_when_missing_or_null() -> None:
    assert accepted(body_of()).payload == accepted(text_of(payload="null")).payload == b"{}"


@pytest.mark.parametrize("text", ["[]", '"x"', '""', "1", "0", "false", "NaN"])
def test_payload_is_invalid_when_not_an_object(text: str) -> None:
    assert refused(text_of(payload=text)) == [ErrorType.PAYLOAD_INVALID]


def nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


@pytest.mark.parametrize("levels", [33, 500])
def test_payload_is_too_deep_when_over_32_levels(levels: int) -> None:
    assert accepted(text_of(payload=nested(32))).payload == nested(32).encode()
    assert refused(text_of(payload=nested(levels))) == [ErrorType.PAYLOAD_TOO_DEEP]


def test_deep_payload_costs_only_its_own_event() -> None:
    body = b'{"events":[' + text_of(payload=nested(500)) + b"," + text_of() + b"]}"
    parsed = batch(body)
    assert [one.index for one in parsed.rejected] == [0]
    assert len(parsed.candidates) == 1
    assert "500 levels" in parsed.rejected[0].detail


@pytest.mark.parametrize(
    ("text", "kept", "why"),
    [
        ('{"n": NaN, "i": -Infinity}', '{"n": null, "i": null}', ("nan",)),
        (r'{"s":"\ud800"}', r'{"s":"\ufffd"}', ("lone_surrogate",)),
        (r'{"\udfff":[NaN]}', r'{"\ufffd":[null]}', ("nan", "lone_surrogate")),
    ],
)
def test_payload_is_repaired_when_it_is_what_the_python_sdk_writes(
    text: str, kept: str, why: tuple[str, ...]
) -> None:
    candidate = accepted(text_of(payload=text))
    assert candidate.payload == kept.encode()
    assert candidate.normalised == why


def test_repair_in_one_event_leaves_the_others_as_they_are() -> None:
    good = text_of(user_id='"\ufffd"', payload='{"a": "NaN", "b": null}')
    bad = text_of(user_id=r'"\ud800"')
    broken = text_of(payload=r'{"a":NaN,"s":"\ud800"}')
    parsed = batch(b'{"events": [' + b",".join([good, bad, broken, broken]) + b"]}")
    assert parsed.normalised == {"nan": 2, "lone_surrogate": 2}
    assert [one.payload for one in parsed.candidates] == [
        b'{"a": "NaN", "b": null}',
        *[rb'{"a":null,"s":"\ufffd"}'] * 2,
    ]
    assert [(one.index, one.error_type) for one in parsed.rejected] == [
        (1, ErrorType.USER_ID_INVALID)
    ]


# --- event_id and Idempotency-Key (5.5) ---


@pytest.mark.parametrize(
    ("text", "client_id"),
    [
        ('"order-1"', "order-1"),
        ('"' + "😀" * 128 + '"', "😀" * 128),
        ("7", "7"),
        ('" "', " "),
        ("null", None),
        ('""', None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_client_names_its_event_when_it_sends_an_event_id(text: str, client_id: str | None) -> None:
    assert accepted(text_of(event_id=text)).client_id == client_id


@pytest.mark.parametrize(
    "text", ['"' + "x" * 129 + '"', r'"a\nb"', r'"\ud800"', "true", "1.5", "[]", "{}", "9" * 30]
)
def test_event_id_is_invalid_when_it_is_no_plain_text(text: str) -> None:
    assert refused(text_of(event_id=text)) == [ErrorType.EVENT_ID_INVALID]


@pytest.mark.parametrize("odd", [b"", b',"user_id":1.5'], ids=["plain batch", "odd batch"])
def test_idempotency_key_names_the_events_that_have_no_id(odd: bytes) -> None:
    assert accepted(body_of(), idempotency_key="k").client_id == "k"
    assert accepted(body_of(event_id="e"), idempotency_key="k").client_id == "e"
    events = [body_of(), body_of(event_id="e"), b"{}"[:1] + b'"user_id":1' + odd + b"}", body_of()]
    parsed = batch(b'{"events":[' + b",".join(events) + b"]}", idempotency_key="k")
    assert [one.client_id for one in parsed.candidates] == ["k:0", "e", "k:3"]


# --- one event as a whole ---


def test_event_of_the_given_page_is_accepted() -> None:
    candidate = accepted(GIVEN_PAGE_EVENT)
    assert (candidate.user_id, candidate.event_type, candidate.occurred_at) == (
        "usr_8f3kd92",
        "order_placed",
        "2026-04-25T14:32:00",
    )
    assert candidate.payload == b'{"order_id": "ord_123", "total": 129.99, "currency": "EUR"}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"event_type":"x","user_id":"first","user_id":"last"}',
        b'{"user_id":"last","event_type":"x","foo":{"user_id":"no"},"bar":[1,2.5e3]}',
        b'{"user_id":"first","event_type":"x","user\\u005fid":"last"}',
        b'{"user_id":true,"event_type":"x","user_id":"last"}',
        b'\xef\xbb\xbf \r\n{"user_id":"last","event_type":"x"}\n',
    ],
    ids=["key twice", "unknown keys", "escaped key", "odd type replaced", "byte order mark"],
)
def test_event_is_read_as_json_says(body: bytes) -> None:
    candidate = parse_track(body, strict=False)
    assert isinstance(candidate, Candidate)
    assert candidate.user_id == "last"


def test_refusal_lists_every_bad_field_of_a_single_event() -> None:
    rejected = parse_track(b'{"payload":[],"event_id":true,"occurred_at":"x"}', strict=False)
    assert isinstance(rejected, list)
    assert [(one.field, one.error_type) for one in rejected] == [
        ("user_id", ErrorType.USER_ID_MISSING),
        ("event_type", ErrorType.EVENT_TYPE_MISSING),
        ("occurred_at", ErrorType.OCCURRED_AT_INVALID),
        ("payload", ErrorType.PAYLOAD_INVALID),
        ("event_id", ErrorType.EVENT_ID_INVALID),
    ]


def test_refusal_carries_what_was_readable() -> None:
    (one,) = batch(batch_of([EVENT | {"event_id": "e", "payload": 1}])).rejected
    assert (one.user_id, one.event_type, one.event_id) == ("u-1", "page_viewed", "e")
    (one,) = batch(batch_of([{"user_id": [], "event_type": "x"}])).rejected
    assert (one.user_id, one.event_type, one.event_id) == (None, "x", None)


SECRET: Final = "hunter2"


@pytest.mark.parametrize("field", ["user_id", "event_type", "occurred_at", "payload", "event_id"])
@pytest.mark.parametrize("value", [[SECRET], SECRET + "\x00" + "x" * 300, {SECRET: SECRET + "\n"}])
def test_refusal_never_repeats_what_was_sent(field: str, value: object) -> None:
    for rejected in (
        parse_track(body_of(**{field: value}), strict=True),
        batch(batch_of([EVENT | {field: value}])).rejected,
    ):
        if isinstance(rejected, list):
            assert all(SECRET not in one.detail for one in rejected)
            assert all(re.fullmatch(r"[a-zE].*\.", one.detail) for one in rejected)


# --- size (4) ---


def padded(size: int) -> bytes:
    return body_of(payload={"p": "x" * (size - len(body_of(payload={"p": ""})))})


def test_event_is_too_large_when_one_byte_over_the_bound() -> None:
    assert accepted(padded(262_144)).payload
    assert refused(padded(262_145)) == [ErrorType.EVENT_TOO_LARGE]
    spaced = parse_track(b" " * 100 + padded(262_144) + b"\n", strict=False)
    assert isinstance(spaced, Candidate)


def test_large_event_costs_only_itself_in_a_batch() -> None:
    large = body_of(foo="x" * 300_000)
    parsed = batch(b'{"events":[' + b",".join([body_of(), large, padded(262_144)]) + b"]}")
    assert [(one.index, one.error_type) for one in parsed.rejected] == [
        (1, ErrorType.EVENT_TOO_LARGE)
    ]
    assert str(len(large)) in parsed.rejected[0].detail


def test_large_batch_of_small_events_is_accepted() -> None:
    assert len(batch(batch_of([EVENT | {"payload": {"p": "x" * 9_000}}] * 500)).candidates) == 500


# --- batches ---


def test_batch_is_accepted_when_all_is_well() -> None:
    parsed = batch(batch_of([EVENT] * 500))
    assert (len(parsed.candidates), parsed.rejected, parsed.normalised) == (500, [], {})


@pytest.mark.parametrize(
    ("body", "error_type", "field"),
    [
        (b'{"events":[' + b",".join([b"{}"] * 501) + b"]}", ErrorType.BATCH_TOO_LARGE, "events"),
        (b'{"events":[' + b",".join([b"1"] * 501) + b"]}", ErrorType.BATCH_TOO_LARGE, "events"),
        (b'{"events":[]}', ErrorType.EVENTS_EMPTY, "events"),
        (b"{}", ErrorType.EVENTS_MISSING, "events"),
        (b'{"events":null}', ErrorType.EVENTS_MISSING, "events"),
        (b'{"events":null,"x":NaN}', ErrorType.EVENTS_MISSING, "events"),
        (b'{"events":{"a":1}}', ErrorType.EVENTS_INVALID, "events"),
        (b'{"events":"x"}', ErrorType.EVENTS_INVALID, "events"),
        (b'{"events":NaN}', ErrorType.EVENTS_INVALID, "events"),
        (b"[{}]", ErrorType.BODY_NOT_OBJECT, None),
        (b"null", ErrorType.BODY_NOT_OBJECT, None),
        (b"", ErrorType.BODY_EMPTY, None),
        (b"\xef\xbb\xbf \n", ErrorType.BODY_EMPTY, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_batch_is_refused_whole_when_it_is_no_list_of_events(
    body: bytes, error_type: ErrorType, field: str | None
) -> None:
    rejected = whole_refusal(body)
    assert (rejected.error_type, rejected.field) == (error_type, field)


def test_batch_skips_what_is_no_object() -> None:
    parsed = batch(batch_of([EVENT, "x", 5, None, EVENT, [], True]))
    assert len(parsed.candidates) == 2
    assert [(one.index, one.detail) for one in parsed.rejected] == [
        (1, "Event 1 is a string, not an object."),
        (2, "Event 2 is a number, not an object."),
        (3, "Event 3 is null, not an object."),
        (5, "Event 5 is a list, not an object."),
        (6, "Event 6 is a boolean, not an object."),
    ]


def test_batch_names_the_first_broken_rule_of_each_event() -> None:
    parsed = batch(batch_of([{"user_id": "u", "payload": 5}, {"event_type": 5}, EVENT]))
    assert [(one.index, one.error_type) for one in parsed.rejected] == [
        (0, ErrorType.EVENT_TYPE_MISSING),
        (1, ErrorType.USER_ID_MISSING),
    ]


@pytest.mark.parametrize("body", [b"null", b'"x"', b"[]", b"5", b"NaN"])
def test_single_body_is_refused_when_not_an_object(body: bytes) -> None:
    (rejected,) = refused_whole(body)
    assert rejected.error_type is ErrorType.BODY_NOT_OBJECT


def refused_whole(body: bytes) -> list[Rejected]:
    rejected = parse_track(body, strict=False)
    assert isinstance(rejected, list)
    return rejected


# --- JSON (4) ---


@pytest.mark.parametrize(
    ("body", "line", "column"),
    [
        (b'{"user_id":"u"', 1, 15),
        (b'{"user_id":"u",}', 1, 16),
        (b"{'user_id':1}", 1, 2),
        (b'{"user_id":"u"} x', 1, 17),
        (b'{"user_id":"u"}{}', 1, 16),
        (b"{// no\n}", 1, 2),
        (b'{\n "a": 1,\n "\xc3\xa9": tru}', 3, 8),
        (b'{"a":"\xff"}', 1, 7),
        (b'{"a":"\xed\xa0\x80"}', 1, 7),
        (b'{"a":"\xc3\xa9\xc0\x80"}', 1, 8),
        (b'{"payload":{"a":"\xff"}}', 1, 18),
        (b'{"payload":{"a":01}}', 1, 18),
        (b'{"payload":{"a":"\x00"}}', 1, 18),
        (b'{"payload":{"a":"\n"}}', 1, 18),
        (b'{"payload":{"a":"\\x"}}', 1, 19),
        (b'{"payload":{"a":nan}}', 1, 18),
        (b'{"payload":{"a":NaN,"b":-Infinity,"c":}}', 1, 39),
        (b'{"payload":{"a":-NaN}}', 1, 18),
        (b'{"payload":{"a":"\\ud800","b":1.}}', 1, 32),
        (b"\xff\xfe{\x00}\x00", 1, 1),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_body_is_refused_with_the_place_when_it_is_not_json(
    body: bytes, line: int, column: int
) -> None:
    for rejected in (*refused_whole(body), whole_refusal(body)):
        assert rejected.error_type is ErrorType.JSON_INVALID
        assert rejected.detail == f"Not JSON at line {line}, column {column}."


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"payload":' * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"events":[{"payload":' + b"[" * 10_000 + b"]" * 10_000 + b"}]}",
        b'{"user_id":true,"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
    ids=["open lists", "open objects", "closed", "payload", "beside an odd field"],
)
def test_body_is_too_deep_when_nested_thousands_of_levels(body: bytes) -> None:
    for rejected in (*refused_whole(body), whole_refusal(body)):
        assert rejected.error_type is ErrorType.JSON_TOO_DEEP


# --- properties ---

json_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | json_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
    max_leaves=6,
).map(lambda value: Decimal(value) if isinstance(value, float) else value)
odd_events = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.just("u-1") | json_values,
        "event_type": st.just("page_viewed") | json_values,
        "occurred_at": st.just("2026-04-25T14:32:00Z") | st.integers(10**9, 10**10) | json_values,
        "payload": st.dictionaries(json_texts, json_values, max_size=3) | json_values,
        "event_id": json_values,
        "anonymous_id": json_values,
        "else": json_values,
    },
)
good_events = st.fixed_dictionaries(
    {"user_id": st.just("u-1") | st.integers(0, 99), "event_type": st.just("page_viewed")},
    optional={
        "payload": st.dictionaries(json_texts, json_texts, max_size=3),
        "event_id": st.just("e") | st.integers(0, 99),
        "anonymous_id": st.just("a"),
    },
)
NUMBERS: Final = msgspec.json.Encoder(decimal_format="number")


@given(st.lists(odd_events | good_events, min_size=1, max_size=6), st.booleans())
def test_batch_judges_each_event_as_if_it_came_alone(
    events: list[dict[str, object]], strict: bool
) -> None:
    together = parse_batch(NUMBERS.encode({"events": events}), strict=strict)
    assert isinstance(together, Batch)
    candidates, rejected = iter(together.candidates), iter(together.rejected)
    for index, event in enumerate(events):
        alone = parse_track(NUMBERS.encode(event), strict=strict)
        if isinstance(alone, Candidate):
            assert next(candidates) == alone
        else:
            one = next(rejected)
            assert (one.index, one.error_type, one.detail) == (
                index,
                alone[0].error_type,
                alone[0].detail,
            )
    assert next(candidates, None) is None
    assert next(rejected, None) is None


@given(st.binary(max_size=60) | json_texts.map(str.encode))
def test_parser_never_fails_whatever_it_is_given(body: bytes) -> None:
    parse_track(body, strict=False)
    parse_batch(b'{"events":[' + body + b"]}", strict=False)


@given(odd_events | good_events, st.data())
def test_parser_never_fails_when_a_body_is_cut_or_changed(
    event: dict[str, object], data: st.DataObject
) -> None:
    body = NUMBERS.encode({"events": [event]})
    at = data.draw(st.integers(0, len(body)))
    cut = parse_batch(body[:at], strict=False)
    assert isinstance(cut, Rejected) or at == len(body)
    changed = body[:at] + data.draw(st.binary(max_size=3)) + body[at:]
    parsed = parse_batch(changed, strict=False)
    if isinstance(parsed, Batch):
        for candidate in parsed.candidates:
            orjson.loads(candidate.payload)


# --- real logs ---


@pytest.mark.parametrize(
    "name", ["wikiticker.first500", "online_retail.even500", "bay_area_bike_share.even500"]
)
def test_real_log_is_accepted_whole_with_its_exact_figures(name: str) -> None:
    lines = (DATA / f"{name}.ndjson").read_bytes().splitlines()
    expected = orjson.loads((DATA / f"{name}.expect.json").read_bytes())
    parsed = batch(b'{"events":[' + b",".join(lines) + b"]}")
    assert not parsed.rejected
    candidates = parsed.candidates
    assert len(candidates) == expected["events"]
    assert len({one.user_id for one in candidates}) == expected["distinct_user_ids"]
    assert Counter(one.event_type for one in candidates) == expected["events_by_type"]
    assert (
        Counter((one.occurred_at or "")[:10] for one in candidates) == expected["events_by_utc_day"]
    )
    assert all(one.payload in line for one, line in zip(candidates, lines, strict=True))
    assert [orjson.loads(one.payload) for one in candidates] == [
        orjson.loads(line)["payload"] for line in lines
    ]


@pytest.mark.parametrize("element", [b"{},", b"0,", b'"",', b"[],"])
def test_million_elements_are_refused_without_making_each(element: bytes) -> None:
    """5 KB of gzip may hold them."""
    body = b'{"events":[' + element * (5_000_000 // len(element)) + b"0]}"
    tracemalloc.start()
    try:
        found = parse_batch(body, strict=False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, Rejected)
    assert (found.error_type, found.field) == (ErrorType.BATCH_TOO_LARGE, "events")
    assert most < 1_000_000


@pytest.mark.parametrize("payload", [b"[%b0]" % (b"0," * 100), b'{"a":[%b0]}' % (b"0," * 100)])
def test_batch_of_the_most_events_is_taken_however_many_values_they_hold(payload: bytes) -> None:
    event = b'{"user_id":"u","event_type":"x","payload":%b,"more":"%b"}' % (payload, b"x" * 400)
    found = parse_batch(b'{"events":[%b]}' % b",".join([event] * 500), strict=False)
    assert isinstance(found, Batch)
    assert found.total == 500


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        (b"[%b]", ErrorType.BODY_NOT_OBJECT),
        (b'{"events":{"a":[%b]}}', ErrorType.EVENTS_INVALID),
        (b'{"events":[{"payload":[%b', ErrorType.JSON_INVALID),
        (b'{"other":[%b]}', ErrorType.EVENTS_MISSING),
    ],
)
def test_much_that_is_no_batch_is_refused_for_what_it_is(
    body: bytes, error_type: ErrorType
) -> None:
    found = parse_batch(body % (b"0," * 200_000 + b"0"), strict=False)
    assert isinstance(found, Rejected)
    assert found.error_type is error_type
