"""A client app: it has a public key of a tenant, opens sessions and writes as their users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import jwt

from tests.support.credentials import Credentials
from tests.support.poll import poll_until
from tests.support.segops import EVENT, TRACK, Answer, Segops

SESSION = "/api/auth/session/"
PAGE = "https://shop.example"
"""The origin of a page that may use the key."""
SUBDOMAINS = "https://*.tenant.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientApp:
    """One public key of one tenant, and the server of the same company beside it."""

    api: Segops
    key: str
    secret: str
    """What the company's server signs user ids with."""
    credentials: Credentials

    @classmethod
    async def of(cls, api: Segops, credentials: Credentials, *, origins: str = "") -> Self:
        """Give a tenant a public key; it is known to the gateway."""
        key = credentials.add_public(api.slug)
        secret = credentials.add_identity_secret(api.slug, key)
        app = cls(api=api, key=key, secret=secret, credentials=credentials)
        await app.set_key(allowed_origins=origins or f"{PAGE},{SUBDOMAINS}")
        return app

    async def set_key(self, **values: str) -> None:
        """Change properties of the key, and wait until the gateway knows."""
        for name, text in values.items():
            self.credentials.set_key_value(self.api.slug, self.key, name, text)
        await self.are_edits_known()

    async def set_tenant(self, **values: str) -> None:
        """Change properties of the tenant, and wait until the gateway knows."""
        for name, text in values.items():
            self.credentials.set_value(self.api.slug, name, text)
        await self.are_edits_known()

    async def revoke(self) -> None:
        """End the key, and wait until the gateway knows."""
        self.credentials.revoke(self.api.slug, self.key)
        await self.are_edits_known()

    async def are_edits_known(self) -> None:
        """Wait until the gateway has read the tenants file as it is now."""
        last = self.credentials.rotate(self.api.slug)

        async def is_known() -> bool:
            return (await self.open({}, key=last)).status == 403

        await poll_until(is_known, every_s=0.01, what="the gateway has read the edited file")

    async def open(
        self, body: object, *, key: str = "", headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Ask for a session."""
        given = {"Authorization": f"ApiKey {key or self.key}"} | dict(headers or {})
        return await self.api.post(SESSION, body, headers=given)

    async def token(self, user_id: str = "") -> str:
        """Return the token of a session."""
        answer = await self.open({"user_id": user_id} if user_id else {})
        assert answer.status == 200, answer
        token: str = answer.json["token"]
        return token

    async def track(
        self,
        token: str,
        body: object = EVENT,
        *,
        target: str = TRACK,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """Post with the token of a session."""
        given = {"Authorization": f"Bearer {token}"} | dict(headers or {})
        return await self.api.post(target, body, headers=given)


def claims_of(token: str) -> dict[str, object]:
    """Return what a token says, as anyone can read it."""
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims
