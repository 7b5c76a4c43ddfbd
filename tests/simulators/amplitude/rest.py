"""What the dashboard's APIs have in common: Basic credentials, dates, and how much may be asked.

A project may have 5 requests on their way over segmentation and cohorts together, and spend a cost
of 1,000 in 5 minutes and of 108,000 in an hour.
"""

import base64
import binascii
from collections import deque
from datetime import UTC, date, datetime
from typing import Final

from tests.simulators.amplitude.answers import Answer, json_answer, refused

MAX_AT_ONCE: Final = 5
COST_LIMITS: Final = ((300, 1_000), (3_600, 108_000))
"""Seconds, and the cost that they allow."""
DAY_S: Final = 86_400
DENIED_TYPE: Final = "unspecified"


class Costs:
    """What one project's queries cost of late."""

    def __init__(self) -> None:
        """Start with nothing spent."""
        self._spent: deque[tuple[float, int]] = deque()

    def spend(self, cost: int, now: float) -> Answer | None:
        """Note the cost of a query; the answer that refuses it when it is beyond a limit."""
        while self._spent and self._spent[0][0] <= now - COST_LIMITS[-1][0]:
            self._spent.popleft()
        for seconds, allowed in COST_LIMITS:
            spent = sum(one for at, one in self._spent if at > now - seconds)
            if spent + cost > allowed:
                return refused(
                    429,
                    f"Exceeded query cost limit: {cost} on top of {spent} is more than {allowed}"
                    f" in {seconds // 60} minutes",
                )
        self._spent.append((now, cost))
        return None


TOO_MANY_AT_ONCE: Final = refused(
    429, f"Exceeded concurrency limit: at most {MAX_AT_ONCE} requests at once"
)


def credentials(header: str | None) -> tuple[str, str] | None:
    """Return key and secret of a Basic header."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        api_key, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (api_key, secret) if colon else None


def denied(status: int) -> Answer:
    """Return the answer to bad credentials (401; 403 was seen, too)."""
    details = "Invalid API key and secret key"
    error = {"http_code": status, "type": DENIED_TYPE, "metadata": {"details": details}}
    return json_answer(status, {"error": error})


def failed(status: int, message: str) -> Answer:
    """Return an error as the cohort APIs word it."""
    error = {"http_code": status, "type": "invalid_request", "message": message, "metadata": {}}
    return json_answer(status, {"error": error})


def day_of(now: float) -> date:
    """Return the day in the project's time zone, which is UTC."""
    return datetime.fromtimestamp(now, UTC).date()


def start_of(day: date) -> float:
    """Return when a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def read_day(text: str | None, form: str) -> date | None:
    """Return the day that a query names."""
    try:
        return datetime.strptime(text or "", form).replace(tzinfo=UTC).date()
    except ValueError:
        return None
