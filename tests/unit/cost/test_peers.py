"""List prices of hosted services: by steps, and silent where the page is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.cost.peers import PEERS, Peer, Step

BY_NAME = {peer.name: peer for peer in PEERS}


@pytest.mark.parametrize(
    ("name", "events", "usd"),
    [
        ("PostHog Cloud", 1e6, 0.0),
        ("PostHog Cloud", 12e6, 393.0),  # 50 for the second million, 34.30 for each of ten more
        ("Segment", 2.5e6, 120.0),
        ("RudderStack Cloud", 1e6, 265.0),
        ("Mixpanel", 2e6, 280.0),
    ],
)
def test_month_costs_what_the_page_says(name: str, events: float, usd: float) -> None:
    mean = BY_NAME[name].usd_per_million(events)
    assert mean is not None
    assert mean * events / 1e6 == pytest.approx(usd)


@pytest.mark.parametrize("name", ["Amplitude", "Snowplow"])
def test_service_without_a_price_by_events_has_none(name: str) -> None:
    assert BY_NAME[name].usd_per_million(1e6) is None


def test_list_that_ends_says_nothing_beyond() -> None:
    peer = Peer(name="x", plan="", words="", page="", seen="", steps=(Step(10.0, 1.0),))
    assert peer.usd_per_million(10) == pytest.approx(1.0)
    assert peer.usd_per_million(11) is None
    assert peer.usd_per_million(0) is None


@given(st.sampled_from([peer for peer in PEERS if peer.steps]), st.floats(1, 1e12))
def test_mean_price_lies_between_nothing_and_the_dearest_step(peer: Peer, events: float) -> None:
    mean = peer.usd_per_million(events)
    if mean is not None:
        dearest = max(step.usd_per_million for step in peer.steps)
        assert 0 <= mean <= dearest + peer.base_usd / events * 1e6 + 1e-6
