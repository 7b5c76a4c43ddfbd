"""``sluice replay``: sends stored events or dead letters to a destination again."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sluice.cli.bars import ended
from sluice.cli.options import AsJson, DataDir, print_json
from sluice.core.amplitude import SIMULATED_KEY
from sluice.core.errors import ConfigError
from sluice.core.event import format_ts
from sluice.core.outcomes import Fate
from sluice.core.tokens import parse_ttl
from sluice.lifecycle import first_cause
from sluice.logs import configure_logging
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from worker.amplitude_client import AmplitudeClient
from worker.core.replays import Asked, Plan, Reached, plan_lines, window_of
from worker.replay import Parts, Replay
from worker.replay_files import ReplayFiles

DESTINATIONS: Final = ("amplitude",)
INCOMPLETE: Final = 1
OUTCOMES: Final = (*(fate.value for fate in Fate), "")
GO_ON: Final = "The same command goes on where it was."
BAR_EVERY_S: Final = 0.2
LINE_EVERY_S: Final = 5.0

app = typer.Typer()


@dataclass(slots=True)
class _Told:
    """What is to be said at the end."""

    reached: Reached
    plan: Plan
    replay: Replay
    is_sent: bool = False
    seconds: float = 0.0
    settled_before: int = 0

    @property
    def rate(self) -> int:
        """Events a second in this process."""
        settled = _settled(self.reached) - self.settled_before
        return int(settled / self.seconds) if self.seconds else 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left that was to be sent."""
        is_clean = not self.replay.problem and not self.reached.refused
        return is_clean or not self.is_sent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """How to go about it."""

    is_dry: bool
    rate: float
    give_up_after_s: float
    is_agreed: bool
    as_json: bool


