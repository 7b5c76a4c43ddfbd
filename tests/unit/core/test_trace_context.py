"""W3C Trace Context: what is read, what is ignored, and what goes through the queue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.trace_context import (
    MAX_CARRIED,
    MAX_CARRIED_BYTES,
    MAX_STATE_BYTES,
    MAX_STATE_MEMBERS,
    TraceContext,
    carried_text,
    pack_contexts,
    parse_context,
    unpack_contexts,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"

hexadecimal = st.text("0123456789abcdef")
contexts = st.builds(
    TraceContext,
    trace_id=st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}"),
    span_id=st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}"),
    is_sampled=st.just(value=True),
    state=st.sampled_from(["", "vendor=opaque", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]),
)


@given(contexts)
def test_context_is_the_same_when_it_went_through_headers(context: TraceContext) -> None:
    states = (context.state,) if context.state else ()
    assert parse_context((context.traceparent,), states) == context


@given(context=contexts, is_sampled=st.booleans())
def test_sampled_flag_is_read_when_other_flags_are_set_too(
    context: TraceContext, *, is_sampled: bool
) -> None:
    for others in (0x00, 0x02, 0xFE):
        text = f"00-{context.trace_id}-{context.span_id}-{others | is_sampled:02x}"
        found = parse_context((text,))
        assert found is not None
        assert found.is_sampled is is_sampled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD} ",
        f"{GOOD}\n",
        f"{GOOD}-",
        f"{GOOD}-extra",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-٠١",  # noqa: RUF001 - digits, but no hexadecimal ones
        f"01-{TRACE}-{SPAN}-01extra",
        GOOD.replace("-", "_"),
    ],
)
def test_malformed_traceparent_counts_as_none(text: str) -> None:
    assert parse_context((text,)) is None


@pytest.mark.parametrize("text", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes"])
def test_later_version_is_read_as_far_as_it_is_known(text: str) -> None:
    context = parse_context((text,))
    assert context is not None
    assert context.traceparent == GOOD


def test_two_traceparents_count_as_none() -> None:
    assert parse_context((GOOD, GOOD)) is None


@given(st.text(max_size=80))
def test_any_text_is_read_or_ignored_and_never_refused(text: str) -> None:
    context = parse_context((text,), (text,))
    assert context is None or len(context.state) <= MAX_STATE_BYTES


@given(hexadecimal, hexadecimal, hexadecimal, hexadecimal)
def test_read_context_is_always_one_that_may_be_sent(one: str, two: str, ten: str, ex: str) -> None:
    context = parse_context((f"{one}-{two}-{ten}-{ex}",))
    if context is not None:
        assert parse_context((context.traceparent,)) == context


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("a=1",), "a=1"),
        (("a=1,b=2", "c=3"), "a=1,b=2,c=3"),
        (("a=1, \t b=2 ,,",), "a=1,b=2"),
        (("fw529a3039@dt=FfD==;x",), ""),
        (("tenant@system=x;y z",), "tenant@system=x;y z"),
        (("a=1,a=2",), ""),
        (("A=1",), ""),
        (("a",), ""),
        (("a=\x7f",), ""),
        (("a=é",), ""),
        ((f"a={'x' * 256}",), "a=" + "x" * 256),
        ((f"a={'x' * 257}",), ""),
        ((",".join(f"k{n}=1" for n in range(MAX_STATE_MEMBERS)),), None),
        ((",".join(f"k{n}=1" for n in range(MAX_STATE_MEMBERS + 1)),), ""),
        ((",".join(f"k{n}={'x' * 200}" for n in range(3)),), ""),
    ],
)
def test_tracestate_is_whole_or_empty(states: tuple[str, ...], expected: str | None) -> None:
    context = parse_context((GOOD,), states)
    assert context is not None
    assert context.state == (",".join(states) if expected is None else expected)


@given(st.lists(contexts, max_size=2 * MAX_CARRIED))
def test_envelope_carries_each_context_once_up_to_its_bounds(
    given_ones: list[TraceContext],
) -> None:
    packed = pack_contexts([carried_text(one) for one in given_ones])
    assert len(packed) <= MAX_CARRIED_BYTES
    carried = unpack_contexts(packed)
    assert [one.traceparent for one in carried] == [
        one.traceparent for one in dict.fromkeys(given_ones)
    ][:MAX_CARRIED]


def test_contexts_go_without_their_tracestate_when_all_would_be_too_long() -> None:
    states = f"a={'x' * 256},b={'y' * 200}"
    texts = [f"00-{number:032x}-{SPAN}-01 {states}" for number in range(1, MAX_CARRIED + 1)]
    carried = unpack_contexts(pack_contexts(texts))
    assert len(carried) == MAX_CARRIED
    assert {one.state for one in carried} == {""}
    assert {one.state for one in unpack_contexts(pack_contexts(texts[:4]))} == {states}


@given(st.text(max_size=300))
def test_what_an_envelope_says_of_traces_is_read_or_ignored(packed: str) -> None:
    assert len(unpack_contexts(packed)) <= MAX_CARRIED


@pytest.mark.parametrize(
    "packed",
    ["x" * (MAX_CARRIED_BYTES + 1), f"00-{TRACE}-{SPAN}-00", "\n\n", f"nonsense\n{TRACE}"],
)
def test_unpacking_leaves_out_what_is_malformed_unsampled_or_too_long(packed: str) -> None:
    assert unpack_contexts(packed) == []
