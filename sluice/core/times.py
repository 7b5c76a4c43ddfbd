"""Times as clients write them, read into the one form that travels (reference, 5.3).

The canonical text is ``YYYY-MM-DDTHH:MM:SS[.f]`` in UTC with up to 9 digits of fraction and no zone
letter. Fractions never become floats: digits are kept or cut, not rounded.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sluice.core.errors import ConfigError, ErrorType

MAX_FRACTION_DIGITS: Final = 9
FIRST: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by definition of the canonical text
END: Final = datetime(2262, 1, 1)  # noqa: DTZ001 - as FIRST
"""The columns hold nanoseconds in 64 bits: times from 1970 up to, not including, 2262."""

_SECONDS_DIGITS: Final = 10
_EPOCH_DIGITS: Final = frozenset({10, 13, 16, 19})
"""Seconds, milliseconds, microseconds, nanoseconds; none of them can be taken for another."""

# What nearly all clients send. In UTC, on days that every month has, it needs no arithmetic.
_COMMON: Final = re.compile(
    r"(?:19[7-9]\d|20\d\d|21\d\d|22[0-5]\d|226[01])-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
).fullmatch
_COMMON_LINES: Final = re.compile(
    r"(?:.{10}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z\n)*+", re.ASCII
).fullmatch
"""Times in UTC, one a line, whose days are looked at apart."""
_AS_ZEROS: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_SHAPES: Final = frozenset(
    {b"0000-00-00T00:00:00Z\n"}
    | {b"0000-00-00T00:00:00.%sZ\n" % (b"0" * digits) for digits in range(1, 10)}
)
"""A time in UTC and its line feed, with every digit made a zero."""
_HOUR_AT: Final = len("YYYY-MM-DDT")
_MINUTE_AT: Final = len("YYYY-MM-DDTHH:")
_SECOND_AT: Final = len("YYYY-MM-DDTHH:MM:")
_LAST_HOUR: Final = tuple(b"23")
_WHOLE_SECONDS: Final = len("YYYY-MM-DDTHH:MM:SS")
_UTC: Final = "+00:00"
_ISO: Final = re.compile(
    r"(\d{4})(-?)(\d\d)\2(\d\d)"
    r"(?:[Tt ](\d\d)(:?)(\d\d)(?:\6(\d\d)(?:[.,](\d+))?)?"
    r"(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
).fullmatch
_AGO: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII).fullmatch
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_EPOCH: Final = re.compile(r"(-?)(\d+)(?:\.(\d+))?", re.ASCII).fullmatch


def parse_occurred_at(value: object) -> str | ErrorType | None:
    """Return the canonical text of a decoded JSON value; None stands for the receive time.

    Booleans and floats are refused: a float has lost the digits that decide its unit, so a caller
    that meets a JSON number with a point hands its text to ``parse_epoch``.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if _COMMON(value):
            if value[-1] == "Z" and value[8:10] < "29":
                return value[:-1]
            return _parse_common(value)
        return _parse_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**19:
        return parse_epoch(str(value))
    return ErrorType.OCCURRED_AT_INVALID


def parse_all_occurred_at(values: Sequence[object]) -> Sequence[str | ErrorType | None]:
    """Return what ``parse_occurred_at`` returns for each value.

    Where all are written as nearly all clients do, the work is done on the whole at once.
    """
    try:
        lines = "\n".join(values) + "\n"  # type: ignore[arg-type]  # what is no text raises
    except TypeError:
        return list(map(parse_occurred_at, values))
    if _are_common(lines, len(values)) and all(map(_is_day, _days(lines, values))):
        return lines[:-2].split("Z\n")
    return list(map(parse_occurred_at, values))


def _are_common(lines: str, count: int) -> bool:
    """Whether so many times are written as nearly all clients do, whatever their days."""
    text = lines.encode() if lines.isascii() else b""
    width = text.find(b"\n") + 1
    shape = text.translate(_AS_ZEROS)
    if shape[:width] not in _SHAPES or shape != shape[:width] * count:
        return lines.count("\n") == count and _COMMON_LINES(lines) is not None
    # All are of one length: what stands at one place of each of them is one slice.
    if (text[_MINUTE_AT::width] + text[_SECOND_AT::width]).strip(b"012345"):
        return False
    tens = text[_HOUR_AT::width]
    hours = zip(tens, text[_HOUR_AT + 1 :: width], strict=True)
    return not tens.strip(b"01") or max(hours) <= _LAST_HOUR


