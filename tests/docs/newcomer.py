"""``make newcomer``: the README's first lines in a fresh clone, as they are written, with a clock.

It clones what is committed, runs ``make run``, takes the key from the screen, and runs the blocks
up to the first event that is counted. Packages come from the caches and the index of the machine.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.docs.pages import ROOT, Block, Page
from tests.docs.sandbox import SHELL, kept, promised

WITHIN_S: Final = 120
"""From the clone to the first event counted, with warm caches of packages."""
GIVEN_UP_AFTER_S: Final = 900
LOOK_EVERY_S: Final = 0.1
PORT: Final = 8080


class StumbleError(Exception):
    """The path does not lead there."""


def main() -> int:
    """Follow the path and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.newcomer", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="in place of 8080, where it is used")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        try:
            took_s = follow(Path(folder) / "sluice", options.port)
        except StumbleError as error:
            write(f"stumbled: {error}")
            return 1
    write(f"from the clone to the first event counted: {took_s:.1f} s (at most {WITHIN_S} s)")
    return 1 if took_s > WITHIN_S else 0


def follow(clone: Path, port: int) -> float:
    """Walk the path and return how many seconds it took.

    Raises:
        StumbleError: A block did not do what the README says.
    """
    began = time.monotonic()
    words = ["git", "clone", "--quiet", str(ROOT), str(clone)]
    subprocess.run(words, check=True)  # noqa: S603 - words of our own
    blocks = {block.first_line.split()[0]: block for block in shell_blocks(clone)}
    say(began, "cloned")
    with making(blocks["make"], clone, port) as output:
        wait_for("ready", output)
        say(began, "ready")
        key = re.search(r"^  (sk_\S+)$", output.read_text(), re.MULTILINE)
        if key is None:
            message = f"no key is shown:\n{output.read_text()}"
            raise StumbleError(message)
        texts = {"sk_live_…": key[1], f"127.0.0.1:{PORT}": f"127.0.0.1:{port}"}
        ask(blocks["export"], clone, texts)
        say(began, "first event answered 202")
        ask(blocks["curl"], clone, texts)
        return time.monotonic() - began


def shell_blocks(clone: Path) -> list[Block]:
    """Return the README's first blocks of shell: start, send, read."""
    page = Page(ROOT / "README.md", Page.read(clone / "README.md").tokens)
    return [block for block in page.blocks if block.language == "sh"][:3]


@contextmanager
def making(block: Block, clone: Path, port: int) -> Iterator[Path]:
    """Run ``make run`` while the block runs; yield the file with its output."""
    text = block.text if port == PORT else f"make run ARGS='--port {port}'"
    output = clone.with_name("output.txt")
    with output.open("wb") as screen:
        process = subprocess.Popen(  # noqa: S603 - what the README says
            [*SHELL, "-c", text],
            cwd=clone,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield output
    finally:
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
        process.wait(timeout=30)


def wait_for(line: str, output: Path) -> None:
    """Return when the line is on the screen."""
    deadline = time.monotonic() + GIVEN_UP_AFTER_S
    while line not in output.read_text().splitlines():
        if time.monotonic() > deadline or "Error" in output.read_text():
            message = f"`make run` does not get ready:\n{output.read_text()[-3000:]}"
            raise StumbleError(message)
        time.sleep(LOOK_EVERY_S)


def ask(block: Block, clone: Path, texts: dict[str, str]) -> None:
    """Run a block until it says what the README promises."""
    script = block.text
    for shown, here in texts.items():
        script = script.replace(shown, here)
    deadline = time.monotonic() + 10
    while True:
        done = subprocess.run(  # noqa: S603 - what the README says
            [*SHELL, "-c", script],
            cwd=clone,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if kept(promised(block), done.stdout):
            return
        if time.monotonic() > deadline:
            message = f"{block.place} says:\n{done.stdout}{done.stderr}"
            raise StumbleError(message)
        time.sleep(LOOK_EVERY_S)


def environment() -> dict[str, str]:
    """Return the environment of somebody who has never heard of us."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SLUICE_") and name not in {"PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS"}
    }


def say(began: float, what: str) -> None:
    """Print a moment of the path."""
    write(f"{time.monotonic() - began:6.1f} s  {what}")


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
