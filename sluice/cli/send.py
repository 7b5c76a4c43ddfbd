"""``sluice send``: posts a file of events and says what became of each line."""

import asyncio
import io
import math
import os
import signal
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

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
from sluice.cli.options import AsJson, print_json
from sluice.cli.sender import Sender, SendOptions, Source, Tally
from sluice.core.errors import ConfigError
from sluice.core.event import MAX_BATCH_EVENTS
from sluice.core.tokens import parse_ttl
from sluice.lifecycle import first_cause

SHOWN_SKIPS: Final = 5
BAR_EVERY_S: Final = 0.2
LINE_EVERY_S: Final = 5.0
INCOMPLETE: Final = 1
STOPPED: Final = "stopped"

app = typer.Typer()


@app.command()
def send(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="One JSON object a line, plain or gzip; - for standard input.",
            show_default=False,
        ),
    ],
    *,
    url: Annotated[
        str, typer.Option("--url", envvar="SLUICE_URL", help="Address of the gateway.")
    ] = "http://127.0.0.1:8080",
    api_key: Annotated[
        str,
        typer.Option(
            "--api-key", envvar="SLUICE_API_KEY", help="Secret key (sk_…).", show_default=False
        ),
    ],
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=MAX_BATCH_EVENTS, help="Events a request.")
    ] = MAX_BATCH_EVENTS,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=64, help="Requests at a time.")
    ] = 2,
    give_up_after: Annotated[
        str,
        typer.Option("--give-up-after", help="Stop when nothing was accepted for so long."),
    ] = "5m",
    as_json: AsJson = False,
) -> None:
    """Send a file of events in batches. Sending it again counts nothing twice.

    Each line gets an `event_id` made from its content (`<hash>:<n>` for the n-th line of that very
    text in the file), unless it has one, so a repeat, also of a longer file, is queued again but
    counted once for 7 days. After a lost connection, 408, 425, 429 or any 5xx but 501 and 505 it
    tries again by itself, for as long as `--give-up-after` says; any other refusal of the whole
    ends it at once.

    Exit status: 0 every line queued; 1 some were skipped, it gave up, or Ctrl-C or SIGTERM stopped
    it (send again to go on); 2 wrong file, address or key.

    Example: `sluice send events.ndjson.gz --url http://127.0.0.1:8080 --api-key sk_live_…`

    Example: `tail -n +1 events.ndjson | sluice send - --json`
    """
    options = SendOptions(
        url=_base_url(url),
        api_key=_key(api_key),
        batch_size=batch_size,
        concurrency=concurrency,
        give_up_after_s=parse_ttl(give_up_after, name="--give-up-after"),
        is_compressed=not _is_loopback(url),
    )
    opened = _opened(file)
    total = os.fstat(opened.fileno()).st_size if file != "-" else 0
    sender = Sender(options, Source(opened), _say)
    started = time.monotonic()
    try:
        uvloop.run(_send_and_show(sender, total, is_quiet=as_json))
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    except KeyboardInterrupt:
        sender.tally.problem = STOPPED
    seconds = time.monotonic() - started
    _print_result(sender.tally, seconds, as_json=as_json)
    if sender.tally.skipped or sender.tally.problem:
        raise typer.Exit(INCOMPLETE)


async def _send_and_show(sender: Sender, total: int, *, is_quiet: bool) -> None:
    done = asyncio.Event()
    # SIGTERM ends it as Ctrl-C does: the runner of the loop knows how.
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, signal.raise_signal, signal.SIGINT
    )
    async with asyncio.TaskGroup() as tasks:
        if not is_quiet:
            tasks.create_task(_show(sender.tally, total, done))
        try:
            await sender.run()
        finally:
            done.set()


async def _show(tally: Tally, total: int, done: asyncio.Event) -> None:
    console = Console(stderr=True)
    started = time.monotonic()
    if not console.is_terminal:
        while not await ended(done, LINE_EVERY_S):
            share = f"{100 * tally.settled_bytes // total} % " if total else ""
            rate = _rate(tally, time.monotonic() - started)
            line = f"{share}queued {tally.queued:,} skipped {tally.skipped:,} at {rate:,}/s"
            _say(line)
        return
    with _progress(console) as progress:
        task = progress.add_task("sending", total=total or None, rate="0", queued="0")
        while not await ended(done, BAR_EVERY_S):
            rate = _rate(tally, time.monotonic() - started)
            progress.update(
                task, completed=tally.settled_bytes, queued=f"{tally.queued:,}", rate=f"{rate:,}"
            )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[queued]} events"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _print_result(tally: Tally, seconds: float, *, as_json: bool) -> None:
    rate = _rate(tally, seconds)
    if as_json:
        print_json(
            {
                "queued": tally.queued,
                "skipped": tally.skipped,
                "retries": tally.retries,
                "seconds": round(seconds, 3),
                "events_per_s": rate,
                "problem": tally.problem or None,
                "errors": [
                    {"line": skip.line, "error_type": skip.error_type, "detail": skip.detail}
                    for skip in tally.skips
                ],
            }
        )
        return
    if tally.problem == STOPPED:
        _say(f"stopped; {tally.queued:,} queued; send again to go on")
        return
    if not (tally.queued or tally.skipped or tally.problem):
        print("queued 0: the file has no lines")
        return
    print(f"queued {tally.queued:,}, skipped {tally.skipped:,}, {rate:,} events/s, {seconds:.1f} s")
    for skip in tally.skips[:SHOWN_SKIPS]:
        print(f"  line {skip.line}: {skip.error_type}: {skip.detail}")
    if tally.skipped > SHOWN_SKIPS:
        print(f"  … and {tally.skipped - min(SHOWN_SKIPS, len(tally.skips)):,} more")
    if tally.problem:
        print(f"Not everything was sent: {tally.problem}.", file=sys.stderr)
        print("Send it again to go on; what was queued is counted once.", file=sys.stderr)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _rate(tally: Tally, seconds: float) -> int:
    return math.floor((tally.queued + tally.skipped) / seconds) if seconds > 0 else 0


def _opened(file: str) -> io.FileIO:
    try:
        if file == "-":
            return io.FileIO(sys.stdin.fileno(), closefd=False)
        return Path(file).open("rb", buffering=0)
    except OSError as error:
        message = f"FILE is {file!r}: {error.strerror}."
        raise ConfigError(message) from None


def _key(api_key: str) -> str:
    if not api_key.strip():
        message = "--api-key (or SLUICE_API_KEY) is empty: give the whole key, sk_…"
        raise ConfigError(message)
    if not api_key.isascii() or not api_key.isprintable():
        message = "--api-key is not visible ASCII text: copy the whole key, sk_…"
        raise ConfigError(message)
    return api_key.strip()


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, or a port above 65535
        is_usable = False
    if not is_usable:
        message = f"--url is {url!r}: use http(s)://host:port, with a port from 1 to 65535."
        raise ConfigError(message)
    return url.rstrip("/").removesuffix("/batch").removesuffix("/api/ingestion/track")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