@app.command()
def replay(
    *,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose events.", show_default=False)],
    destination: Annotated[
        str, typer.Option("--destination", help="Where to; only amplitude can be replayed to.")
    ] = "amplitude",
    since: Annotated[
        str,
        typer.Option(
            "--since", help="Received from then on: ISO time, or 90m, 7d ago.", show_default=False
        ),
    ],
    until: Annotated[str, typer.Option("--until", help="Received before then.")] = "now",
    event_types: Annotated[
        list[str] | None,
        typer.Option("--event-type", help="Only this type; again for more.", show_default=False),
    ] = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Only events that it refused, instead of all.")
    ] = False,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Count, say what would be sent, and send nothing.")
    ] = False,
    rate: Annotated[
        int, typer.Option("--rate", min=1, max=1_000_000, help="Events a second at most.")
    ] = 1_000,
    give_up_after: Annotated[
        str, typer.Option("--give-up-after", help="Stop when nothing got through for so long.")
    ] = "10m",
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where this replay was broken off.")
    ] = False,
    is_agreed: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Send stored events to a destination again, each as it would be sent today.

    It counts first, says what it will do and asks. It reads ClickHouse and changes no total.
    Events that Amplitude had within 7 days are known there by their insert_id and counted once.
    Broken off, the same command goes on where it was. With `--dead-letters`, those that are taken
    now leave the table; the others stay with the new reason.

    Exit status: 0 all delivered or filtered; 1 some refused or waiting, or it was stopped; 2 wrong
    argument.

    Example: `sluice replay --tenant shop --since 2026-03-01T10:00Z --until 2026-03-01T11:00Z`

    Example: `sluice replay --tenant shop --since 7d --dead-letters --dry-run`
    """
    settings = load_settings(data_dir=data_dir)
    configure_logging(settings)
    options = _Options(
        is_dry=is_dry,
        rate=rate,
        give_up_after_s=parse_ttl(give_up_after, name="--give-up-after"),
        is_agreed=is_agreed,
        as_json=as_json,
    )
    asked = Asked(
        tenant=tenant,
        destination=destination,
        since=since,
        until=until,
        event_types=tuple(sorted(set(event_types or ()))),
        dead_letters=dead_letters,
    )
    tenants = _checked(asked, settings, is_dry=is_dry)
    files = ReplayFiles(settings.replays_path, asked)
    now = datetime.now(UTC)
    window = window_of(since, until, now=now)  # also of a replay that goes on: it says what is bad
    reached = None if restart else files.load()
    is_resumed = reached is not None
    if reached is None:
        start, end = window.texts
        started_at = format_ts(now)
        reached = Reached(
            asked=asked, since=start, until=end, started_at=started_at, after_at=start
        )
        if restart and not is_dry:
            files.restart()
    try:
        told = uvloop.run(
            _replay(settings, tenants, files, reached, options, is_resumed=is_resumed)
        )
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say(f"Stopped. {GO_ON}")
        raise typer.Exit(INCOMPLETE) from None
    _print_result(told, as_json=as_json)
    if not told.is_whole:
        raise typer.Exit(INCOMPLETE)


def _checked(asked: Asked, settings: Settings, *, is_dry: bool) -> TenantsFile:
    if asked.destination not in DESTINATIONS:
        message = f"--destination is {asked.destination!r}: use {', '.join(DESTINATIONS)}."
        raise ConfigError(message)
    tenants = TenantsFile(settings.tenants_path)
    found = tenants.directory.by_slug.get(asked.tenant)
    if found is None:
        message = f"--tenant is {asked.tenant!r}: there is no such tenant in {tenants.path}."
        raise ConfigError(message)
    if found.amplitude is None:
        message = (
            f"--tenant is {asked.tenant!r}, which forwards nothing to Amplitude:"
            f" `sluice tenant set {asked.tenant} amplitude.api_key=…` first."
        )
        raise ConfigError(message)
    if found.amplitude.api_key == SIMULATED_KEY and not (settings.amplitude_url or is_dry):
        message = (
            f"--tenant is {asked.tenant!r}, whose key is the simulator's: set SLUICE_AMPLITUDE_URL"
            " to the simulator's address, which `sluice run --simulate-amplitude` prints."
        )
        raise ConfigError(message)
    return tenants


async def _replay(
    settings: Settings,
    tenants: TenantsFile,
    files: ReplayFiles,
    reached: Reached,
    options: _Options,
    *,
    is_resumed: bool,
) -> _Told:
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 - a coroutine runs in a task
    # SIGTERM ends it as Ctrl-C does, also where a shell made it deaf to that.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    async with (
        Warehouse(settings, makes_database=False) as warehouse,
        AmplitudeClient(settings.amplitude_url) as client,
    ):
        parts = Parts(
            settings=settings, tenants=tenants, warehouse=warehouse, client=client, files=files
        )
        replaying = Replay(
            parts, reached, rate=options.rate, give_up_after_s=options.give_up_after_s
        )
        plan = await replaying.plan()
        told = _Told(reached, plan, replaying, settled_before=_settled(reached))
        if not options.as_json:
            for line in plan_lines(plan, reached, is_resumed=is_resumed):
                print(line, flush=True)
        is_empty = not plan.matching and not is_resumed
        if options.is_dry or is_empty:
            return told
        await asyncio.to_thread(_agree, plan, options)
        started = time.monotonic()
        async with _shown(told, is_quiet=options.as_json):
            await replaying.run(plan)
        told.is_sent = True
        told.seconds = time.monotonic() - started
        return told


def _agree(plan: Plan, options: _Options) -> None:
    """Ask whether to send.

    Raises:
        ConfigError: There is nobody to ask.
    """
    if options.is_agreed:
        return
    if not sys.stdin.isatty() or options.as_json:
        message = "nobody can be asked here: say --yes to send, or --dry-run to count."
        raise ConfigError(message)
    text = f"Send {plan.matching:,} events at up to {options.rate:,.0f} a second?"
    typer.confirm(text, abort=True)


def _settled(reached: Reached) -> int:
    return reached.delivered + reached.filtered + reached.refused


@asynccontextmanager
async def _shown(told: _Told, *, is_quiet: bool) -> AsyncIterator[None]:
    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        if not is_quiet:
            tasks.create_task(_show(told, done), name="progress")
        try:
            yield
        finally:
            done.set()


async def _show(told: _Told, done: asyncio.Event) -> None:
    console = Console(stderr=True)
    total = told.plan.matching
    if told.reached.asked.dead_letters:  # those that were delivered before are not there any more
        total += told.reached.read
    if not console.is_terminal:
        while not await ended(done, LINE_EVERY_S):
            waits = f", {told.replay.waiting:,} wait" if told.replay.waiting else ""
            why = f" ({told.replay.waits_for})" if told.replay.waits_for else ""
            _say(f"{told.replay.delivered:,} of {total:,} delivered{waits}{why}")
        return
    with _progress(console) as progress:
        task = progress.add_task("replaying", total=total, delivered="0", waits="")
        while not await ended(done, BAR_EVERY_S):
            progress.update(
                task,
                completed=told.replay.settled,
                delivered=f"{told.replay.delivered:,}",
                waits=f"waiting: {told.replay.waits_for}" if told.replay.waits_for else "",
            )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[delivered]} delivered"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[waits]}"),
        console=console,
        transient=True,
    )


def _print_result(told: _Told, *, as_json: bool) -> None:
    reached, plan, replaying = told.reached, told.plan, told.replay
    if as_json:
        print_json(
            {
                "tenant": reached.asked.tenant,
                "destination": reached.asked.destination,
                "since": f"{reached.since}Z",
                "until": f"{reached.until}Z",
                "event_types": list(reached.asked.event_types),
                "dead_letters": reached.asked.dead_letters,
                "matching": plan.matching,
                "before": {name or "never_forwarded": plan.of(name) for name in OUTCOMES},
                "sent": told.is_sent,
                "read": reached.read,
                "delivered": reached.delivered,
                "filtered": reached.filtered,
                "refused": reached.refused,
                "refused_because": replaying.refused.as_json(),
                "waiting": replaying.waiting,
                "seconds": round(told.seconds, 3),
                "events_per_s": told.rate,
                "problem": replaying.problem or None,
            }
        )
        return
    if not told.is_sent:
        print("Nothing was sent.")
        return
    print(
        f"delivered {reached.delivered:,}, filtered {reached.filtered:,}, refused"
        f" {reached.refused:,}, waiting {replaying.waiting:,}; {told.rate:,} events/s,"
        f" {told.seconds:.1f} s"
    )
    for line in replaying.refused.lines():
        print(line)
    if replaying.problem:
        _say(f"Not everything was sent: {replaying.problem}.")
        _say(GO_ON)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
