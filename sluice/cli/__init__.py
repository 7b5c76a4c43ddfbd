"""The ``sluice`` command. Each command is one file, imported only when it is asked for."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from sluice import __version__
from sluice.core.errors import ConfigError, SluiceError

COMMANDS: Final[dict[str, str]] = {
    "run": "run",
    "gateway": "parts",
    "worker": "parts",
    "warehouse": "parts",
    "setup": "setup",
    "tenant": "tenant",
    "token": "token",
    "send": "send",
    "doctor": "doctor",
}
"""Each command with the file that holds it, in the order of the help page."""

FAILED: Final = 1
INTERRUPTED: Final = 130
USAGE: Final = 2
"""Exit status of a wrong setting, option or file, as of a wrong command line."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the words (default: of this process) ask for, and exit with its status.

    What Sluice itself raises becomes one line on stderr, without a stack.
    """
    given = list(sys.argv[1:] if words is None else words)
    try:
        build_app(given)(args=given, prog_name="sluice")
    except ConfigError as error:
        sys.exit(_report(error, USAGE))
    except SluiceError as error:
        sys.exit(_report(error, FAILED))
    except KeyboardInterrupt:  # while the command is imported; each command sees to its own
        print("sluice: stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)


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


def _report(error: SluiceError, status: int) -> int:
    print(f"sluice: {error}", file=sys.stderr)
    return status
