"""The cost meter: sums add up, more is never cheaper, and a million events never get dearer."""

from dataclasses import asdict, replace
from math import isclose
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.cost import prices
from sluice.cost.bill import DESTINATIONS, PARTS, ClickHouse, Compute, Load, bill_of, needs_of
from sluice.cost.figures import MEANING, MEASURED
from sluice.cost.prices import PRICES
from sluice.queue.protocol import TOPICS

LOADS = st.builds(
    Load,
    events_per_day=st.floats(1, 1e12),
    payload_bytes=st.floats(0, 200_000),
    batch_size=st.floats(1, 500),
    compute=st.sampled_from(get_args(Compute)),
    clickhouse=st.sampled_from(get_args(ClickHouse)),
    retention_days=st.floats(1, 3_650),
    keep_days=st.floats(0, 31),
    utilisation=st.floats(0.05, 1),
)
ROUNDING = 1 + 1e-9


@given(LOADS)
def test_parts_and_lines_add_up_to_the_month(load: Load) -> None:
    bill = bill_of(load)
    assert isclose(sum(bill.usd_of(part) for part in PARTS), bill.usd_per_month)
    assert all(item.usd >= 0 and item.part in PARTS for item in bill.items)
    assert all(isclose(item.usd, item.quantity * PRICES[item.price].usd) for item in bill.items)
    assert isclose(bill.usd_per_million * bill.events_per_month / 1e6, bill.usd_per_month)


@given(LOADS, st.floats(1, 100))
def test_more_events_cost_more_a_month_and_no_more_a_million(load: Load, times: float) -> None:
    more = bill_of(replace(load, events_per_day=min(load.events_per_day * times, 1e13)))
    bill = bill_of(load)
    assert more.usd_per_month * ROUNDING >= bill.usd_per_month
    assert more.usd_per_million <= bill.usd_per_million * ROUNDING


@given(LOADS, st.floats(0, 60_000))
def test_larger_payloads_are_never_cheaper(load: Load, more_bytes: float) -> None:
    larger = bill_of(replace(load, payload_bytes=load.payload_bytes + more_bytes))
    assert larger.usd_per_month * ROUNDING >= bill_of(load).usd_per_month


@given(LOADS)
def test_longer_retention_and_emptier_processors_are_never_cheaper(load: Load) -> None:
    bill = bill_of(replace(load, retention_days=30, utilisation=0.5, keep_days=0))
    for other in ({"retention_days": 60.0}, {"utilisation": 0.25}, {"keep_days": 7.0}):
        dearer = bill_of(replace(bill.load, **other))  # type: ignore[arg-type] # names of floats
        assert dearer.usd_per_month * ROUNDING >= bill.usd_per_month


@given(LOADS)
def test_pubsub_bills_no_message_below_its_least(load: Load) -> None:
    needs = needs_of(load)
    assert needs.billed_bytes * needs.events_per_message >= 1_000 / ROUNDING
    assert needs.billed_bytes >= needs.message_bytes / ROUNDING
    assert needs.events_per_message >= 1


def test_lone_event_costs_what_a_message_of_its_own_costs() -> None:
    needs = needs_of(Load(events_per_day=24, payload_bytes=400))
    assert needs.events_per_message == pytest.approx(1, abs=1e-5)
    assert needs.billed_bytes == pytest.approx(1_000, rel=1e-5)


def test_bill_of_a_billion_batched_events_by_hand() -> None:
    """Pub/Sub: its bytes, published once and delivered twice, at 40 dollars a TiB."""
    payload = MEASURED.event_bytes - MEASURED.field_bytes
    bill = bill_of(Load(events_per_day=1e9 / (365 / 12), payload_bytes=payload, batch_size=500))
    each = bill.needs.billed_bytes
    assert each == pytest.approx(MEASURED.next_event_bytes, rel=0.1)
    assert bill.usd_of("Pub/Sub") == pytest.approx(1e9 * each * 3 / 2**40 * 40)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"events_per_day": 0}, "events_per_day is 0"),
        ({"payload_bytes": -1}, "payload_bytes is -1"),
        ({"batch_size": 501}, "batch_size is 501; it may be from 1 to 500"),
        ({"events_per_day": float("nan")}, "events_per_day is nan"),
        ({"utilisation": 2}, "utilisation is 2"),
    ],
)
def test_load_outside_its_bounds_is_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Load(**({"events_per_day": 1, "payload_bytes": 1} | wrong))  # type: ignore[arg-type] # floats


def test_every_subscription_of_events_is_billed() -> None:
    assert len(TOPICS["events"]) == DESTINATIONS


def test_every_figure_has_a_meaning_and_every_price_a_page() -> None:
    assert list(MEANING) == list(asdict(MEASURED))
    assert all(value > 0 for value in asdict(MEASURED).values())
    assert all(price.page.startswith("https://") and price.seen for price in PRICES.values())
    loads = [
        Load(events_per_day=1, payload_bytes=1, compute=compute, clickhouse=clickhouse)
        for compute in get_args(Compute)
        for clickhouse in get_args(ClickHouse)
    ]
    assert {item.price for load in loads for item in bill_of(load).items} == set(prices.PRICES)
