"""What ``sluice run`` tells a person: addresses, and lines that work when pasted."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 - shown
DEMO: Final = "demo"
COUNT_EVENTS: Final = "SELECT count() FROM events"


def base_url(host: str, port: int) -> str:
    """Return the address that a client on this machine uses."""
    shown = ANY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def command_words(argument: str, executable: str, folder: str) -> str:
    """Return how a person in ``folder`` calls the ``sluice`` command that runs now.

    Args:
        argument: The first word of the command line, as the system gave it.
        executable: The Python interpreter.
        folder: The current folder.
    """
    path = Path(argument)
    if path.name != "sluice":
        path = Path(executable).with_name("sluice")
    if path.is_absolute() and path.is_relative_to(folder):
        path = path.relative_to(folder)
    return shlex.quote(str(path))


def this_command() -> str:
    """Return how a person calls the ``sluice`` command that runs now."""
    return command_words(sys.argv[0], sys.executable, str(Path.cwd()))


def data_dir_option(data_dir: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the option that makes another command use the same data; empty for the default."""
    is_default = str(data_dir) == "sluice-data" and not environment.get("SLUICE_DATA_DIR")
    return "" if is_default else f" --data-dir {shlex.quote(str(data_dir))}"


def first_key_lines(key: str) -> str:
    """Return the lines that show the key of the first tenant, once."""
    return f"Made tenant {DEMO}. Its API key is shown once and kept only as a digest:\n\n  {key}\n"


def welcome_lines(url: str, worker: str, command: str, option: str, key: str | None) -> str:
    """Return what to paste now that everything runs.

    Args:
        url: Base address of the gateway.
        worker: Base address of the worker, which moves where its port is another Sluice's.
        command: How a person calls ``sluice``.
        option: What makes another command use the same data.
        key: The API key of the first tenant, which is known at the first start only.
    """
    shown_key = key or "$SLUICE_API_KEY"
    lines = [
        f"Sluice serves on {url}; its API page is {url}/docs",
        f"The worker's status is {worker}/status; its metrics are {worker}/metrics",
        "",
        f"Watch it: open {url}/ and sign in with what this prints:",
        "",
        f"  {command} token {DEMO}{option}",
        "",
        "Send an event:",
        "",
        f"  curl -i {url}/api/ingestion/track \\",
        f'    -H "Authorization: ApiKey {shown_key}" \\',
        '    -H "Content-Type: application/json" \\',
        """    -d '{"user_id": "user-123", "event_type": "order_placed", "payload": {}}'""",
        "",
        "Read it back:",
        "",
        f'  curl "{url}/api/ingestion/stats?window=24h" \\',
        f'    -H "Authorization: Bearer $({command} token {DEMO}{option})"',
        "",
    ]
    if key is None:
        lines += [f"A new API key: {command} tenant rotate-key {DEMO}{option}", ""]
    return "\n".join(lines)


def warehouse_lines(url: str, address_file: Path) -> str:
    """Return where the embedded warehouse is, and how to query it."""
    path = shlex.quote(str(address_file))
    lines = [
        f"Query the tables; the warehouse is on {url}, its read-only address in {path}:",
        "",
        f'  curl "$(cat {path})" --data "{COUNT_EVENTS}"',
        "",
    ]
    return "\n".join(lines)
