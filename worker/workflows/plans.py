"""Plans of documents, made off the event loop, within a time, and kept while they are used."""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sluice.core.tenant import Tenant
from sluice.settings import Settings
from sluice.workflows.catalogue import Entry
from sluice.workflows.loading import Opened
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan

MAX_PLANS: Final = 200
PLANNING_TIMEOUT_S: Final = 20.0
"""A document within its bounds takes up to 4 s, on a machine that does nothing else."""
_Key = tuple[str, str, str, str]


class Plans:
    """The plans of a process.

    Args:
        settings: Say where Amplitude is.
    """

    def __init__(self, settings: Settings) -> None:
        self._amplitude_url = settings.amplitude_url or None
        self._kept: OrderedDict[_Key, Plan | str] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="workflow-plans")
        self._lock = asyncio.Lock()

    async def planned_for(self, entry: Entry, tenant: Tenant) -> Plan | str:
        """Return the plan of a configuration for a tenant, or why there is none, as a sentence."""
        if entry.opened is None:
            return entry.problem or f"The configuration {entry.config.config_id} is no document."
        region = tenant.amplitude.region if tenant.amplitude is not None else "us"
        key = (tenant.slug, entry.config.config_id, entry.digest, region)
        addresses = Addresses(region=region, amplitude_url=self._amplitude_url)
        try:
            # Waiting for others' documents is no fault of this one.
            async with self._lock, asyncio.timeout(PLANNING_TIMEOUT_S):
                return await self._planned(key, entry.opened, entry.workflow_id, addresses)
        except TimeoutError:
            return f"Reading the document took longer than {PLANNING_TIMEOUT_S:g} s."

    async def _planned(
        self, key: _Key, opened: Opened, workflow_id: str, addresses: Addresses
    ) -> Plan | str:
        kept = self._kept.get(key)
        if kept is None:
            kept = await asyncio.get_running_loop().run_in_executor(
                self._thread, _plan, opened, workflow_id, addresses
            )
            self._kept[key] = kept
            if len(self._kept) > MAX_PLANS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return kept

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _plan(opened: Opened, workflow_id: str, addresses: Addresses) -> Plan | str:
    made = plan(opened.document, opened.sources, workflow_id=workflow_id, addresses=addresses)
    if isinstance(made, Plan):
        return made
    first = min(made, key=lambda refusal: (refusal.line, refusal.column))
    where = first.path or "the document"
    return f"The document is refused: line {first.line}, {where} {first.reason}."
