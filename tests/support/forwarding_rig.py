"""A worker that forwards to a project of the simulated Amplitude, in the test's process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from sluice.core.errors import WarehouseError
from sluice.core.event import Event
from sluice.tenants import TenantsFile
from sluice.warehouse.queries import Query
from tests.support.amplitude import AmplitudeProject
from tests.support.poll import poll_until
from tests.support.worker_rig import TENANT, Place, Rig

WAITS = {
    "amplitude_throttle_wait_s": 0.3,
    "amplitude_quota_wait_s": 0.3,
    "amplitude_key_wait_s": 0.3,
}
"""As short as tests can be; a day's quota is an hour by default."""


@dataclass(slots=True)
class ForwardingRig:
    """A rig whose tenant forwards to a project."""

    rig: Rig
    amplitude: AmplitudeProject

    @property
    def tenants(self) -> TenantsFile:
        """Edits who forwards and what."""
        return TenantsFile(self.rig.settings.tenants_path)

    def add_tenant(self, slug: str, api_key: str = "", **properties: str) -> None:
        """Make a tenant; without a key it does not forward."""
        self.tenants.add_tenant(slug)
        if api_key:
            self.set(slug, api_key=api_key, **properties)

    def set(self, slug: str = TENANT, **properties: str) -> None:
        """Set ``amplitude.*`` properties of a tenant."""
        for name, text in properties.items():
            self.tenants.set_value(slug, f"amplitude.{name}", text)

    async def backlog(self) -> int:
        """Return how many envelopes of forwarding are not acknowledged."""
        return (await self.rig.queue.backlog("amplitude")).messages

    async def drained(self, *, within_s: float = 30) -> None:
        """Wait until all envelopes are acknowledged by both destinations."""

        async def is_empty() -> bool:
            return await self.backlog() == 0

        await poll_until(is_empty, within_s=within_s, what="the backlog is empty")
        await self.rig.drained(within_s=within_s)

    async def fates(self, tenant: str = TENANT) -> dict[str, tuple[str, str, str]]:
        """Return outcome, reason and detail of each event, by its id."""
        rows = await self.rig.warehouse.fetch(
            Query(
                "test",
                "SELECT toString(event_id), outcome, reason, detail FROM outcomes FINAL"
                " WHERE tenant = {tenant:String} AND destination = 'amplitude'",
            ),
            tenant=tenant,
        )
        return {event_id: (outcome, reason, detail) for event_id, outcome, reason, detail in rows}

    async def outcomes(self, events: Sequence[Event]) -> list[str]:
        """Return what became of these events; empty for one of which nothing is said."""
        fates = await self.fates(events[0].tenant)
        return [fates.get(event.event_id, ("",))[0] for event in events]

    async def become(self, outcome: str, *events: Event, within_s: float = 30) -> None:
        """Wait until each of these events has this outcome."""
        last: list[str] = []

        async def have() -> bool:
            nonlocal last
            with suppress(WarehouseError):  # tables are made when the worker first needs them
                last = await self.outcomes(events)
            return set(last) == {outcome}

        try:
            _: bool = await poll_until(have, within_s=within_s)
        except TimeoutError as error:
            error.add_note(f"not all are {outcome}: {last}")
            raise

    async def taken(self, user: str = "") -> list[str]:
        """Return the ids of the events that Amplitude took, in order; of one user or of all."""
        return [
            row["insert_id"]
            for row in await self.amplitude.taken()
            if row["insert_id"] != "sluice-probe" and user in ("", row["user_id"])
        ]

    async def status(self, address: str, tenant: str | None = None) -> dict[str, Any]:
        """Return what a worker says of forwarding, to everybody or to one tenant."""
        query = {} if tenant is None else {"tenant": tenant}
        async with self.amplitude.session.get(f"{address}/status", params=query) as answer:
            found: dict[str, Any] = msgspec.json.decode(await answer.read())
        one: dict[str, Any] = found["destinations"]["amplitude"]
        return one

    async def has_parked(self, address: str, count: int) -> None:
        """Wait until so many events are in the lot."""

        async def are_parked() -> bool:
            return bool((await self.status(address))["parked_events"] == count)

        await poll_until(are_parked, within_s=30, what=f"{count} events are parked")


@asynccontextmanager
async def forwarding(
    place: Place, amplitude: AmplitudeProject, **settings: object
) -> AsyncIterator[ForwardingRig]:
    """Open a rig whose tenant forwards; no worker runs yet."""
    given = {"amplitude_url": amplitude.url, **WAITS, **settings}
    async with place.rig(**given) as rig:
        opened = ForwardingRig(rig, amplitude)
        opened.add_tenant(TENANT, amplitude.api_key)
        yield opened


def ids(events: Sequence[Event]) -> list[str]:
    """Return the ids of events."""
    return [event.event_id for event in events]
