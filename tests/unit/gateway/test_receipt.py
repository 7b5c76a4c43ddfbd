"""A receipt, from rows that were found."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.receipt import (
    MAX_LISTED_DUPLICATES,
    MAX_NAME_CHARS,
    Receipt,
    forwarded_to,
    possible_ids,
    receipt_of,
)
from sluice.core.amplitude import AmplitudeConfig
from sluice.core.event import derive_event_id
from sluice.core.outcomes import Fate, Outcome
from sluice.core.receipts import AcceptedCopy, DeadEvent, Findings, StoredEvent
from sluice.core.tenant import Tenant

ID = "019a0000-0000-7000-8000-000000000001"
NAMED = derive_event_id("acme", "order-123")
FIRST = "2026-04-25T13:30:00.000001"
AGAIN = "2026-04-25T13:31:00.000001"
STORED = StoredEvent(
    ID, "order_placed", "u-1", "track", "2026-04-25T13:29:59.123456789", FIRST, FIRST[:22] + "5"
)
CLICKHOUSE = (
    "the warehouse refused the statement: Received ClickHouse exception, code: 27, server response:"
    " Code: 27. DB::Exception: Cannot parse input: expected '\"' before: 'secret (NOT_THIS)':"
    " (while reading the value of key occurred_at): (at row 1)\n: While executing"
    " JSONEachRowRowInputFormat. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.9.2.1)"
    " (for url http://127.0.0.1:41937)"
)


def outcome(fate: Fate, reason: str = "", detail: str = "", event_id: str = ID) -> Outcome:
    at = "2026-04-25T13:30:02.500000"
    return Outcome("acme", event_id, "amplitude", fate, reason, detail, at, FIRST)


def receipt(findings: Findings, *, forwards: bool = False, event_id: str = ID) -> Receipt:
    found = receipt_of(findings, [event_id], forwards_to=("amplitude",) if forwards else ())
    assert found is not None
    return found


def steps(found: Receipt) -> list[str]:
    return [step.step for step in found.trace]


def test_event_is_stored_only_when_its_tenant_forwards_nothing() -> None:
    found = receipt(Findings(stored=(STORED,)))
    assert (found.state, found.duplicates) == ("stored", 0)
    assert found.summary == "Stored; forwarded nowhere."
    assert steps(found) == ["received", "queued", "stored"]
    assert found.trace[1].at is None
    assert found.destinations["amplitude"].outcome == "off"
    assert found.destinations["warehouse"].at == "2026-04-25T13:30:00.005Z"
    assert (found.event_type, found.user_id, found.source) == ("order_placed", "u-1", "track")
    assert found.occurred_at == "2026-04-25T13:29:59.123456789Z"


def test_events_go_to_amplitude_when_the_tenant_has_it() -> None:
    assert forwarded_to(Tenant(slug="acme")) == ()
    config = AmplitudeConfig(api_key="k")
    assert forwarded_to(Tenant(slug="acme", amplitude=config)) == ("amplitude",)


def test_event_is_pending_when_its_destination_has_not_spoken() -> None:
    found = receipt(Findings(stored=(STORED,)), forwards=True)
    assert (found.state, found.destinations["amplitude"].outcome) == ("pending", "pending")
    assert found.summary == "Stored; Amplitude has not spoken yet."


@pytest.mark.parametrize(
    ("fate", "reason", "summary"),
    [
        (Fate.DELIVERED, "", "Stored; Amplitude has it."),
        (Fate.PARKED, "throttled_user", "Stored; waits for Amplitude (throttled_user)."),
        (Fate.DEAD, "invalid_event", "Stored; refused by Amplitude (invalid_event)."),
        (Fate.FILTERED, "not_sampled", "Stored; not meant for Amplitude (not_sampled)."),
    ],
)
@pytest.mark.parametrize("forwards", [True, False])
def test_state_is_what_the_destination_said_last(
    fate: Fate, reason: str, summary: str, *, forwards: bool
) -> None:
    said = outcome(fate, reason, "its own words")
    found = receipt(Findings(stored=(STORED,), outcomes=(said,)), forwards=forwards)
    assert (found.state, found.summary) == (fate, summary)
    assert steps(found) == ["received", "queued", "stored", fate]
    last = found.trace[-1]
    assert (last.destination, last.at) == ("amplitude", "2026-04-25T13:30:02.500000Z")
    assert last.detail.endswith("its own words")
    assert reason in last.detail


def test_trace_is_in_order_of_time() -> None:
    early = Outcome(
        "acme", ID, "amplitude", Fate.DELIVERED, "", "", "2026-04-25T13:30:00.000002", FIRST
    )
    found = receipt(Findings(stored=(STORED,), outcomes=(early,)))
    assert steps(found) == ["received", "queued", "delivered", "stored"]


def test_event_has_a_receipt_when_only_its_outcome_is_known() -> None:
    found = receipt(Findings(outcomes=(outcome(Fate.DELIVERED),)))
    assert (found.state, found.received_at) == ("pending", f"{FIRST}Z")
    assert (found.event_type, found.user_id, found.source, found.occurred_at) == (None,) * 4
    assert found.summary == "Accepted, not in the warehouse; Amplitude has it."
    assert steps(found) == ["received", "queued", "delivered"]


def test_event_has_a_receipt_when_it_is_noted_and_not_yet_stored() -> None:
    found = receipt(Findings(copies=(AcceptedCopy(ID, "order_placed", FIRST),)))
    assert (found.state, found.event_type) == ("pending", "order_placed")
    assert found.destinations["warehouse"].detail is not None


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        (
            CLICKHOUSE,
            "ClickHouse refused it with CANNOT_PARSE_INPUT_ASSERTION_FAILED at occurred_at.",
        ),
        ("received_at is not a time", "received_at is not a time."),
    ],
)
def test_event_is_dead_without_quoting_clickhouse(reason: str, detail: str) -> None:
    dead = DeadEvent(ID, "order_placed", "u-1", "track", "yesterday", "now", reason, AGAIN)
    found = receipt(Findings(dead=(dead,)), forwards=True)
    assert (found.state, found.received_at, found.occurred_at) == ("dead", None, None)
    there = found.destinations["warehouse"]
    assert there.detail == f"{detail} Row and whole reason are in dead_letters."
    assert steps(found) == ["received", "queued", "dead"]
    text = msgspec.json.encode(found)
    assert b"secret" not in text
    assert b"127.0.0.1" not in text


def test_copies_are_duplicates_of_the_first_within_the_window() -> None:
    stored = copy_of(STORED, NAMED, FIRST)
    later = [AGAIN, "2026-05-02T13:31:00.000001"]
    copies = tuple(AcceptedCopy(NAMED, "order_placed", at) for at in [FIRST, *later])
    found = receipt(Findings(copies=copies, stored=(stored,)), event_id=NAMED)
    assert found.duplicates == 2
    assert found.received_at == f"{FIRST}Z"
    assert [step.at for step in found.trace if step.step == "duplicate"] == [
        f"{at}Z" for at in later
    ]


def test_receipt_is_of_the_latest_event_when_an_id_came_again_after_the_window() -> None:
    late = "2026-05-02T13:30:00.000002"
    stored = tuple(copy_of(STORED, NAMED, at) for at in (FIRST, late))
    found = receipt(Findings(stored=stored), event_id=NAMED)
    assert (found.received_at, found.duplicates) == (f"{late}Z", 0)


def test_many_duplicates_are_counted_and_the_first_listed() -> None:
    copies = tuple(
        AcceptedCopy(NAMED, "a", f"2026-04-25T13:30:00.{number:06d}") for number in range(1_000)
    )
    found = receipt(Findings(copies=copies), event_id=NAMED)
    listed = [step for step in found.trace if step.step == "duplicate"]
    assert (found.duplicates, len(listed)) == (999, MAX_LISTED_DUPLICATES)
    assert f"{999 - MAX_LISTED_DUPLICATES} more" in listed[-1].detail


def test_likeliest_id_wins_when_a_name_may_mean_several() -> None:
    ids = possible_ids("acme", [ID, f"shopify:{ID}"])
    assert ids == [ID, derive_event_id("acme", ID), derive_event_id("acme", f"shopify:{ID}")]
    both = Findings(
        stored=(STORED, copy_of(STORED, ids[1], FIRST)), outcomes=(outcome(Fate.DELIVERED),)
    )
    for order in (ids, ids[1:]):
        found = receipt_of(both, order, forwards_to=())
        assert found is not None
        assert found.event_id == order[0]
    assert receipt_of(both, ids[2:], forwards_to=()) is None


def test_name_of_a_session_is_its_users_own() -> None:
    own = possible_ids("acme", ["order-123"], user_id="u-1")
    assert own == [derive_event_id("acme", "order-123", "u-1"), NAMED]


@pytest.mark.parametrize("name", ["", "a\x00b", "\ud800", "x" * (MAX_NAME_CHARS + 1), "a\nb"])
def test_what_no_client_can_have_named_stands_for_nothing(name: str) -> None:
    assert possible_ids("acme", [name, f"shopify:{name}"]) == []


def test_uuid_is_found_however_it_is_written() -> None:
    for text in (ID.upper(), f"{{{ID}}}", ID.replace("-", "")):
        assert possible_ids("acme", [text])[0] == ID


@given(
    st.lists(st.sampled_from(list(Fate)), max_size=3),
    st.lists(st.datetimes().map(lambda at: at.isoformat(timespec="microseconds")), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_every_finding_has_a_receipt_that_is_in_order(
    fates: list[Fate], times: list[str], is_stored: bool, forwards: bool
) -> None:
    findings = Findings(
        copies=tuple(AcceptedCopy(ID, "a", at) for at in times),
        stored=(STORED,) if is_stored else (),
        outcomes=tuple(outcome(fate) for fate in fates),
    )
    if findings == Findings():
        assert receipt_of(findings, [ID], forwards_to=()) is None
        return
    found = receipt(findings, forwards=forwards)
    later = [step.at.removesuffix("Z") for step in found.trace[2:] if step.at]
    assert later == sorted(later)
    assert found.trace[0].at == found.received_at


def copy_of(row: StoredEvent, event_id: str, received_at: str) -> StoredEvent:
    return StoredEvent(
        event_id,
        row.event_type,
        row.user_id,
        row.source,
        row.occurred_at,
        received_at,
        row.stored_at,
    )
