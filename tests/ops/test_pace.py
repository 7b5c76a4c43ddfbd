"""Drills scale every duration of the rules, and nothing else."""

import re
from pathlib import Path

from tests.drills.rules import scaled
from tests.ops.files import RULES
from tests.support.promtool import promtool


def test_durations_and_thresholds_are_divided_and_shares_are_not() -> None:
    text = "for: 2m\nexpr: rate(x[5m:10s] offset 1h) > 2 * 60 and y > 6 * 0.1 or z < 2 * 86400"
    assert scaled(text, 60) == (
        "for: 2000ms\nexpr: rate(x[5000ms:166ms] offset 60000ms) > 2 * 1"
        " and y > 6 * 0.1 or z < 2 * 1440"
    )


def test_no_duration_of_the_shipped_rules_is_left_as_it_is(tmp_path: Path) -> None:
    text = scaled(RULES.read_text(), 60)
    assert not re.search(r"(?:\[|:|for: |interval: |offset )\d+[smhd]\b", text)
    (tmp_path / "rules.yaml").write_text(text)
    promtool("check", "rules", str(tmp_path / "rules.yaml"))
