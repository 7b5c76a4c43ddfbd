"""Lines of the log: JSON for machines, text for people, with the fields of whoever logs."""

import logging
from datetime import UTC, datetime

import msgspec
import pytest

from sluice.logs import JsonLines, TextLines, get_logger
from tests.support.logs import captured_logs

AT = datetime(2026, 11, 22, 8, 0, 0, 250_000, tzinfo=UTC)


def record(event: str = "Breaker opened", **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "worker.consumer", "levelno": logging.WARNING, "levelname": "WARNING"}
        | {"msg": event, "created": AT.timestamp(), **fields}
    )
    if event == "Failed":
        error = RuntimeError("out of cheese")
        made.exc_info = (type(error), error, None)
    return made


def parsed(made: logging.LogRecord) -> dict[str, object]:
    return msgspec.json.decode(JsonLines().format(made), type=dict[str, object])


def test_line_of_json_has_event_level_logger_time_and_fields() -> None:
    assert parsed(record(subscription="amplitude", failures=3)) == {
        "event": "Breaker opened",
        "level": "warning",
        "logger": "worker.consumer",
        "timestamp": "2026-11-22T08:00:00.250000Z",
        "subscription": "amplitude",
        "failures": 3,
    }


def test_line_of_json_says_where_it_failed() -> None:
    assert "RuntimeError: out of cheese" in str(parsed(record("Failed"))["exception"])


@pytest.mark.parametrize("value", [object(), b"\xff", {1: 2}, "\ud800", 2**70, float("nan")])
def test_line_of_json_is_one_whatever_the_field_holds(value: object) -> None:
    line = JsonLines().format(record(detail=value))
    assert "\n" not in line
    assert "detail" in msgspec.json.decode(line)


class Nameless:
    """What fails to say what it is."""

    def __repr__(self) -> str:
        message = "no words"
        raise RuntimeError(message)


def endless(depth: int) -> list[object]:
    """Return lists in each other; at depth 0 a list that holds itself."""
    inner: list[object] = []
    outer = inner
    for _ in range(depth):
        outer = [outer]
    if not depth:
        inner.append(inner)
    return outer


@pytest.mark.parametrize(
    "value", [Nameless(), [Nameless()], endless(0), endless(100_000), "\ud800"], ids=range(5)
)
def test_line_says_all_the_rest_where_a_field_cannot_be_said(value: object) -> None:
    said = parsed(record(detail=value, rows=7, part="a"))
    assert isinstance(said.pop("detail"), str)
    assert said == parsed(record(rows=7, part="a"))
    line = TextLines(has_colours=False).format(record(detail=value, rows=7))
    assert "Breaker opened" in line
    assert "\n" not in line
    assert line.endswith(" rows=7")


def test_line_is_one_where_a_library_gives_words_that_do_not_fit() -> None:
    made = record("%d rows")
    made.args = ("many",)
    assert parsed(made)["event"] == "%d rows ('many',)"
    assert "%d rows ('many',)" in TextLines(has_colours=False).format(made)


def test_text_is_one_line_without_commands_to_the_terminal_whatever_the_event_says() -> None:
    line = TextLines(has_colours=False).format(record("one\ntwo \x1b[2J\ud800"))
    assert r"one\ntwo \x1b[2J\ud800" in line
    assert "\n" not in line


def test_text_has_its_fields_behind_the_event_and_escapes_what_would_be_lines() -> None:
    line = TextLines(has_colours=False).format(record(lot="a1", detail="two\nlines", rows=7))
    assert line == (
        "2026-11-22T08:00:00.250000Z [warning  ] Breaker opened                 [worker.consumer]"
        " lot=a1 detail='two\\nlines' rows=7"
    )


def test_text_has_colours_on_a_terminal_and_a_traceback_below() -> None:
    text = TextLines(has_colours=True).format(record("Failed"))
    assert "\x1b[33mwarning" in text
    assert text.endswith("RuntimeError: out of cheese")


def test_field_may_have_a_name_that_logging_uses() -> None:
    with captured_logs("sluice.test") as lines:
        get_logger("sluice.test").info("Made", name="n", module="m", args=1)
    [line] = lines
    assert (line["name"], line["module"], line["args"]) == ("n", "m", 1)
