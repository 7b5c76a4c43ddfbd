"""The running stack as one tenant's client sees it."""

from tests.support.amplitude import amplitude, simulator
from tests.support.fixtures import (
    api,
    app,
    client,
    common_app,
    credentials,
    gateway,
    runs,
    shared,
    sign,
    slow_edge,
)

__all__ = [
    "amplitude",
    "api",
    "app",
    "client",
    "common_app",
    "credentials",
    "gateway",
    "runs",
    "shared",
    "sign",
    "simulator",
    "slow_edge",
]
