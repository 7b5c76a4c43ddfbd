"""How answers of queue, worker and warehouse become three words."""

import msgspec
import pytest

from gateway.core.status import Word, WorkerStatus, judge_worker
from gateway.health import Health


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"heartbeat_age_s": 0.5, "destinations": {}}, "ok"),
        ({"heartbeat_age_s": 29.9, "destinations": {"warehouse": {"state": "ok"}}}, "ok"),
        ({"heartbeat_age_s": 30.0, "destinations": {}}, "error"),
        ({"heartbeat_age_s": 1, "destinations": {"warehouse": {"breaker": "open"}}}, "degraded"),
        ({"heartbeat_age_s": 1, "destinations": {"warehouse": {"state": "degraded"}}}, "degraded"),
        ({"heartbeat_age_s": 1, "destinations": {"warehouse": {"backlog_age_s": 61}}}, "degraded"),
        ({"heartbeat_age_s": 40, "destinations": {"warehouse": {"breaker": "open"}}}, "error"),
    ],
)
def test_worker_is_judged_by_its_status(status: dict[str, object], word: str) -> None:
    assert judge_worker(msgspec.convert(status, WorkerStatus)).word == word


@pytest.mark.parametrize(
    ("words", "is_well"),
    [
        (("ok", "ok", "ok"), True),
        (("degraded", "ok", "ok"), False),
        (("ok", "unknown", "ok"), False),
        (("ok", "ok", "error"), False),
    ],
)
def test_health_is_well_only_when_all_three_are_ok(
    words: tuple[Word, Word, Word], *, is_well: bool
) -> None:
    assert Health(*words).is_well is is_well
