"""When a schedule fires: cron expressions of five fields, read in UTC.

Each function takes the text, as configurations hold it, and no clock: ``now`` is an argument. The
fields mean what they mean to Debian's cron; ``L``, ``LW`` and ``MON#1`` are known too.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from cronsim import CronSim, CronSimError

from sluice.core.errors import ConfigError

MAX_CHARS: Final = 200
FIELDS: Final = 5
"""Minute, hour, day of the month, month, day of the week: so it fires once a minute at most."""
MAX_GAP: Final = timedelta(days=5 * 366)
"""A schedule that has no time for longer is a mistake, such as 30 February."""
_NAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * SUN",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_AFTER_A_LEAP_DAY: Final = datetime(2024, 3, 1, tzinfo=UTC)
"""From here the next 29 February is as far as it gets, so what is accepted depends on no clock."""
ACCEPTED: Final = (
    "five fields (minute, hour, day of the month, month, day of the week) in UTC, such as"
    f" '15 3 * * *' or '0 6 * * MON-FRI', or {', '.join(_NAMES)}"
)


def check_cron(text: str, where: str) -> str:
    """Return the text of a schedule that can fire.

    Raises:
        ConfigError: It is no cron expression, has seconds, or never fires; says where and why.
    """
    shown = repr(text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…")
    if len(text) > MAX_CHARS or not text.isascii():
        raise ConfigError(f"{where} is {shown}: use {ACCEPTED}")
    fields = _fields(text)
    if len(fields.split()) != FIELDS:
        raise ConfigError(f"{where} is {shown}: use {ACCEPTED}")
    try:
        first = next(CronSim(fields, _AFTER_A_LEAP_DAY), None)
    except CronSimError as error:
        raise ConfigError(f"{where} is {shown} ({_lower(error)}): use {ACCEPTED}") from None
    if first is None or first - _AFTER_A_LEAP_DAY > MAX_GAP:
        raise ConfigError(f"{where} is {shown}, which names no day within five years")
    return text


def next_time(text: str, after: datetime) -> datetime:
    """Return the first time that comes after a moment, in UTC.

    Args:
        text: Of a schedule that was checked.
        after: An aware moment; a time that equals it is not after it.
    """
    return next(CronSim(_fields(text), after.astimezone(UTC)))


def missed_time(text: str, *, since: datetime, now: datetime) -> datetime | None:
    """Return the newest time after ``since`` up to and including ``now``; None if there is none.

    Whoever was away over several times gets one of them: a missed time runs once.
    """
    # Going back from the next whole second finds a time that is this very second.
    start = now.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    newest = next(CronSim(_fields(text), start, reverse=True))
    return newest if newest > since else None


def _fields(text: str) -> str:
    return _NAMES.get(text.strip().lower(), text)


def _lower(error: CronSimError) -> str:
    words = str(error)
    return words[:1].lower() + words[1:]
