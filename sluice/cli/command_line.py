"""The command line as typer sees it, and the exit status of what goes wrong."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from sluice import __version__
from sluice.cli import COMMANDS
from sluice.core.errors import ConfigError, SluiceError, WarehouseUnavailableError

FAILED: Final = 1
USAGE: Final = 2
"""Exit status of a wrong setting, option or file, as of a wrong command line."""


def run_command(words: Sequence[str]) -> None:
    """Run the command that the words ask for, and exit with its status.

    What Sluice itself raises becomes one line on stderr, without a stack.
    """
    try:
        build_app(words)(args=list(words), prog_name="sluice")
    except ConfigError as error:
        sys.exit(_report(str(error), USAGE))
    except WarehouseUnavailableError as error:
        sys.exit(_report(f"{error}{_remedy(error)}", FAILED))
    except SluiceError as error:
        sys.exit(_report(str(error), FAILED))


def build_app(words: Sequence[str]) -> typer.Typer:
    """Return the command line: with the one command that is asked for, else with all."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    chosen = COMMANDS.get(words[0]) if words else None
    for module in (chosen,) if chosen else dict.fromkeys(COMMANDS.values()):
        app.add_typer(import_module(f"sluice.cli.{module}").app)
    return app


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer calls it so
    if value:
        print(f"sluice {__version__}")
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """An event-ingestion gateway that you run yourself: every 202 is a promise.

    Start with `sluice run`. Settings are environment variables SLUICE_*; the README lists them.
    """


def _remedy(error: WarehouseUnavailableError) -> str:
    """Return what to do, as more of the sentence; nothing where ClickHouse itself said what is."""
    if error.code:
        return ""
    from sluice.cli.findings import warehouse_remedy  # here, because most commands go well
    from sluice.settings import load_settings

    is_remote = bool(load_settings().warehouse_url.get_secret_value())
    return f"; {warehouse_remedy(error, is_remote=is_remote)}"


def _report(message: str, status: int) -> int:
    print(f"sluice: {message}", file=sys.stderr)
    return status
