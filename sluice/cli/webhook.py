"""``sluice webhook``: why a shop's deliveries fail, and a delivery to try the road with."""

import asyncio
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import typer

from gateway.sources.shopify import SHOP_DOMAIN, SIGNATURE, TOPIC, TRIGGERED_AT, WEBHOOK_ID
from gateway.sources.shopify_signature import sign
from sluice.cli.doctor import line_of
from sluice.cli.options import AsJson, DataDir, Slug, print_json
from sluice.cli.run_lock import holder
from sluice.cli.webhook_findings import WINDOW_S, Failed, Good, Waiting, find_causes
from sluice.cli.welcome import base_url
from sluice.core.errors import ConfigError, SluiceError
from sluice.core.tenant import Tenant
from sluice.no_answer import reason_of
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile, unknown_tenant
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import FAILED_DELIVERIES, GOOD_DELIVERIES, PENDING_RUNS

FAILED: Final = 1
TIMEOUT_S: Final = 10.0
SAMPLE_SHOP: Final = "sluice-sample.myshopify.com"
API_VERSION: Final = "2026-10"

app = typer.Typer()
webhook = typer.Typer(no_args_is_help=True)
app.add_typer(webhook, name="webhook", help="Explain and try Shopify's webhooks of a tenant.")


class Sample(msgspec.Struct, frozen=True):
    """A delivery that comes with Sluice; its body is sent byte by byte."""

    topic: str
    body: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a delivery."""

    status: int
    answer: str
    webhook_id: str
    event_id: str | None
    run_id: str | None
    """Of a privacy topic."""

    @property
    def is_queued(self) -> bool:
        """Whether it was kept."""
        return self.status == 200 and '"queued":true' in self.answer


@webhook.command()
def doctor(slug: Slug, *, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Explain why deliveries of the last 24 hours failed or were not kept. Changes nothing.

    It reads error records, which hold neither bodies nor digests nor secrets.

    Exit status: 0 all is well or only warnings, 1 something fails.

    Example: `sluice webhook doctor shop`
    """
    settings = load_settings(data_dir=data_dir)
    tenant = _tenant(settings, slug)
    failed, good, waiting = asyncio.run(_ask(settings, slug))
    findings = list(find_causes(tenant, failed, good, waiting, now=datetime.now(UTC)))
    is_ok = all(finding.state != "fail" for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        print_json({"tenant": slug, "ok": is_ok, "checks": checks})
    else:
        for finding in findings:
            print(line_of(finding))
    if not is_ok:
        sys.exit(FAILED)


async def _ask(settings: Settings, slug: str) -> tuple[Sequence[Failed], Good, Sequence[Waiting]]:
    async with Warehouse(settings, makes_database=False) as warehouse:
        asked: dict[str, Any] = {"tenant": slug, "seconds": WINDOW_S}
        failed = [Failed(*row) for row in await warehouse.fetch(FAILED_DELIVERIES, **asked)]
        [counted] = await warehouse.fetch(GOOD_DELIVERIES, **asked)
        rows = await warehouse.fetch(PENDING_RUNS, tenant=slug)
    waiting = [
        Waiting(run_type, count, datetime.fromisoformat(due_at).replace(tzinfo=UTC))
        for run_type, _, count, _, due_at in rows
    ]
    return failed, Good(*counted), waiting


@webhook.command()
def send(
    topic: Annotated[
        str, typer.Argument(help="Such as orders/create.", show_default=False, metavar="TOPIC")
    ],
    *,
    slug: Annotated[str, typer.Option("--tenant", help="The tenant's slug.", show_default=False)],
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar="SLUICE_URL",
            help="Address of the gateway; default: the one that runs here.",
            show_default=False,
        ),
    ] = "",
    body: Annotated[
        Path | None,
        typer.Option(
            "--body", metavar="FILE", help="Body to send instead of a sample.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Sign a delivery as Shopify does, with the tenant's first secret, and post it.

    It is stored as any other, and a privacy request is work like any other: send it to a tenant for
    trying things, or erase it later.

    Exit status: 0 it was queued; 1 it was not; 2 wrong tenant, topic or file.

    Example: `sluice webhook send orders/create --tenant shop`
    """
    settings = load_settings(data_dir=data_dir)
    tenant = _tenant(settings, slug)
    if not tenant.shopify_secrets:
        message = f"{slug} has no Shopify secret: `sluice tenant set {slug} shopify_secrets=…`"
        raise ConfigError(f"{message} sets one.")
    content = _sample(topic) if body is None else _content(body)
    sent = asyncio.run(_post(_address(settings, url), tenant, topic, content))
    if as_json:
        print_json({**asdict(sent), "queued": sent.is_queued})
    else:
        print(f"{sent.status} {sent.answer}")
        if sent.event_id:
            print(f"event {sent.event_id}; `sluice token {slug}` reads it back in stats")
        if sent.run_id:
            print(f"run {sent.run_id} was asked for; `sluice workflow show {sent.run_id}` shows it")
    if not sent.is_queued:
        sys.exit(FAILED)


def _tenant(settings: Settings, slug: str) -> Tenant:
    path = settings.tenants_path
    tenant = TenantsFile(path).directory.by_slug.get(slug)
    if tenant is None:
        raise unknown_tenant(slug, path)
    return tenant


def samples() -> list[Sample]:
    """Return the deliveries that come with Sluice."""
    file = resources.files("sluice.cli") / "samples" / "shopify.ndjson"
    return msgspec.json.Decoder(Sample).decode_lines(file.read_bytes())


def _sample(topic: str) -> bytes:
    found = next((one for one in samples() if one.topic == topic.lower()), None)
    if found is None:
        known = ", ".join(dict.fromkeys(one.topic for one in samples()))
        message = f"there is no sample of {topic!r}: give --body FILE, or one of {known}."
        raise ConfigError(message)
    return bytes(found.body)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"--body {path} cannot be read: {error.strerror}."
        raise ConfigError(message) from None


def _address(settings: Settings, url: str) -> str:
    if url:
        try:
            parts = urlsplit(url)
            is_usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # brackets that do not match, or a port above 65535
            is_usable = False
        if not is_usable:
            message = "--url: use http(s)://host:port, with a port from 1 to 65535."
            raise ConfigError(message)
        # People paste the address that they gave to Shopify.
        return url.partition("/api/ingestion/")[0].rstrip("/")
    running = holder(settings.data_dir)
    return running.url if running and running.url else base_url(settings.host, settings.port)


class _Named(msgspec.Struct):
    shop_domain: str = ""


def _shop_of(body: bytes) -> str:
    """Return the shop that a privacy request names.

    It is never the tenant's own in place of it: a sample of ``shop/redact`` would erase that.
    """
    try:
        return msgspec.json.decode(body, type=_Named).shop_domain
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


async def _post(url: str, tenant: Tenant, topic: str, body: bytes) -> Sent:
    webhook_id = str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json",
        TOPIC: topic,
        SIGNATURE: sign(body, tenant.shopify_secrets[0]).decode(),
        SHOP_DOMAIN: _shop_of(body) or next(iter(tenant.shopify_shop_domains), SAMPLE_SHOP),
        WEBHOOK_ID: webhook_id,
        TRIGGERED_AT: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z"),
        "X-Shopify-API-Version": API_VERSION,
        "X-Shopify-Test": "true",
    }
    target = f"{url}/api/ingestion/shopify/{tenant.slug}/"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.post(target, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return Sent(
                status=answer.status,
                answer=(await answer.text(errors="replace")).strip(),
                webhook_id=webhook_id,
                event_id=answer.headers.get("X-Event-Id"),
                run_id=answer.headers.get("X-Run-Id"),
            )
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        parts = urlsplit(url)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # no password
        message = f"no answer from {shown} ({reason_of(error)})"
        raise SluiceError(message) from error
