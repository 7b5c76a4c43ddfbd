"""``sluice token``: a JWT for one tenant's stats, errors and workflow runs."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from sluice.cli.options import AsJson, DataDir, Slug, print_json
from sluice.core.errors import ConfigError
from sluice.core.tokens import READ_SCOPE, RUNS_SCOPE, SCOPES, mint_read_token, parse_ttl
from sluice.credentials import jwt_secret
from sluice.settings import load_settings
from sluice.tenants import TenantsFile, unknown_tenant

app = typer.Typer()


@app.command()
def token(
    slug: Slug,
    *,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is valid: 15m, 1h, 7d.")] = "1h",
    scope: Annotated[
        str,
        typer.Option(
            "--scope",
            help="What it may do: `read`; or `runs`, which starts and stops workflow runs too.",
        ),
    ] = RUNS_SCOPE,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print a token that reads stats, errors and runs, and starts and stops runs.

    A run may erase people: give dashboards and whatever else only looks a token of
    `--scope read`.

    Example: `curl -H "Authorization: Bearer $(sluice token demo)" "$URL/api/ingestion/stats"`
    """
    settings = load_settings(data_dir=data_dir)
    ttl_s = parse_ttl(ttl)
    if scope not in SCOPES:
        message = f"--scope is {scope!r}: use read or runs."
        raise ConfigError(message)
    scopes = READ_SCOPE if scope == READ_SCOPE else f"{READ_SCOPE} {RUNS_SCOPE}"
    path = settings.tenants_path
    tenant = TenantsFile(path).directory.by_slug.get(slug)
    if tenant is None:
        raise unknown_tenant(slug, path)
    if not tenant.enabled:
        print(
            f"warning: {slug} is switched off, so the token is refused until"
            f" `sluice tenant set {slug} enabled=true`.",
            file=sys.stderr,
        )
    now = datetime.now(UTC)
    minted = mint_read_token(slug, secret=jwt_secret(settings), now=now, ttl_s=ttl_s, scope=scopes)
    if as_json:
        expires_at = datetime.fromtimestamp(int(now.timestamp()) + ttl_s, UTC)
        print_json(
            {
                "tenant": slug,
                "token": minted,
                "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    else:
        print(minted)
