"""The running stack as one tenant's client sees it."""

from tests.support.fixtures import api, client, credentials, gateway, shared, sign, slow_edge

__all__ = ["api", "client", "credentials", "gateway", "shared", "sign", "slow_edge"]
