"""What the hosts of runs read and write beside the transitions, as values."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sluice.warehouse import erasures, run_upkeep
from sluice.warehouse.client import External, Warehouse
from sluice.warehouse.queries import Query
from sluice.workflows.core.runs import RUN_ID, Run, Stop
from worker.encoding import frames
from worker.workflows.core.claims import Claim, Sign
from worker.workflows.core.progress import Key, RunRow

DUPLICATE: Final = "sluice.workflow.run/duplicate"
SAME_REQUEST_DAYS: Final = 7
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


class Store:
    """The tables of workflow runs."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    async def live(self, *, limit: int) -> list[tuple[Key, bool]]:
        """Return the runs that have not ended, of all tenants in turn, and which are ``scheduled``.

        Raises:
            WarehouseError: As all methods of this class.
        """
        rows = await self._warehouse.fetch(run_upkeep.LIVE_RUNS, limit=limit)
        return [((tenant, run_id), state == "scheduled") for tenant, run_id, state in rows]

    async def live_among(self, keys: Iterable[Key]) -> list[tuple[Key, bool]]:
        """Return which of the runs have not ended, and which of these are ``scheduled``."""
        rows = await self._about(run_upkeep.LIVE_AMONG, list(keys), is_bounded=True)
        return [((tenant, run_id), state == "scheduled") for tenant, run_id, state in rows]

    async def forget_people(self) -> None:
        """Delete what still names people of runs that have ended."""
        [(found,)] = await self._warehouse.fetch(erasures.NAMING_ROWS)
        if found:
            await self._warehouse.run(erasures.FORGET_RUNS)

    async def rows(self, keys: Iterable[Key]) -> list[RunRow]:
        """Return the newest rows of runs."""
        found = await self._about(run_upkeep.RUN_ROWS, list(keys), is_bounded=True)
        names = run_upkeep.RUN_COLUMNS
        return [RunRow(**dict(zip(names, row, strict=True))) for row in found]

    async def claims(self, keys: Iterable[Key]) -> list[Claim]:
        """Return all claims to runs."""
        rows = await self._about(run_upkeep.CLAIMS, list(keys))
        return [
            Claim((tenant, run_id), epoch, host_id, bool(is_yielded))
            for tenant, run_id, epoch, host_id, is_yielded in rows
        ]

    async def claim(
        self, epochs: Mapping[Key, int], host_id: str, *, is_yielded: bool = False
    ) -> None:
        """Claim runs, or yield them."""
        rows = [
            {
                "tenant": tenant,
                "run_id": run_id,
                "epoch": epoch,
                "host_id": host_id,
                "is_yielded": int(is_yielded),
            }
            for (tenant, run_id), epoch in epochs.items()
        ]
        await self._insert("workflow_claims", rows)

    async def signs(self) -> list[Sign]:
        """Return the last signs of life of all hosts."""
        rows = await self._warehouse.fetch(run_upkeep.HOSTS)
        return [Sign(host_id, age_ms / 1000, bool(stopped)) for host_id, age_ms, stopped in rows]

    async def give_sign(self, host_id: str, *, is_stopped: bool = False) -> None:
        """Say that a host lives, or that it stopped."""
        await self._insert("workflow_hosts", [{"host_id": host_id, "is_stopped": int(is_stopped)}])

    async def stopped(self, keys: Iterable[Key]) -> set[Key]:
        """Return which of the runs somebody asked to stop."""
        rows = await self._about(run_upkeep.STOPS, list(keys))
        return {(tenant, run_id) for tenant, run_id in rows}

    async def add_stops(self, stops: Sequence[Stop]) -> None:
        """Note that runs are to stop."""
        rows = [
            {
                "tenant": stop.tenant,
                "run_id": stop.run_id,
                "asked_at": stop.asked_at,
                "principal_name": stop.principal_name,
            }
            for stop in stops
        ]
        await self._insert("workflow_stops", rows)

    async def add_runs(self, runs: Sequence[RunRow]) -> None:
        """Note runs that were asked for."""
        if runs:
            data = await asyncio.to_thread(frames, runs)
            columns = list(RunRow.__struct_fields__)
            await self._warehouse.insert_rows("workflow_runs", data, columns=columns)

    async def runs_of(
        self, requests: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], list[str]]:
        """Return the runs that each request began, the first one first, by tenant and key."""
        wanted = sorted(set(requests))
        if not wanted:
            return {}
        rows = await self._warehouse.fetch(
            run_upkeep.SAME_REQUESTS,
            external=_external(wanted),
            days=SAME_REQUEST_DAYS,
            duplicate=DUPLICATE,
        )
        return {(tenant, key): list(run_ids) for tenant, key, run_ids in rows}

    async def keep_document(self, digest: str, texts: Mapping[str, bytes]) -> None:
        """Keep the texts that a run began with."""
        rows = [
            {"digest": digest, "name": name, "text": text.decode()} for name, text in texts.items()
        ]
        await self._insert("workflow_documents", rows)

    async def document(self, digest: str) -> dict[str, bytes]:
        """Return the texts of a digest by name; none where they are not kept."""
        rows = await self._warehouse.fetch(run_upkeep.DOCUMENT_TEXTS, digest=digest)
        return {str(name): str(text).encode() for name, text in rows}

    async def schedules(self) -> dict[tuple[str, str, str], datetime]:
        """Return from when on each schedule has times to be run, by tenant, id and text."""
        rows = await self._warehouse.fetch(run_upkeep.SCHEDULES)
        return {(tenant, config, text): _moment(at) for tenant, config, text, at in rows}

    async def add_schedules(self, known: Mapping[tuple[str, str, str], datetime]) -> None:
        """Note from when on schedules have times to be run."""
        rows = [
            {
                "tenant": tenant,
                "config_id": config,
                "schedule": text,
                "seen_at": at.astimezone(UTC).replace(tzinfo=None).isoformat("T", "milliseconds"),
            }
            for (tenant, config, text), at in known.items()
        ]
        await self._insert("workflow_schedules", rows)

    async def last_scheduled(self) -> dict[tuple[str, str], datetime]:
        """Return for which time each configuration was last run by its schedule."""
        rows = await self._warehouse.fetch(run_upkeep.SCHEDULED_RUNS)
        return {(tenant, config): _moment(at) for tenant, config, at in rows}

    async def live_of(self, tenant: str, config_id: str) -> int:
        """Return how many runs of a configuration have not ended."""
        rows = await self._warehouse.fetch(
            run_upkeep.LIVE_OF_CONFIG, tenant=tenant, config_id=config_id
        )
        return int(rows[0][0])

    async def kept_among(self, keys: Iterable[Key]) -> set[Key]:
        """Return which of the runs are still kept."""
        rows = await self._about(run_upkeep.KEPT_AMONG, list(keys), is_bounded=True)
        return {(tenant, run_id) for tenant, run_id in rows}

    async def _about(
        self, query: Query, keys: list[Key], *, is_bounded: bool = False
    ) -> list[tuple[Any, ...]]:
        if not keys:
            return []
        params: dict[str, object] = {}
        if is_bounded:
            earliest, latest = _created_within(keys)
            params = {"earliest": earliest, "latest": latest}
        return await self._warehouse.fetch(query, external=_external(keys), **params)

    async def _insert(self, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        if rows:
            data = await asyncio.to_thread(frames, rows)
            await self._warehouse.insert_rows(table, data, columns=list(rows[0]))


def new_row(run: Run) -> RunRow:
    """Return the row with which a run is asked for."""
    return RunRow(**{name: getattr(run, name) for name in Run.__struct_fields__})


def created_of(run_id: str) -> datetime | None:
    """Return the second in which a run was created, as its id says; None if it says none."""
    if not RUN_ID.fullmatch(run_id):
        return None
    _, day, second, _ = run_id.split("-")
    try:
        return datetime.strptime(f"{day}+0000", "%Y%m%d%z") + timedelta(seconds=int(second))
    except ValueError:
        return None


def _created_within(keys: Iterable[Key]) -> tuple[int, int]:
    """Return Unix seconds between which runs were created."""
    moments = [at.timestamp() for _, run_id in keys if (at := created_of(run_id)) is not None]
    if not moments:
        return 0, 0
    return max(0, int(min(moments))), max(0, int(max(moments)) + 1)


def _external(keys: Sequence[tuple[str, str]]) -> External:
    lines = [f"{one.translate(_ESCAPES)}\t{two.translate(_ESCAPES)}\n" for one, two in keys]
    return External(name="wanted", structure=run_upkeep.WANTED, data="".join(lines).encode())


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
