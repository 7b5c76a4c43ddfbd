"""``sluice doctor``: one line for each dependency and setting, and what to do about it."""

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Final

import typer

from sluice.cli.checks import PROCESSES, check_all, check_variables
from sluice.cli.checks_traces import check_traces
from sluice.cli.findings import Finding
from sluice.cli.options import AsJson, DataDir, print_json
from sluice.core.errors import ConfigError
from sluice.logs import configure_logging
from sluice.settings import load_settings

FAILED: Final = 1

app = typer.Typer()


@app.command()
def doctor(
    *,
    process: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="PROCESS",
            help="Whose rights and surroundings to check, where each has its own account and"
            " machine: gateway or worker.",
            show_default="both",
        ),
    ] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Check every dependency and setting, and say what to fix. Changes nothing.

    Exit status: 0 all is well or only warnings, 1 something fails.

    Example: `sluice doctor --json`
    """
    if process and process not in PROCESSES:
        message = f"--for is {process!r}: use one of {', '.join(PROCESSES)}."
        raise ConfigError(message)
    try:
        settings = load_settings(data_dir=data_dir)
    except ConfigError as error:
        findings = [Finding("settings", "fail", str(error), "correct or unset this variable")]
    else:
        configure_logging(settings)
        processes = [process] if process else PROCESSES
        with _silence():
            findings = [
                check_variables(os.environ),
                *asyncio.run(check_all(settings, processes)),
                *check_traces(os.environ),
            ]
    if as_json:
        is_ok = all(finding.state != "fail" for finding in findings)
        print_json({"ok": is_ok, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(line_of(finding))
    if any(finding.state == "fail" for finding in findings):
        sys.exit(FAILED)


@contextmanager
def _silence() -> Iterator[None]:
    """Log nothing: what the parts would log is said by the findings."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def line_of(finding: Finding) -> str:
    """Return a finding as one line."""
    remedy = f" -> {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:4}  {finding.name}: {finding.detail}{remedy}"
