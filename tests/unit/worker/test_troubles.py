"""What is said of projects that wait, and how often."""

from collections.abc import Sequence
from dataclasses import replace

from sluice.core.errors import ErrorRecord, ErrorType
from sluice.core.outcomes import Fate, Outcome
from tests.support.logs import captured_logs
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


def test_log_tells_of_a_wait_once_and_then_seldom_with_the_tries_since() -> None:
    clock = [0.0]
    announcer = Announcer(monotonic=lambda: clock[0])
    with captured_logs("worker.troubles") as lines:
        for second in range(1_300):  # as fast as Amplitude may ever be asked
            clock[0] = float(second)
            announcer.announce("acme", replace(REFUSED, failures=second + 1), Records())
    assert [line.get("left_out") for line in lines] == [None, 599, 599]
    assert {line["tenant"] for line in lines} == {"acme"}


def test_log_tells_of_a_new_reason_at_once_and_not_of_each_change_between_two() -> None:
    clock = [0.0]
    announcer = Announcer(monotonic=lambda: clock[0])
    away = replace(REFUSED, reason="unavailable")
    with captured_logs("worker.troubles") as lines:
        for second in range(60):
            clock[0] = float(second)
            announcer.announce("acme", REFUSED if second % 2 else away, Records())
        announcer.announce("other", REFUSED, Records())
        clock[0] = 60.0
        announcer.announce("acme", away, Records())
    assert [(line["tenant"], line["reason"], line.get("left_out")) for line in lines] == [
        ("acme", "unavailable", None),
        ("acme", "bad_credentials", None),
        ("other", "bad_credentials", None),
        ("acme", "unavailable", 29),
    ]
