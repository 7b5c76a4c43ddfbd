"""How long to wait before a poll and before a retry: pure, so the same state waits the same."""

from hashlib import sha256
from typing import Final

FIRST_POLL_S: Final = 2.0
MAX_POLL_S: Final = 30.0
POLL_FACTOR: Final = 1.5
POLL_JITTER: Final = 0.1
FIRST_RETRY_S: Final = 1.0
MAX_OWN_RETRIES: Final = 5
MAX_WAIT_S: Final = 7_200.0


def poll_wait_s(name: str, visits: int, asked_s: float | None, said_s: float | None) -> float:
    """Return the seconds before a step is visited again (rule K4).

    Args:
        name: Names the run and the step, so that runs do not wait in step.
        visits: Of the step so far.
        asked_s: ``Retry-After`` of the answer.
        said_s: ``x-sluice-poll-seconds`` of the document.
    """
    if asked_s is not None:
        return min(asked_s, MAX_WAIT_S)
    if said_s is not None:
        return min(said_s, MAX_WAIT_S)
    # Above 7 doublings and a half the bound is reached; the power is not computed beyond.
    grown = FIRST_POLL_S * POLL_FACTOR ** min(max(visits - 1, 0), 16)
    jitter = int.from_bytes(sha256(f"{name}#{visits}".encode()).digest()[:4]) / 2**32
    return min(grown, MAX_POLL_S) * (1 - POLL_JITTER + 2 * POLL_JITTER * jitter)


def own_retry_wait_s(retries: int, asked_s: float | None) -> float:
    """Return the seconds before the executor's own retry (rule K17): 1 s, doubled each time."""
    return asked_s if asked_s is not None else FIRST_RETRY_S * float(1 << min(retries, 10))
