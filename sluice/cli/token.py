"""``sluice token``: a JWT that reads one tenant's stats and errors."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from sluice.cli.options import AsJson, DataDir, Slug, print_json
from sluice.core.tokens import mint_read_token, parse_ttl
from sluice.credentials import jwt_secret
from sluice.settings import load_settings
from sluice.tenants import TenantsFile, unknown_tenant

app = typer.Typer()


@app.command()
def token(
    slug: Slug,
    *,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is valid: 15m, 1h, 7d.")] = "1h",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print a read token for stats and errors.

    Example: `curl -H "Authorization: Bearer $(sluice token demo)" "$URL/api/ingestion/stats"`
    """
    settings = load_settings(data_dir=data_dir)
    ttl_s = parse_ttl(ttl)
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
    minted = mint_read_token(slug, secret=jwt_secret(settings), now=now, ttl_s=ttl_s)
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
