"""How each configuration of a tenant is: what it runs, what it lacks, when it starts by itself."""

import asyncio
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sluice.core.cron import next_time
from sluice.core.tenant import Tenant
from sluice.core.workflows import TYPES, WorkflowConfig
from sluice.settings import Settings
from sluice.workflows.catalogue import Catalogue, Entry
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan

THERE: Final = "there"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigState:
    """A configuration, and how it is now."""

    config: WorkflowConfig
    problem: str
    """Why it cannot be run; empty if it can."""
    needs: tuple[str, ...]
    """Inputs that a start has to give: neither settings nor schema have them."""
    secrets: dict[str, str]
    """``there``, or why not, by name of the input; never a secret."""
    next_at: datetime | None
    """When its schedule starts it."""


async def states_of(
    settings: Settings, tenant: Tenant, now: datetime, *, only: Collection[str] | None = None
) -> list[ConfigState]:
    """Return how each configuration of a tenant is; of some only, where that is asked."""
    catalogue = Catalogue(settings.workflows_path)
    return [
        await asyncio.to_thread(
            _state, await catalogue.entry(tenant.slug, tenant.workflows[config_id]), tenant, now
        )
        for config_id in sorted(tenant.workflows)
        if only is None or config_id in only
    ]


def _state(entry: Entry, tenant: Tenant, now: datetime) -> ConfigState:
    config, schema = entry.config, entry.schema
    secrets = {name: _secret(of, tenant) for name, of in sorted(config.secrets.items())}
    needs: list[str] = []
    if schema is not None:
        given = config.inputs.keys() | schema.defaults.keys() | config.secrets.keys()
        lacking = sorted(schema.required - given)
        needs += [name for name in lacking if name not in schema.secrets]
        secrets |= {
            name: f"not set: `sluice workflow configure {tenant.slug} {config.config_id}"
            f" secrets.{name}=env:NAME`"
            for name in lacking
            if name in schema.secrets
        }
    return ConfigState(
        config=config,
        problem=entry.problem or _unplannable(entry),
        needs=tuple(needs),
        secrets=secrets,
        next_at=next_time(config.schedule, now) if config.schedule and config.enabled else None,
    )


def _unplannable(entry: Entry) -> str:
    """Return why the worker would refuse the document; the gateway does not look that far."""
    if entry.opened is None:
        return ""
    made = plan(entry.opened.document, entry.opened.sources, workflow_id=entry.workflow_id)
    if isinstance(made, Plan):
        return ""
    one = min(made, key=lambda refusal: (refusal.line, refusal.column))
    known = TYPES.get(entry.config.type)
    name = known.document if known else entry.config.document
    more = f" (and {len(made) - 1} more)" if len(made) > 1 else ""
    return f"{name} is refused: line {one.line}, {one.path} {one.reason}{more}"


def _secret(reference: str, tenant: Tenant) -> str:
    kind, _, name = reference.partition(":")
    if kind == "env":
        return THERE if os.environ.get(name) else f"{name} is not in the environment here"
    if kind == "file":
        path = Path(name)
        is_there = path.is_file() and os.access(path, os.R_OK)
        return THERE if is_there else f"{name} cannot be read here"
    amplitude = tenant.amplitude
    if amplitude is None:
        return f"`sluice tenant set {tenant.slug} amplitude.api_key=…` is missing"
    if name != "amplitude.api_key" and not amplitude.secret_key:
        return f"`sluice tenant set {tenant.slug} amplitude.secret_key=…` is missing"
    return THERE
