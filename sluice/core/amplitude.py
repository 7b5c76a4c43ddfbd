"""How one tenant's events go to Amplitude, as a value; ``tenant_file`` reads it."""

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Region = Literal["us", "eu"]
REGIONS: Final[tuple[Region, ...]] = get_args(Region)

SIMULATED_KEY: Final = "sluice-simulated"
"""The key of ``sluice run --simulate-amplitude``; it is never sent to Amplitude itself."""
SIMULATED_SECRET: Final = "sluice-simulated-secret"  # noqa: S105 - made up, and known to all
"""Its secret key, for what workflows read back."""
RESERVED_STARTS: Final = ("[Amplitude]", "$")
"""Of event types that are Amplitude's own."""
REVENUE: Final = ("order_placed=total",)


@dataclass(frozen=True, slots=True, kw_only=True)
class AmplitudeConfig:
    """The ``amplitude.*`` properties of a tenant (reference, "Hosts and credentials")."""

    api_key: str = field(repr=False)
    secret_key: str = field(default="", repr=False)
    """For what is read back: cohorts, segmentation, deletions."""
    region: Region = "us"
    min_id_length: int = 1
    """Sent as ``options.min_id_length`` with every request."""
    revenue: tuple[str, ...] = REVENUE
    """``event_type=member`` pairs: the payload's member that is an event's revenue;
    ``event_type=-member`` where a positive amount is money given back."""
    event_types: tuple[str, ...] = ()
    """Patterns of event types that are forwarded; empty: all."""
    drop: tuple[str, ...] = ()
    """Patterns of event types that are not forwarded."""
    rename: tuple[str, ...] = ()
    """``event_type=other name`` pairs."""
    drop_properties: tuple[str, ...] = ()
    """Members of the payload that are left out."""
    properties: tuple[str, ...] = ()
    """``name=text`` pairs, added to every event's properties."""
    sample_percent: int = 100
    """Of the users, not of the events: a user is forwarded whole or not at all."""


def split_pair(text: str) -> tuple[str, str]:
    """Return both sides of ``left=right``; what has no sign is all left."""
    left, _, right = text.partition("=")
    return left.strip(), right.strip()
