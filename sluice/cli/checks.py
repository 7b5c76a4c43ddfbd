"""What ``sluice doctor`` looks at. Each check returns findings and changes nothing."""

import asyncio
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from gateway.core.status import WorkerStatus
from sluice.cli.checks_queue import check_queue
from sluice.cli.checks_shopify import check_shops
from sluice.cli.checks_workflows import check_workflows
from sluice.cli.findings import RUN, SEE_LOG, TIMEOUT_S, Finding, warehouse_remedy
from sluice.cli.run_lock import holder
from sluice.cli.welcome import base_url
from sluice.core.errors import ConfigError, WarehouseError, WarehouseUnavailableError
from sluice.credentials import jwt_secret
from sluice.no_answer import network_reason, reason_of
from sluice.settings import MIB, SETTINGS, Settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse, address_of, warehouse_url
from sluice.warehouse.grants import needed
from sluice.warehouse.migrate import migrations
from sluice.warehouse.queries import Query

LOW_DISK_BYTES: Final = 1024 * MIB
NO_DISK_BYTES: Final = 100 * MIB
PROCESSES: Final = ("gateway", "worker")
NOT_SLUICE: Final = "what answers there is not Sluice"
OTHER_VARIABLES: Final = ("SLUICE_URL", "SLUICE_API_KEY", "SLUICE_TOKEN")
"""Not settings of a server, but options of ``sluice send`` and ``sluice workflow``."""

_VERSION: Final = Query("doctor_version", "SELECT version()")
_APPLIED: Final = Query("doctor_migrations", "SELECT DISTINCT name FROM migrations ORDER BY name")


def check_variables(environment: Mapping[str, str]) -> Finding:
    """Return whether every SLUICE_* variable is one that Sluice knows."""
    known = [f"SLUICE_{name.upper()}" for name in SETTINGS]
    known += OTHER_VARIABLES
    unknown = sorted(
        name for name in environment if name.startswith("SLUICE_") and name not in known
    )
    if not unknown:
        return Finding("settings", "ok", "every value is valid")
    near = get_close_matches(unknown[0], known, n=1)
    remedy = f"did you mean {near[0]}?" if near else "unset it; the README lists the settings"
    return Finding("settings", "warn", f"{', '.join(unknown)} is not known", remedy)


async def check_all(settings: Settings, processes: Collection[str] = PROCESSES) -> list[Finding]:
    """Return the findings of every check, in the order in which data flows.

    Args:
        settings: What is checked.
        processes: Whose roles on Pub/Sub and ClickHouse are asked for. What only a gateway has
            and reaches (tokens, all workers, itself) is left out where it is not among them.
    """
    running = holder(settings.data_dir)
    url = running.url if running and running.url else base_url(settings.host, settings.port)
    for_gateway = "gateway" in processes
    workers = [running.worker_url] if running and running.worker_url else settings.worker_urls
    if not for_gateway:
        workers = [base_url(settings.host, settings.worker_port)]
    serving = [await _worker(worker.rstrip("/")) for worker in workers]
    if for_gateway:
        serving.append(await _gateway(url))
    if running is None and set(PROCESSES) <= set(processes):
        serving = [_of_this_folder(finding, settings) for finding in serving]
    return [
        *await asyncio.to_thread(lambda: list(_files(settings, for_gateway=for_gateway))),
        *await check_queue(settings, processes),
        await _warehouse(settings, processes),
        *await check_shops(settings),
        *await check_workflows(settings),
        *serving,
    ]


def _of_this_folder(finding: Finding, settings: Settings) -> Finding:
    """Return how a part that answers is, when no ``sluice run`` holds the data dir.

    What has no queue here works elsewhere. Otherwise nothing tells that from parts of this folder,
    each started by itself.
    """
    if finding.state == "fail" or settings.pubsub_project is not None:
        return finding
    if not settings.queue_path.exists():
        detail = f"{finding.detail}, but on another data dir: {settings.queue_path} does not exist"
        return replace(finding, state="warn", detail=detail, remedy="name its own with --data-dir")
    unsure = f"no `sluice run` holds {settings.data_dir}: it may work on another data dir"
    return replace(finding, detail=f"{finding.detail}; {unsure}")


def _files(settings: Settings, *, for_gateway: bool) -> Iterator[Finding]:
    if for_gateway or settings.data_dir.exists():
        yield _data_dir(settings.data_dir)
    else:
        made = "a worker makes it when something has to wait there"
        yield Finding("data dir", "ok", f"{settings.data_dir} does not exist yet: {made}")
    yield _tenants(settings.tenants_path, is_named=settings.tenants_file is not None)
    if for_gateway:
        yield _tokens(settings)
        yield from check_sessions(settings)


