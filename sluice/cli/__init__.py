"""The ``sluice`` command. Each command is one file, imported only when it is asked for."""

import sys
from collections.abc import Sequence
from typing import Final

COMMANDS: Final[dict[str, str]] = {
    "run": "run",
    "gateway": "parts",
    "worker": "parts",
    "warehouse": "parts",
    "setup": "setup",
    "tenant": "tenant",
    "token": "token",
    "send": "send",
    "replay": "replay",
    "rewind": "rewind",
    "receipt": "receipt",
    "cost": "cost",
    "webhook": "webhook",
    "workflow": "workflow",
    "doctor": "doctor",
}
"""Each command with the file that holds it, in the order of the help page."""

INTERRUPTED: Final = 130
STOPPED: Final = "sluice: stopped"


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the words (default: of this process) ask for, and exit with its status.

    Ctrl-C is one line too, also while the command is still being imported.
    """
    try:
        from sluice.cli.command_line import run_command  # here, because it imports much

        run_command(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer makes this of Ctrl-C, and says nothing
            print(STOPPED, file=sys.stderr)
        raise
