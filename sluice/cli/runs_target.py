"""Whose runs, at which gateway, with which token: the options that several commands share."""

import getpass
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from sluice.cli.options import DataDir
from sluice.cli.run_lock import holder
from sluice.cli.runs_api import RunsApi
from sluice.cli.welcome import base_url
from sluice.core.errors import ConfigError
from sluice.core.tokens import SCOPES, mint_read_token
from sluice.credentials import jwt_secret
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile, unknown_tenant

TTL_S: Final = 900
RENEW_AFTER_S: Final = 300

TenantOption = Annotated[
    str,
    typer.Option(
        "--tenant",
        metavar="SLUG",
        help="The tenant's slug; needed where there are several.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="SLUICE_URL",
        help="Address of the gateway; default: the one that runs here.",
        show_default=False,
    ),
]
TokenOption = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="SLUICE_TOKEN",
        help="What `sluice token SLUG` prints, for a gateway elsewhere; default: one is made with"
        " the secret of the data dir.",
        show_default=False,
    ),
]


def api_of(slug: str, url: str, token: str, data_dir: DataDir) -> RunsApi:
    """Return the API that the options mean.

    Raises:
        ConfigError: There is no such tenant, or an option is wrong.
    """
    if url and token:
        return RunsApi(_checked(url), lambda: _whole(token), slug)
    settings = load_settings(data_dir=data_dir)
    address = _checked(url) if url else _local(settings)
    if token:
        return RunsApi(address, lambda: _whole(token), slug)
    slug = known_slug(settings, slug)
    return RunsApi(address, _minted(settings, slug), slug)


def known_slug(settings: Settings, slug: str) -> str:
    """Return the tenant that is meant: the only one, where none is named."""
    path = settings.tenants_path
    known = TenantsFile(path).directory.by_slug
    if not slug and len(known) == 1:
        return next(iter(known))
    if not slug:
        message = "--tenant is missing: `sluice tenant list` shows them"
        raise ConfigError(f"{message}." if known else f"{message}; there is none yet.")
    if slug not in known:
        raise unknown_tenant(slug, path)
    return slug


def _minted(settings: Settings, slug: str) -> Callable[[], str]:
    secret = jwt_secret(settings)
    made: list[tuple[float, str]] = []

    def token() -> str:
        if not made or time.monotonic() - made[-1][0] > RENEW_AFTER_S:
            now = datetime.now(UTC)
            text = mint_read_token(
                slug, secret=secret, now=now, ttl_s=TTL_S, scope=" ".join(SCOPES), name=_person()
            )
            made[:] = [(time.monotonic(), text)]
        return made[-1][1]

    return token


def _person() -> str:
    """Return who runs the command, as the system knows them: runs say who started them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        return ""


def _local(settings: Settings) -> str:
    running = holder(settings.data_dir)
    return running.url if running and running.url else base_url(settings.host, settings.port)


def _whole(token: str) -> str:
    text = token.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        message = "--token is not one word of visible ASCII: copy it whole, eyJ…"
        raise ConfigError(message)
    return text


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in {"http", "https"} and "@" not in parts.netloc
        is_usable = is_http and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, or a port above 65535
        is_usable = False
    if not is_usable:
        message = "--url: use http(s)://host:port, with a port from 1 to 65535."
        raise ConfigError(message)
    return url.partition("/api/")[0].rstrip("/")
