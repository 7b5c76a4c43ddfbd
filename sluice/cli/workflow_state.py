"""How each configuration of a tenant is: what it runs, what it lacks, when it starts by itself."""

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sluice.cli.plain import plain
from sluice.cli.run_lock import holder
from sluice.core.cron import next_time
from sluice.core.tenant import Tenant
from sluice.core.workflows import WorkflowConfig
from sluice.settings import Settings
from sluice.workflows.catalogue import Catalogue, Entry
from worker.workflows.plans import Plans
from worker.workflows.secrets import Resolver, SecretMissingError

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
    unknown: dict[str, str]
    """What is said of inputs of the settings that the schema does not declare, by name."""
    stray: str
    """The setting that is the problem, where taking it away helps."""
    next_at: datetime | None
    """When its schedule starts it."""


async def states_of(
    settings: Settings, tenant: Tenant, now: datetime, *, only: Collection[str] | None = None
) -> list[ConfigState]:
    """Return how each configuration of a tenant is; of some only, where that is asked.

    Documents are planned and secrets are looked for by what the worker does it with.
    """
    catalogue = Catalogue(settings.workflows_path)
    # A `sluice run` takes the simulator's key away unless it simulates, so who has it may use it.
    is_simulated = bool(settings.amplitude_url) or holder(settings.data_dir) is not None
    resolver = Resolver(lambda: tenant.amplitude, is_simulated=is_simulated)
    found = []
    with closing(Plans(settings)) as plans:
        for config_id in sorted(tenant.workflows):
            if only is not None and config_id not in only:
                continue
            config = tenant.workflows[config_id]
            entry = await catalogue.entry(tenant.slug, config)
            problem = entry.problem
            if entry.opened is not None:
                planned = await plans.planned_for(entry, tenant)
                problem = planned if isinstance(planned, str) else ""
            problem = _located(problem, config, settings, tenant.slug)
            secrets = {
                name: await _secret(reference, resolver, tenant.slug)
                for name, reference in sorted(config.secrets.items())
            }
            found.append(_state(entry, problem, secrets, tenant.slug, now))
    return found


def _located(problem: str, config: WorkflowConfig, settings: Settings, slug: str) -> str:
    """Return a problem with the place of the document: the API names the file alone."""
    sentence = problem.removesuffix(".")
    if not sentence or not config.document:
        return sentence
    return f"{sentence} ({settings.workflows_path / slug / config.document})"


def _state(
    entry: Entry, problem: str, secrets: dict[str, str], slug: str, now: datetime
) -> ConfigState:
    config, schema = entry.config, entry.schema
    needs: list[str] = []
    unknown: list[str] = []
    if schema is not None:
        given = config.inputs.keys() | schema.defaults.keys() | config.secrets.keys()
        lacking = sorted(schema.required - given)
        needs += [name for name in lacking if name not in schema.secrets]
        unknown = sorted(config.inputs.keys() - schema.names) if schema.names else []
        declared = {name: one for name, one in config.inputs.items() if name not in unknown}
        wrong = schema.problems(schema.filled(declared), schema.secrets)
        misfits = [f"/inputs{one.pointer} {one.reason}" for one in wrong if one.pointer]
        problem = problem or "; ".join(misfits)
        if wrong and not misfits and not needs:
            needs.append(f"one of the inputs {', '.join(sorted(schema.names))}")
        secrets |= {
            name: f"not set: `sluice workflow configure {slug} {config.config_id}"
            f" secrets.{name}=env:NAME`"
            for name in lacking
            if name in schema.secrets
        }
    return ConfigState(
        config=config,
        problem=problem,
        needs=tuple(needs),
        unknown={
            name: f"{entry.workflow_id} has no input {name}; known are {schema.known()}"
            for name in unknown
            if schema is not None
        },
        stray=entry.stray,
        secrets=secrets,
        next_at=next_time(config.schedule, now) if config.schedule and config.enabled else None,
    )


async def _secret(reference: str, resolver: Resolver, slug: str) -> str:
    """Return whether a secret is there, as the worker would find it; what it is goes nowhere."""
    try:
        await resolver.resolve([reference])
    except SecretMissingError as error:
        if error.variable:
            return plain(
                f"{reference} is not in this shell's environment; the worker reads its own"
            )
        return plain(str(error).removeprefix("the secret ").replace(" SLUG ", f" {slug} "))
    return THERE
