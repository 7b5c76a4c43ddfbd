"""``sluice workflow run``: starts a run through the gateway, or runs a file here and now."""

import asyncio
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sluice.cli.options import AsJson, DataDir, print_json
from sluice.cli.runs_api import Run, RunsApi
from sluice.cli.runs_target import TenantOption, TokenOption, UrlOption, api_of, known_slug
from sluice.cli.runs_view import head_of
from sluice.cli.runs_watch import WatchOption, watch_run
from sluice.cli.workflow_inputs import RULE, inputs_of
from sluice.core.errors import ConfigError
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from sluice.workflows.catalogue import Catalogue

if TYPE_CHECKING:
    from sluice.workflows.core.inputs import InputSchema

KEY_BYTES: Final = 16

commands = typer.Typer()


@commands.command()
def run(
    config_id: Annotated[
        str,
        typer.Argument(
            metavar="[CONFIG_ID]",
            help="What to run; `sluice workflow configs SLUG` lists them. None with --file.",
            show_default=False,
        ),
    ] = "",
    *,
    tenant: TenantOption = "",
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="KEY=VALUE", help=f"One input. {RULE}"),
    ] = None,
    inputs_file: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            metavar="FILE",
            help="Inputs as one JSON object; - for standard input.",
            show_default=False,
        ),
    ] = None,
    range_from: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Begin of the range, in UTC: 2026-04-25 or 2026-04-25T14:00.",
            show_default=False,
        ),
    ] = "",
    range_to: Annotated[
        str,
        typer.Option(
            "--to", metavar="TIME", help="Its end, exclusive.", show_default="24 h after --from"
        ),
    ] = "",
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="source reads and counts; refresh also writes the warehouse; full also sends.",
            show_default="as configured",
        ),
    ] = "",
    is_watched: WatchOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Run this Arazzo document here and now, without a gateway.",
            show_default=False,
        ),
    ] = None,
    workflow_id: Annotated[
        str,
        typer.Option(
            "--workflow", metavar="ID", help="With --file: which one of it.", show_default="first"
        ),
    ] = "",
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="With --file: the folder that sources must lie in.",
            show_default="that of FILE",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    secret_references: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="NAME=REF",
            help="With --file: where a secret input is: env:VARIABLE, file:PATH, or - for standard"
            " input.",
        ),
    ] = None,
    amplitude_url: Annotated[
        str,
        typer.Option(
            "--amplitude-url",
            metavar="URL",
            help="With --file: replaces the addresses of Amplitude (SLUICE_AMPLITUDE_URL).",
            show_default=False,
        ),
    ] = "",
    servers: Annotated[
        list[str] | None,
        typer.Option(
            "--server",
            metavar="SOURCE=URL",
            help="With --file: base address of a source, in the place of its own.",
        ),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="HOST:PORT",
            help="With --file: a private or loopback address that may be called.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="With --file: where large answers are put."),
    ] = Path(),
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Start a run of a tenant's workflow; with `--watch` show it until it ends.

    Ctrl-C ends the watching, not the run. With `--file` nothing else has to run, and nobody goes on
    with the run when the command ends.

    Exit status: 0 started, with `--watch` succeeded; 1 failed, canceled, or cannot be started now;
    2 wrong input, id, tenant or token.

    Example: `sluice workflow run og-cohort --tenant shop --input cohortId=c1 --watch`

    Example: `sluice workflow run --file flow.arazzo.yaml --input day=2026 --secret key=env:KEY`
    """
    if file is not None:
        # SLUICE_URL and SLUICE_TOKEN may be set for other commands.
        if config_id or tenant or inputs_file or range_from or range_to or mode:
            message = "--file runs a document alone: leave out CONFIG_ID, --tenant, --inputs,"
            raise ConfigError(f"{message} --from, --to and --mode.")
        from sluice.cli.workflow_file import Asked, run_file  # here, because it is heavy

        run_file(
            Asked(
                file=file,
                workflow_id=workflow_id,
                root=root,
                inputs=inputs or (),
                secrets=secret_references or (),
                amplitude_url=amplitude_url or None,
                servers=servers or (),
                allowed_hosts=allowed_hosts or (),
                out=out,
                as_json=as_json,
            )
        )
        return
    of_files = (workflow_id, root, secret_references, amplitude_url, servers, allowed_hosts)
    if not config_id or any(of_files):
        message = "give CONFIG_ID, or --file; --workflow, --root, --secret, --amplitude-url,"
        raise ConfigError(f"{message} --server and --allow-host go with --file.")
    given = inputs_of(inputs or [], inputs_file, _schema(config_id, tenant, token, data_dir))
    body: dict[str, Any] = {"config_id": config_id}
    body |= {"inputs": given} if given else {}
    for name, value in (("range_from", range_from), ("range_to", range_to), ("run_mode", mode)):
        body |= {name: value} if value else {}
    api = api_of(tenant, url, token, data_dir)
    started = asyncio.run(_start(api, body))
    if is_watched:
        watch_run(api, started, as_json=as_json)
    elif as_json:
        print_json(started)
    else:
        print(head_of(started, datetime.now(UTC)))
        print(f"sluice workflow show {started['id']} --tenant {started.get('tenant')} --watch")


def _schema(config_id: str, slug: str, token: str, data_dir: DataDir) -> "InputSchema | None":
    """Return what the inputs may be, where the tenant's settings are on this machine."""
    if token:
        return None
    settings = load_settings(data_dir=data_dir)
    slug = known_slug(settings, slug)
    tenant = TenantsFile(settings.tenants_path).directory.by_slug[slug]
    config = tenant.workflows.get(config_id)
    if config is None:
        return None
    return asyncio.run(Catalogue(settings.workflows_path).entry(slug, config)).schema


async def _start(api: RunsApi, body: dict[str, Any]) -> Run:
    async with api:
        return await api.start(body, key=secrets.token_hex(KEY_BYTES))
