"""Keys and tokens that only a test would make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

from sluice.tenants import TenantsFile


class Credentials:
    """Edits keys in the tenants file of a running stack, as ``sluice tenant`` does."""

    def __init__(self, tenants_file: Path) -> None:
        self._file = TenantsFile(tenants_file)

    def add_tenant(self, slug: str) -> str:
        """Add a tenant and return its secret key."""
        return self._file.add_tenant(slug)

    def rotate(self, slug: str) -> str:
        """Give the tenant one more secret key and return it."""
        return self._file.rotate_key(slug)

    def revoke(self, slug: str, key: str) -> None:
        """Revoke one key."""
        self._file.revoke_key(slug, key)

    def add_public(self, slug: str) -> str:
        """Give the tenant a public key and return it."""
        return self._file.add_key(slug, kind="public", label="test")

    def set_key_value(self, slug: str, key: str, name: str, text: str) -> None:
        """Change one property of a public key."""
        self._file.set_key_value(slug, key, name, text)

    def add_identity_secret(self, slug: str, key: str) -> str:
        """Give a public key one more secret to sign user ids with and return it."""
        return self._file.add_identity_secret(slug, key)

    def set_value(self, slug: str, name: str, text: str) -> None:
        """Change one property of the tenant."""
        self._file.set_value(slug, name, text)


class TokenMaker:
    """Signs any claims, by default with the secret that the running stack trusts."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(
        self, claims: Mapping[str, Any], *, secret: str | None = None, algorithm: str = "HS256"
    ) -> str:
        """Return a token."""
        key = "" if algorithm == "none" else secret or self._secret
        return jwt.encode(dict(claims), key, algorithm=algorithm)
