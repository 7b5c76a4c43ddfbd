"""Lines of a file -> named events in batches."""

from hashlib import sha256
from itertools import pairwise

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.core.event import MAX_EVENT_BYTES
from sluice.core.event_lines import MAX_LINE_BYTES, Batch, Batcher, LineNames

A = b'{"user_id":"a","event_type":"x"}'
B = b'{"user_id":"b","event_type":"x","payload":{"n":1e400,"m":18446744073709551616}}'


class Named(msgspec.Struct):
    event_id: str


class Body(msgspec.Struct):
    events: list[Named]


def batches_of(*blocks: bytes, size: int = 500, max_bytes: int = 4_000_000) -> list[Batch]:
    batches, _ = read(*blocks, size=size, max_bytes=max_bytes)
    return batches


def read(
    *blocks: bytes, size: int = 500, max_bytes: int = 4_000_000
) -> tuple[list[Batch], dict[int, str]]:
    batcher = Batcher(size, max_bytes)
    batches = [batch for block in blocks for batch in batcher.feed(block)]
    batches += batcher.finish()
    return batches, {skip.line: skip.error_type for skip in batcher.skips}


def events_of(batches: list[Batch]) -> list[bytes]:
    return [event for batch in batches for event in batch.events]


def id_of(event: bytes) -> str:
    # msgspec, because orjson refuses numbers that no double holds
    found = msgspec.json.decode(event, type=dict[str, msgspec.Raw])["event_id"]
    return msgspec.json.decode(found, type=str)


def test_line_is_named_after_its_content_and_occurrence() -> None:
    first, second, other = events_of(batches_of(A + b"\n" + A + b"\n" + B + b"\n"))
    digest = sha256(A).hexdigest()[:32]
    assert first == A[:-1] + f',"event_id":"{digest}:1"}}'.encode()
    assert id_of(second) == f"{digest}:2"
    assert id_of(other) == sha256(B).hexdigest()[:32] + ":1"


def test_text_of_a_line_is_kept_but_for_the_id() -> None:
    [event] = events_of(batches_of(B))
    assert event.startswith(B[:-1])


@pytest.mark.parametrize(
    "block",
    [A + b"\n" + B, A + b"\r\n" + B + b"\r\n", b"\xef\xbb\xbf" + A + b"\n\n  " + B + b" \n\n"],
    ids=["no last line feed", "CRLF", "BOM, blanks"],
)
def test_names_do_not_depend_on_line_ends_and_blanks(block: bytes) -> None:
    assert events_of(batches_of(block)) == events_of(batches_of(A + b"\n" + B + b"\n"))


@pytest.mark.parametrize("own", ['"mine"', "7", '"a\\"b"'])
def test_line_keeps_its_own_event_id(own: str) -> None:
    line = f'{{"event_id":{own},"user_id":"a","event_type":"x"}}'.encode()
    assert events_of(batches_of(line)) == [line]


@pytest.mark.parametrize("own", ["null", '""'])
def test_line_is_named_when_its_own_event_id_says_nothing(own: str) -> None:
    line = f'{{"event_id":{own},"user_id":"a","event_type":"x"}}'.encode()
    [event] = events_of(batches_of(line))
    assert id_of(event) == sha256(line).hexdigest()[:32] + ":1"


def test_empty_object_becomes_valid_json_that_the_edge_can_refuse() -> None:
    [event] = events_of(batches_of(b"{ }"))
    assert list(orjson.loads(event)) == ["event_id"]


def test_broken_lines_are_skipped_by_number_and_the_rest_goes_on() -> None:
    lines = [A, b"no json", b"[1]", b'{"a":"\xff"}', b'{"a":1} {"b":2}', b'{"a":1', b'"text"', B]
    batches, skips = read(b"\n".join(lines))
    assert [batch.lines for batch in batches] == [[1, 8]]
    assert skips == {
        2: "json_invalid",
        3: "event_not_object",
        4: "json_invalid",
        5: "json_invalid",
        6: "json_invalid",
        7: "event_not_object",
    }


def test_line_over_the_bound_is_skipped_however_long_it_is() -> None:
    for size in (MAX_EVENT_BYTES + 1, MAX_LINE_BYTES + 1, 5 * MAX_LINE_BYTES):
        text = A + b"\n" + b"x" * size + b"\n" + B + b"\n"
        blocks = [text[at : at + 100_000] for at in range(0, len(text), 100_000)]
        batches, skips = read(*blocks)
        assert [batch.lines for batch in batches] == [[1, 3]]
        assert skips == {2: "event_too_large"}


@pytest.mark.parametrize(
    "line",
    [b'{"user_id":"a","payload":{"n":NaN}}', b'{"user_id":"a","payload":{"s":"\\ud800"}}'],
    ids=["NaN", "lone surrogate"],
)
def test_line_that_only_the_edge_can_judge_goes_alone(line: bytes) -> None:
    batches, skips = read(A + b"\n" + line + b"\n" + B)
    assert sorted((batch.lines, batch.is_single) for batch in batches) == [
        ([1, 3], False),
        ([2], True),
    ]
    single = next(batch for batch in batches if batch.is_single)
    assert single.body().startswith(line[:-1] + b',"event_id":"')
    assert skips == {}


def test_batches_keep_both_bounds() -> None:
    lines = b"\n".join(b'{"n":%d}' % n for n in range(1201))
    assert [len(batch.events) for batch in batches_of(lines)] == [500, 500, 201]
    small = batches_of(lines, max_bytes=1_000)
    assert all(sum(len(event) + 1 for event in batch.events) <= 1_000 for batch in small)
    assert [n for batch in small for n in batch.lines] == list(range(1, 1202))


def test_body_is_what_the_batch_endpoint_takes() -> None:
    [batch] = batches_of(A + b"\n" + B)
    body = msgspec.json.decode(batch.body(), type=Body)
    assert [event.event_id for event in body.events] == [id_of(event) for event in batch.events]
    halves = batch.halves()
    assert [half.lines for half in halves] == [[1], [2]]


@settings(max_examples=50)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "é"]), st.text(max_size=5) | st.integers()),
        max_size=20,
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_file_gives_the_same_events_however_it_is_cut(
    objects: list[dict[str, object]], sizes: list[int]
) -> None:
    text = msgspec.json.Encoder().encode_lines(objects)
    cuts = [0]
    while cuts[-1] < len(text):
        cuts.append(cuts[-1] + sizes[len(cuts) % len(sizes)])
    blocks = [text[start:end] for start, end in pairwise(cuts)]
    whole = events_of(batches_of(text))
    assert events_of(batches_of(*blocks)) == whole
    assert len(set(map(id_of, whole))) == len(objects)


def test_occurrences_are_told_apart_within_bounded_memory() -> None:
    names = LineNames(remembered=10)
    first = names.name(A)
    for n in range(9):
        names.name(b"%d" % n)
    assert names.name(A) == first[:-1] + b"2"
    for n in range(30):
        names.name(b"%d" % n)
    assert names.name(A) == first, "forgotten after many other lines, the same in every run"
