"""All scenarios there are; each name is a module of this package with a ``SCENARIO``."""

from importlib import import_module
from typing import Final

from loadtest.scenario import Scenario

NAMES: Final = (
    "track",
    "batch",
    "shopify",
    "mixed",
    "burst",
    "overload",
    "soak",
    "slow-clients",
    "open-connections",
    "many-tenants",
    "huge-payloads",
    "stats-under-load",
    "catch-up",
)


def load(name: str) -> Scenario:
    """Return a scenario by its name.

    Raises:
        KeyError: There is none of that name.
    """
    if name not in NAMES:
        raise KeyError(name)
    module = import_module(f"loadtest.scenarios.{name.replace('-', '_')}")
    scenario: Scenario = module.SCENARIO
    return scenario
