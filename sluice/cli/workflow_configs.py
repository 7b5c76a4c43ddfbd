"""``sluice workflow configs`` and ``configure``: what a tenant may run, and with what."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.options import AsJson, DataDir, Slug, print_json
from sluice.cli.plain import plain
from sluice.cli.workflow_inputs import RULE, assigned, value_of
from sluice.core.errors import ConfigError
from sluice.core.tenant import Tenant
from sluice.core.workflow_settings import PROPERTIES, check_input, parse_setting
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile, unknown_tenant
from sluice.workflows.catalogue import Catalogue

if TYPE_CHECKING:
    from sluice.cli.workflow_state import ConfigState
    from sluice.workflows.core.inputs import InputSchema

ConfigId = Annotated[
    str, typer.Argument(metavar="CONFIG_ID", help="Such as cg-nightly.", show_default=False)
]

commands = typer.Typer()


@commands.command()
def configs(slug: Slug, *, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List what a tenant may run: what each needs, whether its secrets are there, and when it runs.

    Secrets are never shown. One from `env:` is looked for in the environment of this command, which
    need not be that of the worker.

    Example: `sluice workflow configs shop`
    """
    settings = load_settings(data_dir=data_dir)
    tenant = _tenant(settings, slug)
    found = asyncio.run(_states(settings, tenant))
    if as_json:
        print_json({"tenant": slug, "workflows": [_as_data(one) for one in found]})
        return
    for one in found:
        print(f"{one.config.config_id}: {one.config.name} ({one.config.type})")
        for line in _words(one):
            print(f"  {line}")


async def _states(settings: Settings, tenant: Tenant) -> "list[ConfigState]":
    from sluice.cli.workflow_state import states_of  # here, because it is heavy

    return await states_of(settings, tenant, datetime.now(UTC))


def _words(one: "ConfigState") -> list[str]:
    config = one.config
    words = [] if config.enabled else ["switched off"]
    if one.problem:
        words.append(plain(one.problem))
    words += map(plain, one.unknown.values())
    needs = [*(["a range"] if config.needs_range else []), *map(plain, one.needs)]
    if needs:
        words.append(f"needs {', '.join(needs)}")
    words += [f"secret {name}: {state}" for name, state in one.secrets.items()]
    if one.next_at is not None:
        words.append(f"next at {one.next_at:%Y-%m-%d %H:%M} UTC ({config.schedule})")
    return words or ["ready"]


def _as_data(one: "ConfigState") -> dict[str, Any]:
    config = one.config
    return {
        "config_id": config.config_id,
        **{name: getattr(config, name) for name in PROPERTIES},
        "inputs": config.inputs,
        "problem": one.problem or None,
        "needs": one.needs,
        "unknown_inputs": list(one.unknown),
        "secrets": {
            name: {"reference": config.secrets.get(name), "state": state}
            for name, state in one.secrets.items()
        },
        "next_at": one.next_at.strftime("%Y-%m-%dT%H:%M:%SZ") if one.next_at else None,
    }


@commands.command()
def configure(
    slug: Slug,
    config_id: ConfigId,
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE…",
            help=f"Keys: {', '.join(PROPERTIES)}, inputs.NAME, secrets.NAME; KEY= takes what was"
            f" set away. Of inputs.NAME: {RULE}",
            show_default=False,
        ),
    ] = None,
    *,
    is_removed: Annotated[
        bool, typer.Option("--remove", help="Take away everything that was set of it.")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Change a workflow of a tenant, or add one. Gateways and workers take it over by themselves.

    A secret is given as a reference, `env:NAME`, `file:/PATH` or `tenant:amplitude.basic_auth`,
    never itself.

    Example: `sluice workflow configure shop cg-nightly type=arazzo.nightly
    document=nightly.arazzo.yaml 'schedule=15 3 * * *' secrets.apiKey=env:SHOP_KEY`
    """
    if bool(assignments) == is_removed:
        message = "give KEY=VALUE, or --remove."
        raise ConfigError(message)
    settings = load_settings(data_dir=data_dir)
    file = TenantsFile(settings.tenants_path)
    if is_removed:
        file.remove_workflow(slug, config_id)
    else:
        schema = asyncio.run(_schema(settings, _tenant(settings, slug), config_id))
        file.set_workflow(slug, config_id, dict(_change(one, schema) for one in assignments or []))
    [*found] = asyncio.run(_states(settings, _tenant(settings, slug)))
    now = next((one for one in found if one.config.config_id == config_id), None)
    if as_json:
        print_json({"tenant": slug, "workflow": _as_data(now) if now else None})
    elif now is None:
        print(f"{slug} has no workflow {config_id} now.")
    else:
        print(f"{slug} {config_id}: {'; '.join(_words(now))}.")


def _change(assignment: str, schema: "InputSchema | None") -> tuple[tuple[str, ...], object]:
    key, text = assigned(assignment, "KEY=VALUE")
    path = tuple(key.split(".", 1))
    if not text:
        if path[0] not in {*PROPERTIES, "inputs", "secrets"}:
            parse_setting(path, text)
        # An empty reference also takes away the one that a default configuration has.
        return path, "" if path[0] == "secrets" and len(path) > 1 else None
    if path[0] == "inputs" and len(path) > 1:
        if schema is not None and path[1] in schema.secrets:
            message = f"the input {path[1]} is secret: give secrets.{path[1]} a reference, such as"
            raise ConfigError(f"{message} env:NAME.")
        value = value_of(path[1], text, schema)
        check_input(path[1], value)
        return path, value
    return path, parse_setting(path, text.strip())


async def _schema(settings: Settings, tenant: Tenant, config_id: str) -> "InputSchema | None":
    config = tenant.workflows.get(config_id)
    if config is None:
        return None
    return (await Catalogue(settings.workflows_path).entry(tenant.slug, config)).schema


def _tenant(settings: Settings, slug: str) -> Tenant:
    path = settings.tenants_path
    tenant = TenantsFile(path).directory.by_slug.get(slug)
    if tenant is None:
        raise unknown_tenant(slug, path)
    return tenant
