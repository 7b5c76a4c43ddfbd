import base64

import pytest

from worker.core.letters import (
    MAX_BODY_BYTES,
    MAX_REASON_CHARS,
    letter_of_body,
    letter_of_row,
    record_of,
)

ROW = (
    b'{"tenant":"acme","event_id":"x","event_type":"t","user_id":"u",'
    b'"received_at":"2026-04-25T13:30:00.000001"}'
)


def test_letter_is_the_same_whenever_the_same_row_is_judged() -> None:
    first = letter_of_row(ROW, reason="a", envelope_id="1", attempt=1)
    again = letter_of_row(ROW, reason="b", envelope_id="2", attempt=2)
    other = letter_of_row(ROW + b" ", reason="a", envelope_id="1", attempt=1)
    assert first.letter_id == again.letter_id != other.letter_id
    assert (first.tenant, first.row) == ("acme", ROW.decode())


def test_letter_holds_a_row_that_is_no_text() -> None:
    letter = letter_of_row(b"\xff", reason="r" * 5_000, envelope_id="1", attempt=1)
    assert (letter.tenant, letter.row) == ("", "\\xff")
    assert len(letter.reason) == MAX_REASON_CHARS


def test_letter_of_an_envelope_holds_its_beginning() -> None:
    letter = letter_of_body(b"x" * 100_000, reason="r", envelope_id="1", attempt=1)
    assert base64.b64decode(letter.row) == b"x" * MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("row", "ts"),
    [
        (ROW, "2026-04-25T13:30:00.000001"),
        (ROW.replace(b"2026-04-25T13:30", b"soon"), "2026-01-01T00:00:00.000000"),
    ],
    ids=["the row's own time", "unreadable time"],
)
def test_record_tells_the_tenant_what_is_known_of_the_event(row: bytes, ts: str) -> None:
    letter = letter_of_row(row, reason="r", envelope_id="1", attempt=1)
    record = record_of(letter, row, seen_at="2026-01-01T00:00:00.000000")
    assert record is not None
    assert (record.ts, record.event_type, record.user_id) == (ts, "t", "u")
    assert record.error_id == letter.letter_id


def test_record_is_none_when_the_tenant_cannot_be_read() -> None:
    letter = letter_of_row(b"{", reason="r", envelope_id="1", attempt=1)
    assert record_of(letter, b"{", seen_at="2026-01-01T00:00:00.000000") is None
