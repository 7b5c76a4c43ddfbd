"""In short what ``make faults-workflows`` does for long: workers killed where it matters most."""

from pathlib import Path

import pytest

from tests.faults.workflows.__main__ import kill_everywhere


@pytest.mark.long(40)
@pytest.mark.timeout(110)
async def test_run_ends_as_it_would_have_when_its_worker_is_killed_around_a_request(
    tmp_path: Path,
) -> None:
    # 9 to 12: the row before the request, the request, the row after it.
    (trial,) = await kill_everywhere(["ingest"], tmp_path, [9, 10, 11, 12])
    assert trial.problems == []
    assert len(trial.lines) == 5
