"""The running stack as one tenant's client sees it."""

from tests.support.fixtures import api, shared

__all__ = ["api", "shared"]
