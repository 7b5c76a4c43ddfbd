"""Names each failed test when it fails: the list of pytest comes only after the last test."""

from typing import Final

import pytest

MAX_WHY_CHARS: Final = 200


class FailureLines:
    """Prints a line for each failure, also where workers of pytest-xdist run the tests."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        """Take what prints the dots."""
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print which test failed, and the first line of why."""
        if report.failed:
            self._terminal.write_line("")  # ends the line of dots
            self._terminal.write_line(line_of(report), red=True)


def line_of(report: pytest.TestReport) -> str:
    """Return what failed and why, in one line that can be pasted after ``pytest``."""
    where = "" if report.when == "call" else f" ({report.when})"
    return f"FAILED {report.nodeid}{where}: {_why(report)[:MAX_WHY_CHARS]}"


def _why(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message).partition("\n")[0]
    # Where there is no stack, as of a fixture that is missing or a worker that died.
    lines = [line.strip() for line in report.longreprtext.splitlines() if line.strip()]
    marked = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    return next(iter([*marked, *reversed(lines)]), "it does not say why")
