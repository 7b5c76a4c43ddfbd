"""What is said of projects that wait, and how often."""

from collections.abc import Sequence
from dataclasses import replace

from sluice.core.errors import ErrorRecord, ErrorType
from sluice.core.outcomes import Fate, Outcome
from worker.core.holds import Hold
from worker.core.lane import Item
from worker.troubles import Announcer

REFUSED = Hold(reason="bad_credentials", detail="Invalid API key", since=900.0, until=960.0)


class Records:
    """Error records as they were noted."""

    def __init__(self) -> None:
        self.noted: list[ErrorRecord] = []

    def add(self, fate: Fate, items: Sequence[Item], reason: str = "", detail: str = "") -> None:
        raise AssertionError

    def add_dead(self, item: Item, reason: str, detail: str) -> None:
        raise AssertionError

    def add_outcome(self, outcome: Outcome) -> None:
        raise AssertionError

    def add_record(self, record: ErrorRecord) -> None:
        self.noted.append(record)

    async def flush(self) -> None:
        raise AssertionError


def test_tenant_is_told_once_of_a_key_that_is_refused_on() -> None:
    records, announcer = Records(), Announcer()
    for failures in range(1, 5):
        announcer.announce("acme", replace(REFUSED, failures=failures), records)
    [record] = records.noted
    assert (record.tenant, record.error_type) == ("acme", ErrorType.DESTINATION_CREDENTIALS)
    announcer.announce("acme", replace(REFUSED, since=5_000.0), records)
    assert len(records.noted) == 2


def test_worker_that_starts_anew_tells_the_tenant_by_the_same_record() -> None:
    records = Records()
    Announcer().announce("acme", REFUSED, records)
    Announcer().announce("acme", replace(REFUSED, failures=7), records)
    first, again = records.noted
    assert first == again


def test_tenant_is_not_told_of_what_it_cannot_mend() -> None:
    records = Records()
    Announcer().announce("acme", replace(REFUSED, reason="unavailable"), records)
    assert records.noted == []
