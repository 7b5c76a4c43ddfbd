"""``sluice workflow run|runs|show|stop|files``: runs, by way of the gateway's API."""

import asyncio
import secrets
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console

from sluice.cli.options import AsJson, DataDir, print_json
from sluice.cli.runs_api import Run, RunsApi
from sluice.cli.runs_target import TenantOption, TokenOption, UrlOption, api_of, known_slug
from sluice.cli.runs_view import (
    ENDED,
    SUCCEEDED,
    drawn,
    ended_words,
    file_words,
    files_of,
    head_of,
    table_of,
    whole,
)
from sluice.cli.runs_watch import follow
from sluice.cli.workflow_inputs import RULE, inputs_of
from sluice.core.errors import ConfigError
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from sluice.workflows.catalogue import Catalogue
from sluice.workflows.core.inputs import InputSchema

NOT_SUCCEEDED: Final = 1
MAX_LIMIT: Final = 10_000
KEY_BYTES: Final = 16

_T = TypeVar("_T")
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, wf-….", show_default=False)]
Watch = Annotated[
    bool,
    typer.Option("--watch", help="Show the steps as they go, until the run ends."),
]

commands = typer.Typer()


@commands.command()
def run(
    config_id: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG_ID",
            help="What to run; `sluice workflow configs SLUG` lists them.",
            show_default=False,
        ),
    ],
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
    is_watched: Watch = False,
    url: UrlOption = "",
    token: TokenOption = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Start a run of a tenant's workflow; with `--watch` show it until it ends.

    Ctrl-C ends the watching, not the run.

    Exit status: 0 started, with `--watch` succeeded; 1 failed, canceled, or cannot be started now;
    2 wrong input, id, tenant or token.

    Example: `sluice workflow run og-cohort --tenant shop --input cohortId=c1 --watch`
    """
    given = inputs_of(inputs or [], inputs_file, _schema(config_id, tenant, token, data_dir))
    body: dict[str, Any] = {"config_id": config_id}
    body |= {"inputs": given} if given else {}
    for name, value in (("range_from", range_from), ("range_to", range_to), ("run_mode", mode)):
        body |= {name: value} if value else {}
    api = api_of(tenant, url, token, data_dir)
    started = _done(_start(api, body))
    if is_watched:
        _watch(api, started, as_json=as_json)
    elif as_json:
        print_json(started)
    else:
        print(head_of(started, datetime.now(UTC)))
        print(f"sluice workflow show {started['id']} --tenant {started.get('tenant')} --watch")


@commands.command()
def runs(
    *,
    tenant: TenantOption = "",
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            help="Only these: scheduled, started, 'in progress', running, stopping, succeeded,"
            " failed, canceled.",
        ),
    ] = None,
    run_type: Annotated[
        str, typer.Option("--type", help="Only of this type.", show_default=False)
    ] = "",
    created_from: Annotated[
        str,
        typer.Option(
            "--created-from", metavar="TIME", help="Created then or later.", show_default=False
        ),
    ] = "",
    created_to: Annotated[
        str,
        typer.Option("--created-to", metavar="TIME", help="Created before.", show_default=False),
    ] = "",
    ended_from: Annotated[
        str,
        typer.Option(
            "--ended-from", metavar="TIME", help="Ended then or later.", show_default=False
        ),
    ] = "",
    ended_to: Annotated[
        str,
        typer.Option("--ended-to", metavar="TIME", help="Ended before.", show_default=False),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="Runs at most, newest first.")
    ] = 20,
    url: UrlOption = "",
    token: TokenOption = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List a tenant's runs, newest first. Times are UTC and may be partial, such as 2026-04.

    Example: `sluice workflow runs --tenant shop --state failed --created-from 2026-04-25`
    """
    filters = [("state", one) for one in state or []]
    for name, value in (
        ("type", run_type),
        ("created_from", created_from),
        ("created_to", created_to),
        ("ended_from", ended_from),
        ("ended_to", ended_to),
    ):
        filters += [(name, value)] if value else []
    found, total = _done(_list(api_of(tenant, url, token, data_dir), filters, limit))
    if as_json:
        print_json({"data": found, "total": total})
        return
    if not found:
        print("No runs." if not filters else "No runs that are so.")
        return
    Console(markup=False).print(table_of(found, datetime.now(UTC)))
    if total is not None and total > len(found):
        print(f"{len(found):,} of {total:,}; --limit shows more.")


