"""The capacity model: held to what was measured on two cores, and to common sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.capacity import Demand, first_bottleneck, fleet_for, predictions, times_of, zone_loss

MEASURED = (42_835.0, 436_216.0, 143_634.0)
"""Of `make bench` in docs/performance.md: track, batch of 500, pipeline; events/s on two cores."""
TOLERANCE = 0.25
DEMANDS = st.builds(
    Demand,
    events_per_s=st.floats(100, 1e7),
    batch_size=st.floats(1, 500),
    event_bytes=st.floats(200, 60_000),
)


def test_model_is_near_the_measurement_on_two_cores() -> None:
    ratios = [one.events_per_s / seen for one, seen in zip(predictions(), MEASURED, strict=True)]
    assert ratios == pytest.approx([1.0, 1.0, 1.0], abs=TOLERANCE)


@given(DEMANDS, st.floats(0.2, 1))
def test_fleet_carries_its_demand_below_the_utilisation(demand: Demand, used: float) -> None:
    fleet = fleet_for(demand, utilisation=used)
    assert first_bottleneck(demand, fleet).events_per_s * used >= demand.events_per_s * (1 - 1e-9)
    assert fleet.streams >= 1


@given(DEMANDS, st.floats(1, 10))
def test_more_events_need_no_fewer_parts(demand: Demand, times: float) -> None:
    more = Demand(
        events_per_s=demand.events_per_s * times,
        batch_size=demand.batch_size,
        event_bytes=demand.event_bytes,
    )
    few, many = (fleet_for(one, utilisation=0.5) for one in (demand, more))
    assert many.gateways >= few.gateways
    assert many.workers >= few.workers
    assert many.warehouse_cores >= few.warehouse_cores


def test_single_events_are_bound_by_gateways_and_batches_by_workers() -> None:
    one_each = fleet_for(Demand(events_per_s=1), utilisation=1)
    assert first_bottleneck(Demand(events_per_s=1), one_each).name == "gateways"
    batches = Demand(events_per_s=1, batch_size=500)
    assert first_bottleneck(batches, one_each).name == "workers"
    assert times_of(batches).gateway < times_of(Demand(events_per_s=1)).gateway


def test_lost_zone_is_not_noticed_where_half_is_used() -> None:
    demand = Demand(events_per_s=1e6, batch_size=50)
    loss = zone_loss(demand, fleet_for(demand, utilisation=0.5), away_s=10, after_s=20)
    assert loss.refused_share == 0
    assert loss.caught_up_after_s == pytest.approx(0, abs=2)


def test_lost_zone_leaves_a_backlog_that_is_caught_up_where_most_is_used() -> None:
    demand = Demand(events_per_s=1e6, batch_size=500)
    loss = zone_loss(demand, fleet_for(demand, utilisation=0.8), away_s=20, after_s=60)
    assert loss.most_backlog > 200_000
    assert loss.caught_up_after_s is not None
    assert loss.outcome.arrived == (
        loss.outcome.answered + loss.outcome.refused + loss.outcome.unanswered
        + loss.outcome.waiting_answer
    )  # fmt: skip
