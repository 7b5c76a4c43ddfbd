"""The pure modules of the console, by Node's own test runner; and what all files weigh."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.routes.console import MAX_PAGE_BYTES, console_files

MODULES = Path(__file__).parent / "modules"


def test_pure_modules_of_the_console_pass_their_own_tests() -> None:
    node = shutil.which("node")
    if node is None and os.environ.get("CI") != "true":
        pytest.skip("the console's modules are tested by Node: `apt install npm`")
    assert node is not None, "Node is missing"
    ran = subprocess.run(  # noqa: S603 - our own files
        [node, "--test", *map(str, sorted(MODULES.glob("*.test.mjs")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


def test_console_weighs_less_than_it_may() -> None:
    assert sum(map(len, console_files().values())) < MAX_PAGE_BYTES


def test_console_names_no_other_origin_and_makes_no_markup_of_text() -> None:
    """SVG's name of itself is the one address; nothing fetches it."""
    for name, content in console_files().items():
        text = content.decode()
        assert set(re.findall(r"https?://[^\"'\s]+", text)) <= {"http://www.w3.org/2000/svg"}, name
        forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function"
        stored = r"localStorage|sessionStorage|indexedDB|document\.cookie|\bcaches\b"
        assert re.findall(f"{forbidden}|{stored}", text) == [], name
        if name.endswith(".html"):
            assert re.findall(r"\sstyle=|\son\w+=|<script>|<style", text) == []
