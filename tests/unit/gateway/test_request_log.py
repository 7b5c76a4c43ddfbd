"""Which answers leave a line, and how many at most."""

import logging
from typing import Any

import pytest

from gateway.request_log import (
    FAILURE_EVERY_S,
    SLOW_S,
    SUCCESS_EVERY_S,
    RequestLog,
    Sample,
)


def lines(
    caplog: pytest.LogCaptureFixture,
    log: RequestLog,
    status: int,
    *,
    duration_s: float = 0.001,
    is_for_operators: bool = False,
    method: str = "POST",
) -> list[dict[str, Any]]:
    """Answer a hundred requests a second for 30 seconds and return what was written."""
    caplog.clear()
    caplog.set_level(logging.INFO, logger="gateway")
    sample = log.sample("track", status, is_for_operators=is_for_operators)
    for number in range(3_000):
        answer(log, sample, now=1_000 + number / 100, duration_s=duration_s, method=method)
    return [record.__dict__ for record in caplog.records]


def answer(log: RequestLog, sample: Sample, *, now: float, duration_s: float, method: str) -> None:
    """Note an answer as the dispatcher does."""
    if now < sample.due and duration_s < SLOW_S:
        sample.left_out += 1
        return
    log.write(
        sample,
        now=now,
        duration_s=duration_s,
        method=method,
        request_id="r-1",
        tenant="acme",
        error_type=None,
    )


@pytest.mark.parametrize(
    ("status", "every_s", "level"),
    [
        (202, SUCCESS_EVERY_S, logging.INFO),
        (401, FAILURE_EVERY_S, logging.INFO),
        (503, FAILURE_EVERY_S, logging.WARNING),
    ],
)
def test_answers_alike_leave_one_line_in_a_while_which_counts_the_others(
    caplog: pytest.LogCaptureFixture, status: int, every_s: float, level: int
) -> None:
    written = lines(caplog, RequestLog(), status)
    assert len(written) == 30 / every_s
    assert "left_out" not in written[0]
    assert {one["left_out"] for one in written[1:]} == {100 * every_s - 1}
    assert {one["levelno"] for one in written} == {level}


def test_slow_answers_leave_at_most_a_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    written = lines(caplog, RequestLog(), 202, duration_s=SLOW_S)
    assert len(written) == 30
    assert {one["levelno"] for one in written} == {logging.WARNING}
    assert sum(one.get("left_out", 0) for one in written) == 30 * 100 - 30 - 99


def test_probes_leave_a_line_only_when_they_fail_or_are_slow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert lines(caplog, RequestLog(), 200, is_for_operators=True) == []
    assert len(lines(caplog, RequestLog(), 503, is_for_operators=True)) == 30
    assert len(lines(caplog, RequestLog(), 200, is_for_operators=True, duration_s=SLOW_S)) == 30


def test_every_request_leaves_a_line_when_all_are_wanted(caplog: pytest.LogCaptureFixture) -> None:
    assert len(lines(caplog, RequestLog("all"), 202)) == 3_000


@pytest.mark.parametrize("duration_s", [0.001, SLOW_S])
def test_no_request_leaves_a_line_when_they_are_off(
    caplog: pytest.LogCaptureFixture, duration_s: float
) -> None:
    assert lines(caplog, RequestLog("off"), 503, duration_s=duration_s) == []


def test_line_says_who_asked_for_what_and_holds_no_word_of_a_clients_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = lines(caplog, RequestLog(), 202, method="s3cret")[0]
    assert (one["message"], one["method"], one["route"], one["status"]) == (
        "Request answered",
        "other",
        "track",
        202,
    )
    assert (one["request_id"], one["tenant"], one["duration_ms"]) == ("r-1", "acme", 1.0)
