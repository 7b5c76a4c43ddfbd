"""Whose forwarding waits and why, for the people who look."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from sluice.core.errors import ErrorRecord, ErrorType
from sluice.core.event import format_ts
from sluice.logs import get_logger
from worker.core.holds import EVERYBODY, Hold
from worker.core.repeats import Repeats
from worker.delivery import Waiting
from worker.ledger import Notes
from worker.lot import Lot

MAX_SENTENCES: Final = 20
PROBLEM: Final = "forwarding waits for the worker's own files; its log says for which"
"""What tenants are told while the worker cannot begin; the cause names its paths."""
MAX_TOLD: Final = 10_000
"""Tenants; of one more, the one told longest ago is told again, with the same record."""
NEW_EVERY_S: Final = 60.0
"""A project that waits, goes on and waits again for the same reason has a line at most so often."""
SAME_EVERY_S: Final = 600.0
"""One that waits on."""
STALE_S: Final = 120.0
"""So long after its end a hold without events says nothing: nobody tried again since."""

log: Final = get_logger(__name__)


def sentences(lot: Lot) -> Sequence[str]:
    """Return one sentence for each tenant whose project or users wait; the first few of them."""
    found: list[str] = []
    for tenant in lot.holds:
        sentence = _sentence(lot, tenant)
        if sentence:
            found.append(f"{tenant}: {sentence}")
        if len(found) == MAX_SENTENCES:
            break
    return found


def waiting_of(lot: Lot, tenant: str, *, is_stuck: bool) -> Waiting:
    """Return what a tenant is told: its own sentence without its name, and how much is parked."""
    sentence = PROBLEM if is_stuck else _sentence(lot, tenant)
    return Waiting(parked_events=lot.count(tenant), troubles=(sentence,) if sentence else ())


def _sentence(lot: Lot, tenant: str) -> str:
    """Return why a tenant's project or users wait; empty where nothing of it does."""
    now = time.time()
    holds = lot.holds.get(tenant, {})
    parked = _parked(lot.count(tenant))
    project = holds.get(EVERYBODY)
    users = len(holds) - (project is not None)
    if project is not None and (project.has_rows or project.until > now - STALE_S):
        since = datetime.fromtimestamp(project.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{project.reason} since {since} ({project.detail}); {parked}"
    if users:
        who = "1 user waits" if users == 1 else f"{users} users wait"
        return f"{who} ({_reasons(holds)}); {parked}"
    return ""


def _parked(count: int) -> str:
    return "1 event is parked" if count == 1 else f"{count} events are parked"


def _reasons(holds: Mapping[str, Hold]) -> str:
    """Return why users wait, the most frequent reason first."""
    counts = Counter(hold.reason for user, hold in holds.items() if user != EVERYBODY)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


class Announcer:
    """Says that projects wait: to the log, and to tenants where it is theirs to mend."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lines = Repeats()
        self._told: dict[str, float] = {}
        """Of each tenant, since when the refusal lasts that it was told of last."""

    def announce(self, tenant: str, project: Hold, ledger: Notes) -> None:
        """Say that a project has to wait (once more); its tenant hears of it once.

        The record's id is a function of tenant and ``since``, which is in the lot: a worker that
        starts anew writes the same record again, in case the one before it could not.
        """
        self._log(tenant, project)
        if project.reason == "bad_credentials" and self._told.get(tenant) != project.since:
            ledger.add_record(_credentials_record(tenant, project))
            self._told.pop(tenant, None)
            self._told[tenant] = project.since
            if len(self._told) > MAX_TOLD:
                del self._told[next(iter(self._told))]

    def _log(self, tenant: str, project: Hold) -> None:
        """Write a line for a new reason at once, then few, with the tries left out since."""
        every_s = NEW_EVERY_S if project.failures == 1 else SAME_EVERY_S
        key = f"{tenant}\x00{project.reason}"
        left_out = self._lines.due(key, now=self._monotonic(), every_s=every_s)
        if left_out is None:
            return
        fields: dict[str, object] = {"left_out": left_out} if left_out else {}
        log.warning(
            "Forwarding waits",
            tenant=tenant,
            reason=project.reason,
            detail=project.detail,
            **fields,
        )


def _credentials_record(tenant: str, hold: Hold) -> ErrorRecord:
    """Return the error record that tells a tenant that its API key is refused."""
    at = format_ts(datetime.fromtimestamp(hold.since, UTC))
    return ErrorRecord(
        tenant=tenant,
        error_id=str(uuid5(NAMESPACE_OID, f"amplitude\x00{tenant}\x00{at}")),
        ts=at,
        source="amplitude",
        error_type=ErrorType.DESTINATION_CREDENTIALS,
        detail=f"{hold.detail}. Events wait until the key is mended; none is dropped.",
    )
