"""What we wrote is true: limits equal the code, generated tables are fresh."""

import re
import subprocess
import sys
from pathlib import Path

from gateway.core import limits
from gateway.routes.session import MAX_ASK_BYTES
from sluice.core import event
from sluice.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def test_readme_names_the_limits_of_the_code() -> None:
    readme = (ROOT / "README.md").read_text()
    assert f"{event.MAX_EVENT_BYTES:,} bytes" in readme
    assert f"| events in a batch | {event.MAX_BATCH_EVENTS} |" in readme
    assert (
        f"{event.MAX_USER_ID_CHARS}, {event.MAX_EVENT_TYPE_CHARS}, {event.MAX_EVENT_ID_CHARS}"
        in readme
    )
    assert f"| {event.MAX_PAYLOAD_DEPTH} levels |" in readme
    assert f"| {limits.MAX_BUCKETS:,} |" in readme
    assert f"| {MAX_ASK_BYTES:,} bytes |" in readme


def test_readme_has_a_row_for_every_setting() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = [name for name in SETTINGS if f"`SLUICE_{name.upper()}`" not in readme]
    assert missing == []


def test_generated_pages_are_fresh() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "sluice.cli.docs", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_makefile_has_every_target_that_the_readme_names() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", readme, re.MULTILINE))
    assert {"run", "test", "kill-test", "help"} <= named
    assert [target for target in named if f"\n{target}:" not in makefile] == []


def test_architecture_names_every_table_and_view() -> None:
    """But `runs`, in which earlier versions kept privacy requests."""
    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    made: set[str] = set()
    for migration in (ROOT / "sluice" / "warehouse" / "migrations").glob("*.sql"):
        made |= set(
            re.findall(r"CREATE (?:TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)", migration.read_text())
        )
    assert "events" in made
    assert [name for name in sorted(made - {"runs"}) if f"`{name}`" not in architecture] == []
