"""The running stack as one tenant's client sees it."""

from tests.support.fixtures import api, credentials, shared, sign

__all__ = ["api", "credentials", "shared", "sign"]