@commands.command()
def show(
    run_id: RunId,
    *,
    tenant: TenantOption = "",
    is_watched: Watch = False,
    url: UrlOption = "",
    token: TokenOption = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show a run: its state, steps, errors, inputs without secrets, outputs and files.

    Exit status: 0 shown, with `--watch` succeeded; 1 with `--watch` failed or canceled; 2 no such
    run.

    Example: `sluice workflow show wf-20260425-52331-x9E9U --tenant shop`
    """
    api = api_of(tenant, url, token, data_dir)
    found = _done(_show(api, run_id))
    if is_watched and found.get("state") not in ENDED:
        _watch(api, found, as_json=as_json)
        return
    if as_json:
        print_json(found)
    else:
        now = datetime.now(UTC)
        for line in whole(found, now):
            print(line)
        Console(markup=False).print(drawn(found, now, is_live=False))
    if is_watched:
        _exit_as(found)


@commands.command()
def stop(
    run_id: RunId,
    *,
    tenant: TenantOption = "",
    url: UrlOption = "",
    token: TokenOption = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Stop a run. The step that is running ends first; one that waits stops at once.

    Exit status: 0 it stops or has been stopped; 1 it had ended; 2 no such run.

    Example: `sluice workflow stop wf-20260425-52331-x9E9U --tenant shop`
    """
    found = _done(_stop(api_of(tenant, url, token, data_dir), run_id))
    if as_json:
        print_json(found)
    else:
        print(head_of(found, datetime.now(UTC)))


@commands.command()
def files(
    run_id: RunId,
    *,
    tenant: TenantOption = "",
    name: Annotated[
        str,
        typer.Option("--download", metavar="NAME", help="Fetch this file.", show_default=False),
    ] = "",
    target: Annotated[
        Path | None,
        typer.Option("--to", metavar="PATH", help="Where to put it.", show_default="NAME here"),
    ] = None,
    url: UrlOption = "",
    token: TokenOption = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List the files that a run left, or fetch one; its SHA-256 is compared with what the run says.

    Example: `sluice workflow files wf-20260425-52331-x9E9U --download members.csv --to c1.csv`
    """
    api = api_of(tenant, url, token, data_dir)
    found = files_of(_done(_show(api, run_id)))
    if not name:
        if as_json:
            print_json({"files": found})
            return
        for file in found:
            print(file_words(file))
        if not found:
            print("The run left no files, or has not ended.")
        return
    path = target or Path(name)
    if target is None and (path.name != name or path.exists()):
        message = f"{name} is there already: --to says where to put the file."
        raise ConfigError(message)
    said = next((file.sha256 for file in found if file.name == name), "")
    size, digest = _done(_download(api, run_id, name, path, said))
    if as_json:
        print_json({"path": str(path), "bytes": size, "sha256": digest})
    else:
        print(f"{path}  {size:,} bytes  {digest}")


def _watch(api: RunsApi, started: Run, *, as_json: bool) -> None:
    try:
        ended = _done(_follow(api, started, is_quiet=as_json))
    except KeyboardInterrupt:
        words = f"{started['id']} --tenant {started.get('tenant')}"
        print(
            f"The run goes on. `sluice workflow show {words} --watch` shows it again;"
            f" `sluice workflow stop {words}` stops it.",
            file=sys.stderr,
        )
        raise
    if as_json:
        print_json(ended)
    else:
        for line in ended_words(ended, datetime.now(UTC)):
            print(line)
    _exit_as(ended)


def _exit_as(run: Run) -> None:
    if run.get("state") != SUCCEEDED:
        raise typer.Exit(NOT_SUCCEEDED)


def _schema(config_id: str, slug: str, token: str, data_dir: DataDir) -> InputSchema | None:
    """Return what the inputs may be, where the tenant's settings are on this machine."""
    if token:
        return None
    settings = load_settings(data_dir=data_dir)
    slug = known_slug(settings, slug)
    tenant = TenantsFile(settings.tenants_path).directory.by_slug[slug]
    config = tenant.workflows.get(config_id)
    if config is None:
        return None
    return _done(Catalogue(settings.workflows_path).entry(slug, config)).schema


async def _start(api: RunsApi, body: dict[str, Any]) -> Run:
    async with api:
        return await api.start(body, key=secrets.token_hex(KEY_BYTES))


async def _list(
    api: RunsApi, filters: list[tuple[str, str]], limit: int
) -> tuple[list[Run], int | None]:
    async with api:
        return await api.runs(filters, limit, with_total=True)


async def _show(api: RunsApi, run_id: str) -> Run:
    async with api:
        return await api.show(run_id)


async def _stop(api: RunsApi, run_id: str) -> Run:
    async with api:
        return await api.stop(run_id)


async def _follow(api: RunsApi, started: Run, *, is_quiet: bool) -> Run:
    async with api:
        return await follow(api, started, is_quiet=is_quiet)


async def _download(
    api: RunsApi, run_id: str, name: str, path: Path, expected: str
) -> tuple[int, str]:
    async with api:
        return await api.download(run_id, name, path, expected=expected)


def _done(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)
