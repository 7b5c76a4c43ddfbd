"""The secret that signs tokens, and the making of API keys and identity secrets."""

import secrets

from sluice.core.errors import ConfigError
from sluice.core.tenant import KEY_PREFIXES, KeyKind
from sluice.private_files import create_file, ensure_private_dir
from sluice.settings import Settings

KEY_BYTES = 32
SECRET_BYTES = 32


def new_api_key(kind: KeyKind = "secret") -> str:
    """Return the text of a new API key, with 256 bits of chance."""
    return KEY_PREFIXES[kind] + secrets.token_urlsafe(KEY_BYTES)


def new_identity_secret() -> str:
    """Return the hex of a new secret that a server signs user ids with, with 256 bits of chance."""
    return secrets.token_hex(KEY_BYTES)


def jwt_secret(settings: Settings) -> str:
    """Return the HS256 secret: the setting, else the file of the data dir, which is made if absent.

    Safe when several processes start at once: all get the secret of the first. Blocks on the disk.

    Raises:
        ConfigError: Keys come from SLUICE_JWKS_URL, so there is no secret; or the file is broken.
    """
    if settings.jwks_url and not settings.jwt_secret.get_secret_value():
        message = (
            "read tokens are signed by the issuer behind SLUICE_JWKS_URL, so Sluice has no secret"
            " to sign with: get a token there, or set SLUICE_JWT_SECRET instead."
        )
        raise ConfigError(message)
    return session_secret(settings)


def session_secret(settings: Settings) -> str:
    """Return the HS256 secret of session tokens: the setting, else the file of the data dir.

    Sluice issues these tokens itself, so it needs a secret also where read tokens come from
    another issuer. Gateways that share no data dir must be given the same SLUICE_JWT_SECRET, or
    each refuses the sessions of the others.

    Safe when several processes start at once: all get the secret of the first. Blocks on the disk.

    Raises:
        ConfigError: The file is broken, or cannot be made.
    """
    configured = settings.jwt_secret.get_secret_value()
    if configured:
        return configured
    path = settings.jwt_secret_file
    try:
        ensure_private_dir(settings.data_dir)
        text = path.read_text() if path.exists() else create_file(path, _new_secret())
    except OSError as error:
        message = f"the JWT secret {path} cannot be read or made: {error.strerror}."
        raise ConfigError(message) from None
    return _checked(text.strip(), str(path))


def _new_secret() -> str:
    return secrets.token_hex(SECRET_BYTES) + "\n"


def _checked(secret: str, where: str) -> str:
    if len(secret.encode()) < SECRET_BYTES:
        message = f"the JWT secret {where} has less than 32 bytes: delete it and a new one is made."
        raise ConfigError(message)
    return secret
