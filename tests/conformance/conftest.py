"""The running stack as one tenant's client sees it."""

from tests.support.fixtures import api, client, credentials, shared, sign

__all__ = ["api", "client", "credentials", "shared", "sign"]
