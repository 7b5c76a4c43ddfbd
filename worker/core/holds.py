"""How long a user or a whole project is left alone, by what Amplitude said. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from sluice.core.retry import backoff_s
from worker.core.amplitude_answers import Held

MAX_RETRY_AFTER_S: Final = 3600.0
"""A longer time is not waited for, whoever asks for it."""
EVERYBODY: Final = ""
"""In place of a user: the hold concerns the tenant's whole project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """How long to wait after what, in seconds (reference, "What to do with each answer")."""

    throttled_s: float = 30.0
    """A user that sent too fast."""
    quota_s: float = 3600.0
    """A user over the day's quota: Amplitude moves its window hourly."""
    key_s: float = 60.0
    """An API key that is refused: one request in this time."""
    project_s: float = 30.0
    """A project that is throttled and was given no time."""
    outage_s: tuple[float, float] = (1.0, 60.0)
    """First and longest wait while Amplitude does not answer; it doubles."""

    @property
    def longest_s(self) -> float:
        """What no hold is longer than, whatever Amplitude says and however they are spread."""
        asked_s = max(self.throttled_s, self.quota_s, self.key_s, self.project_s, self.outage_s[1])
        return 1.1 * max(asked_s, MAX_RETRY_AFTER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Who waits, why, and until when."""

    reason: str
    """``bad_credentials``, ``project_throttled``, ``unavailable``, ``slow``; of a user
    ``throttled_user``, ``daily_quota``."""
    detail: str
    since: float
    """Unix seconds at which it began; it stays when the same hold is made longer."""
    until: float
    """Unix seconds before which nothing is sent."""
    failures: int = 1
    """In a row; 0 while its backlog is being sent."""
    has_rows: bool = True
    """Whether events were parked under it; an outage of everything leaves them in the queue."""

    @property
    def is_outage(self) -> bool:
        """Whether Amplitude itself seems away, for everybody."""
        return self.reason == "unavailable" and self.failures > 0


def is_due(hold: Hold, *, now: float, pauses: Pauses) -> bool:
    """Whether a hold has ended.

    One that ends later than any can was made before the clock was set back: waiting for it would
    leave its events for as long as the clock had been wrong.
    """
    return not now < hold.until <= now + pauses.longest_s


def project_hold(
    held: Held, before: Hold | None, *, now: float, pauses: Pauses, jitter: float
) -> Hold:
    """Return how long a project waits; ``jitter`` is a random number from [0, 1)."""
    failures = before.failures + 1 if before and before.reason == held.reason else 1
    since = before.since if before and before.reason == held.reason else now
    match held.reason:
        case "bad_credentials":
            wait_s = pauses.key_s
        case "project_throttled":
            asked_s = held.wait_s if held.wait_s is not None else pauses.project_s
            # "Retry-After: 0" again and again would have it asked without a pause.
            least_s = backoff_s(
                failures, base_s=pauses.outage_s[0], cap_s=pauses.project_s, jitter=jitter
            )
            wait_s = max(asked_s, least_s)
        case "slow":
            wait_s = 0.0  # it takes what it is given
        case _:
            base_s, cap_s = pauses.outage_s
            wait_s = backoff_s(failures, base_s=base_s, cap_s=cap_s, jitter=jitter)
    return Hold(
        reason=held.reason, detail=held.detail, since=since, until=now + wait_s, failures=failures
    )


def user_hold(
    reason: str, detail: str, before: Hold | None, *, now: float, pauses: Pauses, jitter: float
) -> Hold:
    """Return how long a user waits; the jitter spreads them over the last tenth."""
    wait_s = pauses.quota_s if reason == "daily_quota" else pauses.throttled_s
    return Hold(
        reason=reason,
        detail=detail,
        since=before.since if before else now,
        until=now + wait_s * (1.0 + jitter / 10),
        failures=before.failures + 1 if before else 1,
    )


def paced(before: Hold, sent: int, *, eps: int, now: float) -> Hold:
    """Return the hold of a user whose backlog is sent at the rate that Amplitude takes."""
    return replace(before, until=now + sent / max(1, eps), failures=0)


def catching_up(now: float) -> Hold:
    """Return the hold of a user whose hold ended while events were on their way to the lot.

    These are due at once.
    """
    return Hold(
        reason="catching_up",
        detail="It is sent behind this user's earlier events.",
        since=now,
        until=now,
        failures=0,
    )