def _data_dir(path: Path) -> Finding:
    name = "data dir"
    if not path.exists():
        return Finding(name, "fail", f"{path} does not exist", f"{RUN}, or make it with mode 0700")
    free = shutil.disk_usage(path).free
    shown = f"{path}, {free // MIB:,} MiB free"
    if free < NO_DISK_BYTES:
        return Finding(name, "fail", shown, "free disk space: events are refused when it is full")
    if free < LOW_DISK_BYTES:
        return Finding(name, "warn", shown, "free disk space soon")
    if _is_open(path):
        return Finding(name, "warn", f"{path} can be read by other users", f"chmod 700 {path}")
    return Finding(name, "ok", shown)


def _tenants(path: Path, *, is_named: bool) -> Finding:
    name = "tenants"
    if is_named and not path.exists():
        remedy = "correct SLUICE_TENANTS_FILE, or `sluice tenant add SLUG` makes it"
        return Finding(name, "fail", f"{path} does not exist", remedy)
    if not path.exists():
        return Finding(name, "warn", f"{path} does not exist", "`sluice tenant add SLUG`")
    try:
        found = TenantsFile(path).directory.by_slug.values()
    except ConfigError as error:
        return Finding(name, "fail", str(error), "correct the file; it is reloaded by itself")
    if not found:
        return Finding(name, "warn", "there is none", "`sluice tenant add SLUG`")
    without = [tenant.slug for tenant in found if not tenant.api_keys]
    if without:
        remedy = f"`sluice tenant rotate-key {without[0]}`"
        return Finding(name, "warn", f"no key: {', '.join(without)}", remedy)
    if _is_open(path):
        return Finding(name, "warn", f"{path} can be read by other users", f"chmod 600 {path}")
    return Finding(name, "ok", f"{len(found)} in {path}")


def _tokens(settings: Settings) -> Finding:
    name = "read tokens"
    if settings.jwt_secret.get_secret_value():
        return Finding(name, "ok", "signed with SLUICE_JWT_SECRET")
    if settings.jwks_url:
        return Finding(name, "ok", f"verified with the keys of {settings.jwks_url}")
    path = settings.jwt_secret_file
    if not path.exists():
        return Finding(name, "warn", f"{path} does not exist yet", "`sluice setup` makes it")
    try:
        jwt_secret(settings)
    except ConfigError as error:
        return Finding(name, "fail", str(error))
    if _is_open(path):
        return Finding(name, "warn", f"{path} can be read by other users", f"chmod 600 {path}")
    return Finding(name, "ok", f"signed with the secret in {path}")


def check_sessions(settings: Settings) -> Iterator[Finding]:
    """Yield what is known of the secret that sessions are signed with, where there are any.

    Other gateways cannot be seen from here. But a queue on Google Pub/Sub is what gateways on
    several machines share, and a data dir is what they do not.
    """
    try:
        tenants = TenantsFile(settings.tenants_path).directory.by_slug.values()
    except ConfigError:
        return  # the check of the tenants says why
    if not any(key.kind == "public" for tenant in tenants for key in tenant.api_keys):
        return
    name, path = "sessions", settings.jwt_secret_file
    if settings.jwt_secret.get_secret_value():
        yield Finding(name, "ok", "signed with SLUICE_JWT_SECRET; give it to every gateway")
        return
    made = "made here" if path.exists() else "made at the first start"
    detail = f"signed with the secret in {path}, {made}"
    if settings.queue_url.startswith("pubsub:"):
        detail = f"{detail}: gateways that do not share this folder refuse each other's sessions"
        remedy = "set SLUICE_JWT_SECRET to the same on all, if there are several"
        yield Finding(name, "warn", detail, remedy)
    else:
        yield Finding(name, "ok", f"{detail}; gateways that share this folder share it")


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


