"""The kill test in the suite: a few rounds of what ``make kill-test`` does for long."""

from pathlib import Path

import pytest

from tests.faults.kill_test import run_rounds
from tests.faults.oracle import Oracle


@pytest.mark.long(70)
@pytest.mark.timeout(170)
async def test_sluice_keeps_every_202_once_when_any_process_is_killed(tmp_path: Path) -> None:
    """Every event answered 202 is in ClickHouse once, and none that was refused."""
    report = await run_rounds(4, seed=20261121, data_dir=tmp_path, is_chatty=False)
    assert report.verdict.holds, "\n".join(report.lines())
    assert report.verdict.accepted > 1_000, "too little was accepted to prove anything"
    stored = report.verdict.accepted
    assert stored <= report.stats_total <= stored + report.verdict.unanswered


def test_oracle_names_what_was_lost_doubled_or_smuggled() -> None:
    oracle = Oracle(accepted={1, 2, 3}, refused={4}, unanswered={5})
    verdict = oracle.judge([(1, 1), (2, 2), (4, 1), (5, 1), (9, 1)])
    assert (verdict.lost, verdict.doubled, verdict.smuggled) == ((3,), (2,), (4, 9))
    assert not verdict.holds


def test_oracle_is_content_when_each_promise_was_kept_once() -> None:
    verdict = Oracle(accepted={1, 2}, refused={3}, unanswered={4}).judge([(1, 1), (2, 1)])
    assert verdict.holds
