"""A tenant of the runs API: a gateway of its own, and a warehouse that has no worker.

So rows can be put there in any state without anybody taking the run for a real one. The warehouse
is the shared stack's, with a database of its own; its tables are those of the migrations.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import jwt
import msgspec
import orjson
from yarl import URL

from sluice.core.envelope import split, unseal
from sluice.core.run_tasks import RunTask
from sluice.core.tokens import mint_read_token
from sluice.credentials import jwt_secret
from sluice.queue import open_queue
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from sluice.workflows.core.runs import Run, RunState, new_run_id, run_time
from tests.support.gateway import Gateway, running_gateway
from tests.support.poll import poll_until
from tests.support.segops import Answer, check_manners
from worker.encoding import frames

RUNS: Final = "/api/workflow/runs"
BOTH: Final = "read runs"
COHORT: Final = {"config_id": "og-cohort", "inputs": {"cohortId": "c1"}}
START: Final = datetime(2024, 2, 10, 12, tzinfo=UTC)
"""When the first run of ``a_run`` was made."""

# Columns that only the engine uses have defaults.
_ENGINE: Final = {"epoch": 1, "seq": 1}


def database_of(url: str, name: str = "runs_without_worker") -> str:
    """Return the address of another database of a warehouse: whose worker takes no runs of it."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def a_run(tenant: str, number: int = 0, **changes: Any) -> Run:
    """Return a run; a higher number is younger by a second."""
    at = START + timedelta(seconds=number)
    state: RunState = changes.get("state", "succeeded")
    is_over = state in {"succeeded", "failed", "canceled"}
    given: dict[str, Any] = {
        "tenant": tenant,
        "run_id": new_run_id(at, secrets.token_hex(8)),
        "config_id": "og-cohort",
        "type": "amplitude.export-cohort",
        "name": "Export a cohort",
        "workflow_id": "export-cohort-members",
        "source": "api",
        "state": state,
        "created_at": run_time(at),
        "ended_at": run_time(at + timedelta(minutes=1)) if is_over else None,
        "launched_version": "etv-20240210-43200-6AbCDE",
    }
    return Run(**{**given, **changes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """One tenant's client of the runs API."""

    gateway: Gateway
    slug: str
    warehouse: Warehouse

    def bearer(self, scope: str | None = BOTH, **claims: object) -> tuple[str, str]:
        """Return the header of a token; more claims are the person's."""
        return bearer_of(self.gateway.settings, self.slug, scope, **claims)

    async def ask(
        self,
        method: str,
        target: str,
        *headers: tuple[str, str],
        body: bytes | None = None,
        bearer: tuple[str, str] | None = None,
        is_patient: bool = True,
    ) -> Answer:
        """Send a request as ``fetch`` does, and check the manners of the answer."""
        answer = await self.fetch(
            method, target, *headers, body=body, bearer=bearer, is_patient=is_patient
        )
        check_manners(answer)
        if answer.status >= 400 and answer.body:
            assert set(answer.json) == {"status", "message", "request_id"}, answer
            assert answer.json["status"] == answer.status
            assert answer.json["request_id"] == answer.headers["X-Request-Id"]
        return answer

    async def fetch(
        self,
        method: str,
        target: str,
        *headers: tuple[str, str],
        body: bytes | None = None,
        bearer: tuple[str, str] | None = None,
        is_patient: bool = True,
    ) -> Answer:
        """Send a request and return whatever is answered.

        Args:
            method: As given.
            target: Path and query.
            headers: Beside the credential.
            body: As given.
            bearer: The credential, if not this tenant's; empty: none.
            is_patient: Whether to ask again while there are too many requests.
        """
        credential = self.bearer() if bearer is None else bearer
        given = [*headers, *([credential] if credential[0] else [])]

        async def sent() -> Answer | None:
            async with (
                aiohttp.ClientSession(skip_auto_headers=("Content-Type", "User-Agent")) as session,
                session.request(
                    method, URL(self.gateway.url + target, encoded=True), headers=given, data=body
                ) as found,
            ):
                answer = Answer(status=found.status, headers=found.headers, body=await found.read())
            return None if is_patient and answer.status == 429 else answer

        return await poll_until(sent, every_s=0.05, what="an answer within the rate")

    async def get(self, rest: str = "", *headers: tuple[str, str]) -> Answer:
        """Get the list or what is below it; ``rest`` follows the path."""
        return await self.ask("GET", RUNS + rest, *headers)

    async def listed(self, query: str = "") -> list[str]:
        """Return the ids of a page."""
        answer = await self.get(query)
        assert answer.status == 200, answer
        return [run["id"] for run in answer.json["data"]]

    async def refused(self, query: str, *words: str) -> None:
        """Check that a parameter is refused with these words."""
        answer = await self.get(query)
        assert (answer.status, answer.error_type) == (400, "run_parameter_invalid"), answer
        for word in words:
            assert word in answer.json["message"], answer

    async def start(self, body: object, *headers: tuple[str, str]) -> Answer:
        """Post a start."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.ask("POST", RUNS, *headers, body=data)

    async def stop(self, run_id: str) -> Answer:
        """Post a stop."""
        return await self.ask("POST", f"{RUNS}/{run_id}/stop", body=b"")

    async def insert(self, *runs: Run, version: int = 1) -> None:
        """Put runs into the warehouse, as a worker writes them."""
        rows = [{**msgspec.structs.asdict(run), "epoch": version, "seq": 1} for run in runs]
        await self._insert("workflow_runs", rows)

    async def insert_tasks(self, run: Run, *tasks: RunTask) -> None:
        """Put visits of steps into the warehouse, in order."""
        rows = [
            {
                **msgspec.structs.asdict(task),
                "tenant": run.tenant,
                "run_id": run.run_id,
                "position": position,
                "attempt": 1,
                "http_status": 200,
                **_ENGINE,
            }
            for position, task in enumerate(tasks)
        ]
        await self._insert("workflow_tasks", rows)

    async def _insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        await self.warehouse.insert_rows(table, frames(rows), columns=list(rows[0]))


def bearer_of(
    settings: Settings, tenant: str, scope: str | None, **claims: object
) -> tuple[str, str]:
    """Return the header of a token of a tenant."""
    secret = jwt_secret(settings)
    now = datetime.now(UTC)
    if scope is None or claims:
        whole = {"tenant": tenant, "exp": now + timedelta(minutes=5), **claims}
        if scope is not None:
            whole["scope"] = scope
        return ("Authorization", f"Bearer {jwt.encode(whole, secret, algorithm='HS256')}")
    token = mint_read_token(tenant, secret=secret, now=now, ttl_s=300, scope=scope)
    return ("Authorization", f"Bearer {token}")


@asynccontextmanager
async def running_runs(
    data_dir: Path, warehouse_url: str, *, slug: str = "", **overrides: object
) -> AsyncIterator[Runs]:
    """Serve the runs of a tenant, a new one unless it is named, until the block ends."""
    slug = slug or f"r-{secrets.token_hex(6)}"
    url = database_of(warehouse_url)
    settings = load_settings(data_dir=data_dir, warehouse_url=url)
    TenantsFile(settings.tenants_path).add_tenant(slug)
    async with Warehouse(settings) as warehouse:
        await migrate(warehouse)
        async with running_gateway(data_dir, warehouse_url=url, **overrides) as gateway:
            yield Runs(gateway=gateway, slug=slug, warehouse=warehouse)


async def commands(settings: Settings) -> list[dict[str, Any]]:
    """Return the commands that the queue of a stopped gateway holds."""
    async with open_queue(settings) as queue:
        deliveries = await queue.pull(
            "workflows", max_messages=1_000, max_bytes=10_000_000, lease_s=60, wait_s=0
        )
    return [
        orjson.loads(row) for delivery in deliveries for row in split(unseal(delivery.envelope))
    ]
