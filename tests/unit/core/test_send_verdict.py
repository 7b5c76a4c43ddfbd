"""What a sender does with each answer."""

import pytest

from sluice.core.send_verdict import Again, Done, Drop, Halve, Verdict, Wrong, judge

CASES: list[tuple[int, str | None, int, Verdict]] = [
    (202, None, 500, Done()),
    (200, None, 1, Done()),
    (503, "7", 500, Again(7.0)),
    (503, None, 500, Again(None)),
    (503, "3600", 500, Again(60.0)),
    (429, "0", 500, Again(0.0)),
    (429, "Wed, 21 Oct 2026 07:28:00 GMT", 500, Again(None)),
    (503, "-1", 500, Again(None)),
    (408, None, 1, Again(None)),
    (500, None, 500, Again(None)),
    (502, None, 500, Again(None)),
    (504, None, 500, Again(None)),
    (413, None, 2, Halve()),
    (413, None, 1, Drop()),
    (400, None, 500, Halve()),
    (400, None, 1, Drop()),
]


@pytest.mark.parametrize(("status", "retry_after", "events", "verdict"), CASES)
def test_answer_has_its_verdict(
    status: int, retry_after: str | None, events: int, verdict: Verdict
) -> None:
    assert judge(status, retry_after, events=events) == verdict


@pytest.mark.parametrize("status", [301, 308, 401, 403, 404, 405, 415, 418, 501, 505])
def test_answer_ends_everything_when_no_request_could_succeed(status: int) -> None:
    verdict = judge(status, None, events=500)
    assert isinstance(verdict, Wrong)
    assert "--url" in verdict.remedy or "--api-key" in verdict.remedy
