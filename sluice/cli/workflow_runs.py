"""``sluice workflow runs``, ``show``, ``stop`` and ``files``, by way of the gateway's API."""

import asyncio
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer

from sluice.cli.options import AsJson, DataDir, print_json
from sluice.cli.plain import plain
from sluice.cli.runs_api import Run, RunsApi
from sluice.cli.runs_target import TenantOption, TokenOption, UrlOption, api_of
from sluice.cli.runs_view import (
    ENDED,
    file_words,
    files_of,
    head_of,
    list_lines,
    whole,
)
from sluice.cli.runs_watch import WatchOption, exit_as, watch_run
from sluice.core.errors import ConfigError

NOT_SUCCEEDED: Final = 1
MAX_LIMIT: Final = 10_000
KEY_BYTES: Final = 16
STDOUT: Final = "-"

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, wf-….", show_default=False)]

commands = typer.Typer()


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
    found, total = asyncio.run(_list(api_of(tenant, url, token, data_dir), filters, limit))
    if as_json:
        print_json({"data": found, "total": total})
        return
    if not found:
        print("No runs." if not filters else "No runs that are so.")
        return
    for line in list_lines(found, datetime.now(UTC)):
        print(line)
    if total is not None and total > len(found):
        print(f"{len(found):,} of {total:,}; --limit shows more.")


@commands.command()
def show(
    run_id: RunId,
    *,
    tenant: TenantOption = "",
    is_watched: WatchOption = False,
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
    found = asyncio.run(_show(api, run_id))
    if is_watched and found.get("state") not in ENDED:
        watch_run(api, found, as_json=as_json)
        return
    if as_json:
        print_json(found)
    else:
        for line in whole(found, datetime.now(UTC)):
            print(line)
    if is_watched:
        exit_as(found)


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
    found = asyncio.run(_stop(api_of(tenant, url, token, data_dir), run_id))
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
        typer.Option(
            "--to",
            metavar="PATH",
            help="Where to put it: a file, a folder, or - for standard output.",
            show_default="NAME here",
        ),
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
    run = asyncio.run(_show(api, run_id))
    found = files_of(run)
    if not name:
        if as_json:
            print_json({"files": found})
            return
        for file in found:
            print(file_words(file))
        if not found:
            has_ended = run.get("state") in ENDED
            print("The run left no files." if has_ended else "The run has no files yet.")
        return
    said = next((file.sha256 for file in found if file.name == name), "")
    if str(target) == STDOUT:
        if as_json:
            message = "--to - writes the file to standard output: leave out --json."
            raise ConfigError(message)
        asyncio.run(_print_file(api, run_id, name, said))
        return
    path = _place(name, target)
    size, digest = asyncio.run(_download(api, run_id, name, path, said))
    if as_json:
        print_json({"path": str(path), "bytes": size, "sha256": digest})
    else:
        print(f"{path}  {size:,} bytes  {digest}")


def _place(name: str, target: Path | None) -> Path:
    """Return where a file is put; nothing is replaced that was not named."""
    if target is not None and not target.is_dir():
        return target
    path = (target or Path()) / name
    if Path(name).name != name or path.exists():
        message = f"{plain(str(path))} is there already, or is no name of a file: --to says where"
        raise ConfigError(f"{message} to put it.")
    return path


async def _print_file(api: RunsApi, run_id: str, name: str, expected: str) -> None:
    """Write a file to standard output once it is whole and its digest is right."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        await _download(api, run_id, name, path, expected)
        await asyncio.to_thread(_copy, path)


def _copy(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()


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


async def _download(
    api: RunsApi, run_id: str, name: str, path: Path, expected: str
) -> tuple[int, str]:
    async with api:
        return await api.download(run_id, name, path, expected=expected)
