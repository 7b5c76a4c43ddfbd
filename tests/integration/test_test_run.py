"""What a run of the tests owes to its owner: nothing is left behind, failures are named at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support.leftovers import VARIABLE, end_marked
from tests.support.poll import poll_until

ROOT: Final = Path(__file__).parents[2]
BEGINS_WITHIN_S: Final = 60
SERVER: Final = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN: Final = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SERVER}"
HANGING: Final = f"""
import os, signal, subprocess, sys
from pathlib import Path

def test_that_hangs():
    server = subprocess.Popen([sys.executable, "-c", {SERVER!r}], start_new_session=True)
    Path(__file__).with_name("pids").write_text(f"{{server.pid}} {{os.getpid()}}\\n")
    signal.pause()
"""
FAILING: Final = """
import signal
from pathlib import Path

def test_1_that_fails():
    assert 1 == 2, "one is not two"

def test_2_whose_fixture_is_missing(nowhere):
    pass

def test_3_that_hangs():
    signal.pause()
"""


@contextmanager
def running_pytest(folder: Path, program: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run pytest with our plug-in over one file, as make does: in a group of processes."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(program)
    words = [*("-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:randomly"), *options]
    with (folder / "out").open("wb") as out:
        run = subprocess.Popen(  # noqa: S603 - pytest
            [sys.executable, "-m", "pytest", "-q", *words, "test_it.py"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield run
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for has no words any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("is_group", [True, False], ids=["SIGTERM to all", "SIGKILL to pytest"])
async def test_nothing_is_left_of_a_test_run_that_was_ended(
    tmp_path: Path, *, is_group: bool
) -> None:
    with running_pytest(tmp_path, HANGING, "-n", "1") as run:
        pids = tmp_path / "pids"
        await poll_until(
            lambda: pids.exists() and pids.read_text().endswith("\n"),
            what="the test has started its server",
            within_s=BEGINS_WITHIN_S,
        )
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(map(is_running, started))
        if is_group:
            os.killpg(run.pid, signal.SIGTERM)
        else:
            run.kill()
        await poll_until(
            lambda: not any(map(is_running, started)),
            what="server and worker have ended",
            within_s=BEGINS_WITHIN_S,
        )


def test_one_that_does_not_stop_is_killed() -> None:
    mark = os.urandom(8).hex()
    words = [sys.executable, "-c", STUBBORN]
    environment = os.environ | {VARIABLE: mark}
    with subprocess.Popen(  # noqa: S603 - our own lines
        words, env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert end_marked(f"{mark}x") == [], "another run's are left alone"
        assert process.poll() is None
        [ended] = end_marked(mark, asked_s=0.1)
        assert STUBBORN in ended
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "with xdist"])
async def test_failures_are_named_before_the_last_test_has_ended(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    lines = (
        "FAILED test_it.py::test_1_that_fails: AssertionError: one is not two",
        "FAILED test_it.py::test_2_whose_fixture_is_missing (setup): fixture 'nowhere' not found",
    )
    with running_pytest(tmp_path, FAILING, *options):
        await poll_until(
            lambda: set(lines) <= set((tmp_path / "out").read_text().splitlines()),
            what="both are named",
            within_s=BEGINS_WITHIN_S,
        )
