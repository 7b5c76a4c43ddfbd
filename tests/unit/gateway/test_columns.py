"""Looks at whole columns: what passes them is good by the rules, one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.columns import (
    are_event_types,
    are_plain_ids,
    are_plain_or_missing,
    are_shallow_objects,
    are_times,
    is_on_one_line,
    joined,
)
from gateway.core.event_rules import read_event_type, read_id, read_payload
from sluice.core.errors import ErrorType
from sluice.core.event import MAX_PAYLOAD_DEPTH

LIMIT = 8
texts = st.text(st.sampled_from("a| \n\x00\x7f\u00a0\u2028\ud800é🙂"), max_size=LIMIT + 1)


@given(st.lists(texts | st.integers() | st.none(), min_size=1, max_size=4))
def test_plain_ids_are_stored_as_they_stand(values: list[object]) -> None:
    if are_plain_ids(values, limit=LIMIT):
        assert [read_id(value, name="user_id", limit=LIMIT) for value in values] == values


@pytest.mark.parametrize(
    "value",
    ["", " a", "a" * 9, "a\n", "\x7f", 7, None, "\ud800"],
    ids=lambda value: repr(value)[:8],
)
def test_ids_are_not_plain_when_one_of_them_needs_a_closer_look(value: object) -> None:
    assert are_plain_ids(["a", "b"], limit=LIMIT)
    assert not are_plain_ids([value, "b"], limit=LIMIT)
    assert not are_plain_ids(["a", value], limit=LIMIT)
    assert are_plain_or_missing(["a", value], limit=LIMIT) is (value is None)


def test_ids_may_all_be_missing() -> None:
    assert are_plain_or_missing([None, None], limit=LIMIT)


@given(st.lists(texts | st.none(), min_size=1, max_size=4), st.booleans())
def test_event_types_pass_when_each_does(values: list[str | None], strict: bool) -> None:
    assert are_event_types(values, strict=strict) == all(
        read_event_type(value, strict=strict) == value for value in values
    )


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (b"{}", True),
        (b'{"a":[1,[2]],"b":{}}', True),
        (b"[]", False),
        (b"null", False),
        (b'"{"', False),
        (b'{"a":' * MAX_PAYLOAD_DEPTH + b"1" + b"}" * MAX_PAYLOAD_DEPTH, True),
        (b'{"a":' * (MAX_PAYLOAD_DEPTH + 1) + b"1" + b"}" * (MAX_PAYLOAD_DEPTH + 1), False),
        (b'{"a":' + b"[" * (MAX_PAYLOAD_DEPTH - 1) + b"]" * (MAX_PAYLOAD_DEPTH - 1) + b"}", True),
        (b'{"a":' + b"[" * MAX_PAYLOAD_DEPTH + b"]" * MAX_PAYLOAD_DEPTH + b"}", False),
    ],
)
def test_shallow_objects_are_objects_within_the_bound(text: bytes, passes: bool) -> None:
    payloads = [b"{}", text]
    assert are_shallow_objects(payloads, joined(payloads)) is passes
    if passes:
        assert read_payload(text) == text


def test_times_are_good_when_none_is_a_refusal() -> None:
    assert are_times(["2026-04-25T14:32:00", None])
    assert not are_times([None, ErrorType.OCCURRED_AT_INVALID])


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_payloads_are_on_one_line_unless_one_holds_the_end_of_one(end: bytes) -> None:
    assert is_on_one_line(joined([b"{}", b'{"a": "\\n"}']))
    assert not is_on_one_line(joined([b"{}", b"{" + end + b"}"]))
