"""What hosted services list for events, as far as a public page says it.

They are not the same thing: each brings screens, people who run it, or hundreds of destinations.
The figures say what an event costs there, not what it is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """The price of events up to a number a month; what is below has the price of steps before."""

    up_to: float
    """Events a month; infinite for the last step, unless the list ends there."""
    usd_per_million: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One service, and its list."""

    name: str
    plan: str
    words: str
    """The list price in the words of the page."""
    page: str
    seen: str
    steps: Sequence[Step] = ()
    """Empty where nobody can reckon with the page: it names no price, or none by events."""
    base_usd: float = 0.0
    """A month, whatever is sent."""

    def usd_per_million(self, events_per_month: float) -> float | None:
        """Return the mean list price of a million events; None where no price is listed for it."""
        if not self.steps or not 0 < events_per_month <= self.steps[-1].up_to:
            return None
        usd, below = self.base_usd, 0.0
        for step in self.steps:
            within = min(events_per_month, step.up_to) - below
            if within <= 0:
                break
            usd += within / MILLION * step.usd_per_million
            below = step.up_to
        return usd / events_per_month * MILLION


FOREVER: Final = float("inf")
PEERS: Final[tuple[Peer, ...]] = (
    Peer(
        name="PostHog Cloud",
        plan="product analytics",
        words="1M events free; then $0.00005 an event to 2M, $0.0000343 to 15M, $0.0000295 to"
        " 50M, $0.0000218 to 100M, $0.000015 to 250M, $0.000009 beyond",
        page="https://posthog.com/pricing",
        seen="2026-05-04, as others recorded it",
        steps=(
            Step(1e6, 0.0),
            Step(2e6, 50.0),
            Step(15e6, 34.3),
            Step(50e6, 29.5),
            Step(100e6, 21.8),
            Step(250e6, 15.0),
            Step(FOREVER, 9.0),
        ),
    ),
    Peer(
        name="Segment",
        plan="Team",
        words="$120 a month with 10,000 tracked users; then $0.012 a user to 25,000, $0.011 to"
        " 100,000, $0.010 beyond; 250 calls a user, so this is the least that an event can cost",
        page="https://segment.com/docs/guides/usage-and-billing/mtus-and-throughput/",
        seen="undated copies, 2026-11-22; prices as <https://getlago.com/docs/templates/hybrid>"
        " quotes them",
        base_usd=120.0,
        steps=(Step(2.5e6, 0.0), Step(6.25e6, 48.0), Step(25e6, 44.0), Step(FOREVER, 40.0)),
    ),
    Peer(
        name="RudderStack Cloud",
        plan="Growth",
        words="$265 a month with 1M events; prices of more events were not readable",
        page="https://www.rudderstack.com/pricing/",
        seen="2026-08-13, as others recorded it",
        base_usd=265.0,
        steps=(Step(1e6, 0.0),),
    ),
    Peer(
        name="Mixpanel",
        plan="Growth",
        words="1M events free, then $0.28 for 1,000; discounts for volume were not readable, so"
        " here it ends at 10M",
        page="https://mixpanel.com/pricing/",
        seen="2026-05-04, as others recorded it",
        steps=(Step(1e6, 0.0), Step(10e6, 280.0)),
    ),
    Peer(
        name="Amplitude",
        plan="Plus",
        words="from $49 a month, paid by the year, up to 300,000 tracked users or 25M events; what"
        " that many cost is not on the page",
        page="https://amplitude.com/pricing",
        seen="2026-05-04, as others recorded it",
    ),
    Peer(
        name="Snowplow",
        plan="Behavioral Data Platform",
        words="no price on a public page",
        page="https://snowplow.io/snowplow-behavioral-data-platform-product-description",
        seen="undated copy, 2026-11-22",
    ),
)
"""In the order of the table."""
