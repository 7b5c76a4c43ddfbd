"""Follows one run until it ends: drawn on a terminal, a line for each change elsewhere."""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from sluice.cli.options import print_json
from sluice.cli.runs_api import NoAnswerError, RefusedError, Run, RunsApi
from sluice.cli.runs_view import ENDED, SUCCEEDED, drawn, ended_words, head_of, lines_of, steps_of

WatchOption = Annotated[
    bool, typer.Option("--watch", help="Show the steps as they go, until the run ends.")
]
NOT_SUCCEEDED: Final = 1
SOON_S: Final = 0.5
LATER_S: Final = 2.0
SOON_FOR_S: Final = 30.0
GIVE_UP_AFTER_S: Final = 120.0
"""Without an answer; the run does not need the one who watches."""


def pause_s(watched_s: float) -> float:
    """Return how long to wait before asking again: most runs are short, and the API has limits."""
    return SOON_S if watched_s < SOON_FOR_S else LATER_S


async def follow(api: RunsApi, run: Run, *, is_quiet: bool) -> Run:
    """Return the run once it has ended, having shown on stderr how it went.

    Raises:
        NoAnswerError, RefusedError: The gateway has been away for too long.
    """
    console = Console(stderr=True)
    if is_quiet or not console.is_terminal:
        return await _in_lines(api, run, is_quiet=is_quiet)
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

        def draw(now_run: Run) -> None:
            live.update(drawn(now_run, datetime.now(UTC)), refresh=True)

        return await _until_ended(api, run, draw)


async def _in_lines(api: RunsApi, run: Run, *, is_quiet: bool) -> Run:
    shown: Run = {}  # also the steps that are over already get their line
    if not is_quiet:
        _say(head_of(run, datetime.now(UTC)))

    def draw(now_run: Run) -> None:
        nonlocal shown
        now = datetime.now(UTC)
        for line in lines_of(steps_of(shown, now), steps_of(now_run, now), now):
            if not is_quiet:
                _say(line)
        shown = now_run

    return await _until_ended(api, run, draw)


async def _until_ended(api: RunsApi, run: Run, draw: Callable[[Run], None]) -> Run:
    loop = asyncio.get_running_loop()
    began = heard = loop.time()
    while True:
        try:
            run = await api.show(run["id"])
            heard = loop.time()
            draw(run)
            if run.get("state") in ENDED:
                return run
        except (NoAnswerError, RefusedError):
            if loop.time() - heard > GIVE_UP_AFTER_S:
                raise
        await asyncio.sleep(pause_s(loop.time() - began))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def watch_run(api: RunsApi, started: Run, *, as_json: bool) -> None:
    """Show a run until it ends, and end with a status that says how it ended."""
    try:
        ended = asyncio.run(_follow(api, started, is_quiet=as_json))
    except KeyboardInterrupt:
        words = f"{started['id']} --tenant {started.get('tenant')}"
        print(
            f"The run goes on. `sluice workflow show {words} --watch` shows it again;"
            f" `sluice workflow stop {words}` stops it.",
            file=sys.stderr,
        )
        raise
    if as_json:
        print_json(ended)
    else:
        for line in ended_words(ended, datetime.now(UTC)):
            print(line)
    exit_as(ended)


def exit_as(run: Run) -> None:
    """End with a status that says whether a run succeeded."""
    if run.get("state") != SUCCEEDED:
        raise typer.Exit(NOT_SUCCEEDED)


async def _follow(api: RunsApi, started: Run, *, is_quiet: bool) -> Run:
    async with api:
        return await follow(api, started, is_quiet=is_quiet)
