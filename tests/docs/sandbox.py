"""A Sluice of its own in which the commands of the pages are run as they stand there.

What a person has is made like theirs: a checkout as the current folder, ``.venv/bin/sluice`` in it,
``sluice-data`` below, a home beside it, ``sluice`` and ``curl`` in the path. Only what this machine
cannot promise is put in place of what the page says: free ports, the key that was printed, the id
of the last run.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.docs.pages import ROOT, Block
from tests.support.stack import Stack, environment, running_stack

SHELL: Final = ("/bin/bash", "-euo", "pipefail")
BLOCK_WITHIN_S: Final = 180
TRUE_WITHIN_S: Final = 30
AGAIN_AFTER_S: Final = 0.25
SETTINGS: Final = {"ERASE_SETTLE_S": "0.1", "ERASE_BACKLOG_WAIT_S": "1"}
"""Erasure waits for workers on other machines; here is one."""
LINKED: Final = ("tests", "k8s", "ops", "Makefile", "README.md")
"""What of the checkout the commands read."""
CURL: Final = """#!/bin/sh
case " $*" in *" -f"*) fail= ;; *) fail=--fail-with-body ;; esac
exec {curl} $fail --silent --show-error --max-time 30 "$@"
"""
"""A refusal of the server fails the line, which curl alone would not do."""
PROMISE: Final = re.compile(r"^# ?(.+)$", re.MULTILINE)
ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a block ended."""

    status: int
    output: str


@dataclass(slots=True)
class Sandbox:
    """Where blocks run."""

    folder: Path
    stack: Stack
    simulator: str
    """Address of the simulated Amplitude."""
    values: dict[str, str] = field(default_factory=dict)
    """What stands for what pages say: keys, digests, ids."""

    def run(self, block: Block, replace: Mapping[str, str]) -> Outcome:
        """Run a block in its page's shell; variables that it exports are known to the next."""
        exported = self.folder / f"{block.page.replace('/', '-')}.env"
        exported.touch()
        text = self._as_here(block.text, replace)
        script = f"source {exported}\n{text}\nexport -p > {exported}\n"
        done = subprocess.run(  # noqa: S603 - what our own pages say
            [*SHELL, "-c", script],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_WITHIN_S,
            check=False,
        )
        self._learn(done.stdout)
        return Outcome(done.returncode, done.stdout)

    def prepare(self, block: Block, before: str) -> None:
        """Do in the page's shell what a person has done before a block."""
        text = before.format(**self.values)
        done = self.run(Block(block.page, block.line, "sh", text), {})
        assert done.status == 0, (block.place, done.output)

    def _as_here(self, text: str, replace: Mapping[str, str]) -> str:
        ports = {
            "127.0.0.1:8080": f"127.0.0.1:{self.stack.port}",
            "127.0.0.1:8082": f"127.0.0.1:{self.stack.worker_port}",
            "127.0.0.1:8090": self.simulator.removeprefix("http://"),
        }
        for shown, here in {**ports, **replace}.items():
            text = text.replace(shown, here.format(**self.values))
        return text

    def _environment(self) -> dict[str, str]:
        ours = {name: one for name, one in self.stack.settings.items() if name != "DATA_DIR"}
        given = environment({**ours, "AMPLITUDE_URL": self.simulator})
        return given | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home_of(self.folder)),
            "COLUMNS": "200",
        }

    def _learn(self, output: str) -> None:
        """Keep what a person would copy from the screen for the next command."""
        if match := re.search(r"\b([0-9a-f]{12})  public", output):
            self.values["public_digest"] = match[1]
        if match := re.search(r"\bwf-\d{8}-\d+-\w+", output):
            self.values["run"] = match[0]


def home_of(checkout: Path) -> Path:
    """Return the home of who reads the pages, outside of the checkout."""
    return checkout.with_name("home")


def promised(block: Block) -> list[str]:
    """Return the texts that the comments at the start of lines promise as output, in order."""
    return [
        part.strip()
        for line in PROMISE.findall(block.text)
        for part in line.split(ELLIPSIS)
        if part.strip()
    ]


def kept(promises: list[str], output: str) -> bool:
    """Whether the output has all of them, in order."""
    at = 0
    for one in promises:
        found = output.find(one, at)
        if found < 0:
            return False
        at = found + len(one)
    return True


def run_until_true(
    sandbox: Sandbox, block: Block, replace: Mapping[str, str], *, eventually: bool
) -> Outcome:
    """Run a block; one that promises an output is asked again for a while, as by a person.

    Args:
        sandbox: Where.
        block: What.
        replace: What of its text is another here.
        eventually: Whether also a failure may pass.
    """
    deadline = time.monotonic() + TRUE_WITHIN_S
    while True:
        outcome = sandbox.run(block, replace)
        is_kept = kept(promised(block), outcome.output)
        if (outcome.status and not eventually) or (is_kept and not outcome.status):
            return outcome
        if time.monotonic() > deadline:
            words = f"it promises {promised(block)}, but says:\n{outcome.output}"
            return outcome if outcome.status else Outcome(-1, words)
        time.sleep(AGAIN_AFTER_S)


@contextmanager
def running_sandbox(folder: Path) -> Iterator[Sandbox]:
    """Run a Sluice with a simulated Amplitude until the block ends."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    home_of(folder).mkdir()
    _program(programs / "sluice", f'#!/bin/sh\nexec {sys.executable} -m sluice.cli "$@"\n')
    _program(programs / "curl", CURL.format(curl="/usr/bin/curl"))
    _program(programs / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(programs)
    with running_stack(folder / "sluice-data", SETTINGS, "--simulate-amplitude") as owned:
        stack = owned.stack
        address = re.search(r"Amplitude is simulated on (http://\S+);", stack.output)
        key = re.search(r"^  (sk_\S+)$", stack.output, re.MULTILINE)
        assert address is not None
        assert key is not None
        yield Sandbox(folder, stack, address[1], {"key": key[1]})


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
