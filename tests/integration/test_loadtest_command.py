"""The command ``sluice-loadtest``: what it says of what it cannot do."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.cli import main

ROOT = Path(__file__).parents[2]
LIST = (
    "import sys; sys.path.insert(0, {!r}); from loadtest.cli import main; sys.exit(main(['list']))"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file or directory"),
        ("<!doctype html>", "malformed"),
        ("{}", "missing required field"),
    ],
    ids=["no-file", "page", "other-json"],
)
def test_compare_names_the_file_and_what_to_take_when_it_is_no_result(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was not there was once only ``[Errno 2]``."""
    path = tmp_path / "track"
    if text is not None:
        path.write_text(text)
    assert main(["compare", str(path), str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sluice-loadtest: {path} is no result: ")
    assert said in error
    assert "--out FOLDER" in error
    assert "Errno" not in error
    assert error.count("\n") == 1


def test_run_says_that_nobody_is_there_when_a_server_does_not_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as taken:  # bound, but nothing listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["run", "track", "--against", url, "--api-key", "k"]) == 2
    assert capsys.readouterr().err == (
        f"sluice-loadtest: nothing answers at {url} (Connection refused):"
        " is Sluice running there?\n"
    )


@pytest.mark.parametrize("seconds", ["0", "99999"])
def test_run_is_refused_before_its_first_round_when_its_time_is_past_a_bound(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "track", "--seconds", seconds]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sluice-loadtest: ")
    assert "round" not in error


def test_command_says_what_installs_its_packages_when_they_are_not_there(tmp_path: Path) -> None:
    """In an environment of ``make run`` alone it once ended with a traceback."""
    (tmp_path / "loadtest").symlink_to(ROOT / "loadtest")
    said = subprocess.run(  # noqa: S603 - this Python without any installed package
        [sys.executable, "-I", "-S", "-c", LIST.format(str(tmp_path))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 2
    assert said.stderr == (
        "sluice-loadtest: the package hdrh is not installed:"
        " `make loadtest` in a checkout installs it\n"
    )