async def _warehouse(settings: Settings, processes: Collection[str]) -> Finding:
    name = "warehouse"
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            Warehouse(settings, makes_database=False) as warehouse,
        ):
            await warehouse.ping()
            [(version,)] = await warehouse.fetch(_VERSION)
            try:
                applied = {str(row[0]) for row in await warehouse.fetch(_APPLIED)}
            except WarehouseError:
                applied = set()
            denied = await _denied(warehouse, settings, processes)
    except TimeoutError:
        return Finding(name, "fail", f"no answer within {TIMEOUT_S:g} s", SEE_LOG)
    except WarehouseError as error:
        remedy = warehouse_remedy(error, is_remote=_is_remote(settings))
        detail = str(error)
        if reason := network_reason(error):
            detail = f"no answer at {address_of(warehouse_url(settings))} ({reason})"
        return Finding(name, "fail", detail, remedy)
    missing = [migration for migration, _ in migrations() if migration not in applied]
    if missing:
        return Finding(name, "fail", f"{', '.join(missing)} not applied", "`sluice setup`")
    if denied:
        remedy = "docs/clickhouse.md has the statements; `sluice doctor --for` leaves out others"
        return Finding(name, "fail", f"not granted: {'; '.join(denied)}", remedy)
    return Finding(name, "ok", f"ClickHouse {version}, {len(applied)} migrations applied")


async def _denied(
    warehouse: Warehouse, settings: Settings, processes: Collection[str]
) -> list[str]:
    """Return the rights that are missing; none where the server is too old to be asked."""
    database = urlsplit(warehouse_url(settings)).path.strip("/") or "default"
    missing = []
    for right, where in needed(processes, database):
        ask = Query("doctor_grant", f"CHECK GRANT {right} ON {where}")
        try:
            [(is_granted,)] = await warehouse.fetch(ask)
        except WarehouseUnavailableError:
            raise
        except WarehouseError:
            return []
        if not int(is_granted):
            missing.append(f"{right} ON {where}")
    return missing


def _is_remote(settings: Settings) -> bool:
    return bool(settings.warehouse_url.get_secret_value())


async def _worker(url: str) -> Finding:
    status = await _get(f"{url}/status")
    if isinstance(status, str):
        remedy = f"{RUN}, or set SLUICE_WORKER_URL"
        return Finding("worker", "fail", f"no answer at {url} ({status})", remedy)
    try:
        destinations = msgspec.convert(status, WorkerStatus).destinations
    except msgspec.ValidationError:
        return Finding("worker", "fail", f"no answer at {url} ({NOT_SLUICE})", RUN)
    ill = {name: each for name, each in destinations.items() if each.state != "ok"}
    waiting = [
        f"{name}: {trouble}" for name, each in destinations.items() for trouble in each.troubles
    ]
    more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
    for name, each in ill.items():
        if each.detail:
            return Finding("worker", "fail", f"{name} gets no events: {each.detail}")
    if ill:
        slow = [
            f"{name} ({each.backlog_age_s:.0f} s behind, breaker {each.breaker})"
            for name, each in ill.items()
        ]
        remedy = "see that the destination answers"
        why = f"; {waiting[0]}{more}" if waiting else ""
        return Finding("worker", "warn", f"degraded: {', '.join(slow)}{why}", remedy)
    if waiting:
        remedy = "docs/amplitude.md says what each reason means; nothing is dropped meanwhile"
        return Finding("worker", "warn", f"{waiting[0]}{more}", remedy)
    return Finding("worker", "ok", f"serves at {url}")


async def _gateway(url: str) -> Finding:
    health = await _get(f"{url}/api/ingestion/health")
    if isinstance(health, str):
        return Finding("gateway", "fail", f"no answer at {url} ({health})", RUN)
    ill = [f"{name} {word}" for name, word in health.items() if word != "ok"]
    if not ill:
        return Finding("gateway", "ok", f"serves at {url}")
    detail, since = _why(await _get(f"{url}/readyz"))
    said = f"health: {', '.join(ill)}" + (f"; {detail}" if detail else "")
    return Finding("gateway", "warn", said, "see the lines above", since)


def _why(ready: dict[str, Any] | str) -> tuple[str, str | None]:
    """Return why the gateway's queue is not well, and since when; nothing where it does not say."""
    queue = ready.get("queue") if isinstance(ready, dict) else None
    if not isinstance(queue, dict) or queue.get("condition", "ok") == "ok":
        return "", None
    since = queue.get("since")
    if isinstance(since, int | float):
        try:
            since = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        except (OverflowError, ValueError, OSError):
            since = None
    return str(queue.get("detail", "")), since if isinstance(since, str) else None


async def _get(url: str) -> dict[str, Any] | str:
    """Return the answer, or in words why there is none that can be used."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return msgspec.json.decode(await answer.read(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):  # the last where it is nested too deeply
        return NOT_SLUICE
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return reason_of(error)
