"""The running stack as one tenant's client sees it."""

from tests.support.amplitude import amplitude, simulator
from tests.support.fixtures import api, app, client, common_app, credentials, runs, shared, sign

__all__ = [
    "amplitude",
    "api",
    "app",
    "client",
    "common_app",
    "credentials",
    "runs",
    "shared",
    "sign",
    "simulator",
]