def _days(lines: str, values: Sequence[Any]) -> set[str]:
    first = lines[:10]
    if lines.count(f"\n{first}") == len(values) - 1:
        return {first}
    return {value[:10] for value in values}


@lru_cache(maxsize=4096)
def _is_day(text: str) -> bool:
    return _COMMON(f"{text}T00:00:00Z") is not None and not isinstance(
        parse_occurred_at(f"{text}T00:00:00Z"), ErrorType
    )


def parse_epoch(text: str) -> str | ErrorType:
    """Return the canonical text of an epoch number; the count of its digits decides the unit."""
    match = _EPOCH(text)
    if match is None:
        return ErrorType.OCCURRED_AT_INVALID
    sign, digits, fraction = match.groups()
    if len(digits) not in _EPOCH_DIGITS:
        return ErrorType.OCCURRED_AT_INVALID
    if sign:
        return ErrorType.OCCURRED_AT_OUT_OF_RANGE
    seconds, subsecond = digits[:_SECONDS_DIGITS], digits[_SECONDS_DIGITS:]
    return _canonical(FIRST + timedelta(seconds=int(seconds)), subsecond + (fraction or ""))


def _parse_common(text: str) -> str | ErrorType:
    zone = "Z" if text[-1] == "Z" else text[-len(_UTC) :]
    local = text[: -len(zone)]
    if zone == _UTC and text[8:10] < "29":
        return local
    try:
        moment = datetime.fromisoformat(local[:_WHOLE_SECONDS])
    except ValueError:
        return ErrorType.OCCURRED_AT_INVALID
    if zone != "Z":
        moment -= _offset(zone[0], zone[1:3], zone[4:6])
    if not FIRST <= moment < END:
        return ErrorType.OCCURRED_AT_OUT_OF_RANGE
    return moment.isoformat() + local[_WHOLE_SECONDS:]


def _parse_text(text: str) -> str | ErrorType:
    match = _ISO(text)
    if match is None:
        return parse_epoch(text) if text[0] != "-" else ErrorType.OCCURRED_AT_INVALID
    year, _, month, day, hour, _, minute, second, fraction, sign, zone_h, zone_m = match.groups()
    try:
        moment = datetime(  # noqa: DTZ001 - the zone is subtracted below
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)
        )
    except ValueError:
        return ErrorType.OCCURRED_AT_INVALID
    if sign:
        if int(zone_h) > 23 or int(zone_m or 0) > 59:
            return ErrorType.OCCURRED_AT_INVALID
        try:
            moment -= _offset(sign, zone_h, zone_m)
        except OverflowError:
            return ErrorType.OCCURRED_AT_OUT_OF_RANGE
    return _canonical(moment, fraction or "")


@lru_cache(maxsize=256)
def _offset(sign: str, hours: str, minutes: str | None) -> timedelta:
    size = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return size if sign == "+" else -size


def _canonical(moment: datetime, fraction: str) -> str | ErrorType:
    if not FIRST <= moment < END:
        return ErrorType.OCCURRED_AT_OUT_OF_RANGE
    if not fraction:
        return moment.isoformat()
    return f"{moment.isoformat()}.{fraction[:MAX_FRACTION_DIGITS]}"


def parse_moment(text: str, *, now: datetime, name: str) -> datetime:
    """Return the moment that a person names: ``now``, ``90m`` or ``7d`` ago, or an ISO time.

    Args:
        text: As given; a time without a zone is UTC.
        now: The present time, aware.
        name: The option's, for the error.

    Raises:
        ConfigError: It is none of these.
    """
    given = text.strip()
    ago = _AGO(given)
    try:
        if given == "now":
            return now
        if ago is not None:
            return max(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}), FIRST.replace(tzinfo=UTC))
    except OverflowError:
        return FIRST.replace(tzinfo=UTC)
    found = _parse_text(given) if "-" in given[1:] else ErrorType.OCCURRED_AT_INVALID
    if isinstance(found, ErrorType):
        message = f"{name} is {text!r}: use 2026-03-01T10:00Z, a date, 90m, 7d or now."
        raise ConfigError(message)
    return datetime.fromisoformat(found[: _WHOLE_SECONDS + 7]).replace(tzinfo=UTC)
