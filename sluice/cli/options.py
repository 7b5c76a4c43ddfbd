"""Options that several commands share, and how they print."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of all data (SLUICE_DATA_DIR).", show_default=False),
]
Host = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on (SLUICE_HOST).", show_default=False),
]
# Text, because the settings say in one line what a port may be.
Port = Annotated[
    str | None,
    typer.Option(
        "--port", metavar="PORT", help="Port to listen on (SLUICE_PORT).", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Slug = Annotated[str, typer.Argument(help="The tenant's slug.", show_default=False)]


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    print(orjson.dumps(value).decode())
