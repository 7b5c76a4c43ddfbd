"""``sluice rewind``: has Pub/Sub deliver again what a lost warehouse held."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NoReturn

import typer

from sluice.cli.options import AsJson, DataDir, print_json
from sluice.core.errors import ConfigError, QueueUnavailableError
from sluice.core.times import parse_moment
from sluice.logs import configure_logging
from sluice.settings import load_settings

SUBSCRIPTIONS: Final = ("warehouse", "amplitude")
"""Those of the topic of events."""
LEEWAY: Final = timedelta(minutes=1)
"""What a person may be late with a moment that is only just kept."""

app = typer.Typer()


@app.command()
def rewind(
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to", help="Published from then on: ISO time, or 90m, 7d ago.", show_default=False
        ),
    ],
    subscription: Annotated[
        str, typer.Option("--subscription", help="warehouse; or amplitude, which sends again.")
    ] = "warehouse",
    is_short: Annotated[
        bool, typer.Option("--partly", help="Go back although Pub/Sub keeps less than asked.")
    ] = False,
    is_agreed: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Have Google Pub/Sub deliver stored events again, so that a lost ClickHouse is filled.

    Needs SLUICE_PUBSUB_KEEP_DAYS. What is stored already collapses with what comes again; no total
    changes. What was published before `--to` and not yet stored would be left out for good: go back
    to a moment before the oldest event that was waiting, an hour before a backup began, say. Stop
    the workers first.

    Exit status: 0 it will be delivered; 1 Pub/Sub keeps less, or cannot be asked; 2 wrong argument.

    Example: `sluice rewind --to 2026-03-01T09:00Z --yes`
    """
    settings = load_settings(data_dir=data_dir)
    configure_logging(settings)
    if subscription not in SUBSCRIPTIONS:
        message = f"--subscription is {subscription!r}: use one of {', '.join(SUBSCRIPTIONS)}."
        raise ConfigError(message)
    if settings.pubsub_project is None:
        message = (
            "The local queue forgets events once they are stored: only Google Pub/Sub"
            " (SLUICE_QUEUE_URL=pubsub://PROJECT) can go back; docs/recovery.md says what is kept."
        )
        raise ConfigError(message)
    now = datetime.now(UTC)
    moment = parse_moment(to, now=now, name="--to")
    if moment >= now:  # Pub/Sub takes it, and gives up all that waits
        message = (
            f"--to is {moment.isoformat(timespec='seconds')}: use a moment that is over; what was"
            " published before it and is not stored would be given up."
        )
        raise ConfigError(message)
    from sluice.queue.pubsub_rewind import kept_since  # here, because it is heavy
    from sluice.queue.pubsub_rewind import rewind as seek
    from sluice.queue.pubsub_wire import Names

    names = Names(settings.pubsub_project)
    since = asyncio.run(kept_since(names, now=now, endpoint=settings.pubsub_endpoint))
    is_whole = since is not None and moment >= since - LEEWAY
    if not is_whole and not is_short:
        _refuse(since)
    if not is_agreed:
        question = (
            f"Deliver everything since {moment.isoformat()} again to {subscription}, and give up"
            " what was published before and is not stored?"
        )
        typer.confirm(question, abort=True)
    asyncio.run(seek(names, subscription, moment, endpoint=settings.pubsub_endpoint))
    kept = since.isoformat(timespec="seconds") if since else None
    if as_json:
        said = {"subscription": subscription, "to": moment.isoformat(), "kept_since": kept}
        print_json({**said, "is_whole": is_whole})
        return
    print(f"{subscription}: everything published since {moment.isoformat()} is delivered again")
    print("What was published before and was not stored by then is given up.")
    if not is_whole:
        print("What Pub/Sub did not keep is not among it.")


def _refuse(since: datetime | None) -> NoReturn:
    if since is None:
        message = (
            "Pub/Sub keeps nothing that was acknowledged: set SLUICE_PUBSUB_KEEP_DAYS and run"
            " `sluice setup`, from when on it does. With --partly what is still kept comes again."
        )
    else:
        message = (
            f"Pub/Sub keeps what was acknowledged since {since.isoformat(timespec='seconds')} only:"
            " restore a backup that is younger, or go on with --partly."
        )
    raise QueueUnavailableError(message)
