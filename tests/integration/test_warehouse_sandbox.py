"""The lock that the kernel keeps around the warehouse's process (Linux only)."""

import subprocess
import sys
from pathlib import Path

import pytest

TRY = """
import sys
from pathlib import Path
from sluice.warehouse.server.sandbox import confine

folder, outside = map(Path, sys.argv[1:])
print(confine(folder))
(folder / "mine").write_text("x")
print((folder / "mine").read_text())
for use in (outside.read_text, lambda: outside.write_text("y"), outside.unlink):
    try:
        use()
    except PermissionError:
        print("refused")
import json.tool  # what the interpreter loads later is still there
print(json.tool.__name__)
"""


def test_confined_process_uses_its_folder_and_no_other_file(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    outside.write_text("secret")
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", TRY, str(folder), str(outside)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    is_confined, *said = ran.stdout.split()
    if is_confined == "False":
        pytest.skip("this system has no Landlock: the warehouse warns of that when it starts")
    assert said == ["x", "refused", "refused", "refused", "json.tool"]
    assert outside.read_text() == "secret"
