"""Times in the filters and bodies of the runs API: ISO 8601, perhaps only its beginning.

A partial time means its first instant (reference, "Parameters"). Times are nanoseconds since 1970,
so that nothing is rounded before two are compared.
"""

import re
from datetime import datetime, timedelta
from typing import Final

NS_PER_MS: Final = 1_000_000
DAY_NS: Final = 86_400 * 10**9
ACCEPTED: Final = "ISO 8601 in UTC, such as 2024-02-10, 2024-02-10T08:30Z or 2024"

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - offsets are subtracted by hand
_FRACTION_DIGITS: Final = 9
# A plus sign that was not escaped in an address arrives as a blank.
_TIME: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?"
    r"(?:[Zz]|([+ -])(\d\d)(?::?(\d\d))?)?)?)?)?",
    re.ASCII,
).fullmatch


def parse_time(text: str) -> int | None:
    """Return the first instant that a time means, in nanoseconds since 1970; None: no time."""
    match = _TIME(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_h, zone_m = match.groups()
    try:
        moment = datetime(  # noqa: DTZ001 - the offset is subtracted below
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
        )
    except ValueError:
        return None
    found = (moment - _EPOCH) // timedelta(seconds=1) * 10**9
    found += int((fraction or "").ljust(_FRACTION_DIGITS, "0"))
    if sign:
        hours, minutes = int(zone_h), int(zone_m or 0)
        if hours > 23 or minutes > 59:
            return None
        offset = (hours * 60 + minutes) * 60 * 10**9
        found += offset if sign == "-" else -offset
    return found


def next_milli(nanos: int) -> int:
    """Return the first whole millisecond that is not before a time: runs have no finer times."""
    return -(-nanos // NS_PER_MS)


def text_of(millis: int) -> str:
    """Return milliseconds since 1970 as runs have times.

    Raises:
        OverflowError: No year of four digits has it.
    """
    moment = _EPOCH + timedelta(milliseconds=millis)
    return moment.isoformat(timespec="milliseconds")


def millis_of(text: str) -> int:
    """Return the milliseconds since 1970 of a time as runs have it."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
