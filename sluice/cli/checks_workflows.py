"""What ``sluice doctor`` says of workflows: whether each configuration could start and run.

What nobody configured is not looked at: who does not use Amplitude lacks its keys rightly.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from sluice.cli.findings import Finding
from sluice.cli.plain import plain
from sluice.cli.workflow_state import THERE, ConfigState, states_of
from sluice.core.errors import ConfigError
from sluice.core.tenant import Tenant
from sluice.core.workflows import DEFAULTS
from sluice.settings import Settings
from sluice.tenants import TenantsFile

_SEE: Final = "`sluice workflow configs {}` shows all of them"


async def check_workflows(settings: Settings) -> list[Finding]:
    """Return a finding for each configuration that is not well, and one where all are."""
    try:
        tenants = TenantsFile(settings.tenants_path).directory.by_slug.values()
    except ConfigError:
        return []  # the check of the tenants says why
    now = datetime.now(UTC)
    findings: list[Finding] = []
    for tenant in tenants:
        own = _own(tenant)
        if own:
            states = await states_of(settings, tenant, now, only=own)
            findings += [one for state in states for one in _findings(tenant, state)]
            findings += [] if any(map(_is_ill, states)) else [_all_well(tenant, states)]
    return findings


def _own(tenant: Tenant) -> frozenset[str]:
    """Return the ids of what somebody configured and did not switch off."""
    return frozenset(
        config_id
        for config_id, config in tenant.workflows.items()
        if config.enabled and config != DEFAULTS.get(config_id)
    )


def _is_ill(state: ConfigState) -> bool:
    lacks = any(one != THERE for one in state.secrets.values())
    return bool(state.problem or state.unknown) or lacks or _cannot_start_itself(state)


def _cannot_start_itself(state: ConfigState) -> bool:
    return bool(state.config.schedule and state.needs)


def _findings(tenant: Tenant, state: ConfigState) -> Iterator[Finding]:
    name = f"workflow {state.config.config_id} of {tenant.slug}"
    see = _SEE.format(tenant.slug)
    if state.problem:
        remedy = "`sluice workflow lint FILE` says what is wrong; it is read again by itself"
        if state.stray:
            change = f"{tenant.slug} {state.config.config_id} {plain(state.stray)}="
            remedy = f"`sluice workflow configure {change}` takes it away"
        yield Finding(name, "fail", plain(state.problem), remedy)
        return
    for unknown, said in state.unknown.items():
        change = f"{tenant.slug} {state.config.config_id} inputs.{plain(unknown)}="
        remedy = f"`sluice workflow configure {change}` takes it away"
        yield Finding(name, "warn", plain(said), remedy)
    for secret, said in state.secrets.items():
        if said != THERE:
            yield Finding(name, "warn", f"secret {plain(secret)}: {said}", see)
    if _cannot_start_itself(state):
        needs = ", ".join(map(plain, state.needs))
        remedy = "give them as inputs.NAME with `sluice workflow configure`, or take it away"
        yield Finding(name, "warn", f"its schedule cannot start it: needs {needs}", remedy)


def _all_well(tenant: Tenant, states: list[ConfigState]) -> Finding:
    times = [state.next_at for state in states if state.next_at is not None]
    following = f"; next at {min(times):%Y-%m-%d %H:%M} UTC" if times else ""
    return Finding(f"workflows of {tenant.slug}", "ok", f"{len(states)} configured{following}")
