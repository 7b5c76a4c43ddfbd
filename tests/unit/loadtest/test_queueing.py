"""The simulation loses no event, whatever is lost; its averages obey Little's law."""

from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.queueing import Outage, Outcome, Setting, Station, simulate

STATIONS = st.builds(
    lambda servers, us, bound, keeps: (
        Station(name="first", servers=servers[0], event_us=us[0], bound_events=bound),
        Station(name="second", servers=servers[1], event_us=us[1], keeps_server=keeps),
        Station(name="third", servers=servers[2], event_us=us[2]),
    ),
    st.tuples(*[st.integers(3, 9)] * 3),
    st.tuples(*[st.floats(1, 200)] * 3),
    st.sampled_from([200.0, 5_000.0, float("inf")]),
    st.booleans(),
)
SETTINGS = st.builds(
    Setting,
    stations=STATIONS,
    events_per_s=st.floats(1_000, 200_000),
    parcel_events=st.sampled_from([50, 100]),
    seconds=st.just(3.0),
    seed=st.integers(0, 1_000),
    outage=st.sampled_from([None, Outage(1.0, 2.0), Outage(0.5, 9.0, zone=2)]),
)


def assert_conserved(outcome: Outcome) -> None:
    """Every event that arrived is in one place, and every one that was answered 202 too."""
    assert outcome.arrived == (
        outcome.answered + outcome.refused + outcome.unanswered + outcome.waiting_answer
    )
    assert outcome.answered == outcome.stored + outcome.waiting_store


@settings(max_examples=40, deadline=None)
@given(SETTINGS)
def test_every_event_is_answered_refused_or_waiting(setting: Setting) -> None:
    outcome = simulate(setting)
    assert_conserved(outcome)
    assert all(one.arrived >= one.answered + one.refused for one in outcome.moments)
    assert outcome.unanswered == 0 or setting.outage is not None


@settings(max_examples=40, deadline=None)
@given(SETTINGS)
def test_littles_law_holds_at_every_station(setting: Setting) -> None:
    """Mean number there = arrivals a second x mean time there: the two are counted apart."""
    outcome = simulate(setting)
    for flow in outcome.flows:
        if flow.arrived:
            number = flow.present / outcome.seconds
            rate, time_there = flow.arrived / outcome.seconds, flow.sojourn / flow.arrived
            assert isclose(number, rate * time_there, rel_tol=1e-6, abs_tol=1e-6)


@settings(max_examples=40, deadline=None)
@given(SETTINGS)
def test_no_station_works_more_than_its_servers_can(setting: Setting) -> None:
    assert all(0 <= flow.utilisation <= 1 + 1e-9 for flow in simulate(setting).flows)


def station(servers: int, event_us: float, bound_events: float = float("inf")) -> Station:
    return Station(name="only", servers=servers, event_us=event_us, bound_events=bound_events)


def test_what_waits_is_stored_when_arrivals_end() -> None:
    stations = (station(3, 10), station(3, 100))
    outcome = simulate(
        Setting(
            stations=stations, events_per_s=60_000, parcel_events=100, seconds=2, drains=True,
            outage=Outage(0.5, 1.0),
        )
    )  # fmt: skip
    assert_conserved(outcome)
    assert outcome.waiting_store == 0
    assert outcome.stored == outcome.answered > 0


def test_overload_is_refused_and_the_rest_goes_at_the_ceiling() -> None:
    outcome = simulate(
        Setting(
            stations=(station(2, 100, 2_000),), events_per_s=60_000, parcel_events=100, seconds=20
        )
    )
    assert outcome.answered / 20 == pytest.approx(20_000, rel=0.02)
    assert outcome.refused / outcome.arrived == pytest.approx(2 / 3, rel=0.05)
    assert outcome.flows[0].utilisation == pytest.approx(1, abs=0.01)


def test_queue_waits_as_theory_says() -> None:
    """One server, random arrivals, fixed times, half used: mean wait is half a service (M/D/1)."""
    outcome = simulate(
        Setting(stations=(station(1, 1_000),), events_per_s=500, parcel_events=1, seconds=400)
    )
    flow = outcome.flows[0]
    assert flow.sojourn / flow.arrived == pytest.approx(0.0015, rel=0.05)


def test_same_seed_gives_the_same_run() -> None:
    one, same, other = (
        Setting(
            stations=(station(3, 50),), events_per_s=20_000, parcel_events=10, seconds=2, seed=seed
        )
        for seed in (7, 7, 8)
    )
    assert simulate(one) == simulate(same) != simulate(other)
