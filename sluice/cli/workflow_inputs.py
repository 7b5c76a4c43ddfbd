"""Inputs of a run as the command line gives them: ``--input k=v`` and ``--inputs FILE``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sluice.core.errors import ConfigError

if TYPE_CHECKING:
    from sluice.workflows.core.inputs import InputSchema

MAX_BYTES: Final = 65_536
"""As much as the API takes."""
RULE: Final = (
    "VALUE is text where the workflow's schema takes text; elsewhere, and where the schema is not"
    " known here, it is JSON if it can be read as JSON: a number, true, false, null, a list, an"
    ' object, or "text" in quotes.'
)


def inputs_of(
    assignments: Sequence[str], file: Path | None, schema: "InputSchema | None"
) -> dict[str, Any]:
    """Return the inputs; what ``--input`` says counts more than what the file says.

    Raises:
        ConfigError: The file is no JSON object, or an assignment has no ``=``.
    """
    found = _from_file(file) if file is not None else {}
    for assignment in assignments:
        name, text = assigned(assignment, "--input")
        found[name] = value_of(name, text, schema)
    return found


def assigned(text: str, what: str) -> tuple[str, str]:
    """Return both sides of ``KEY=VALUE``.

    Raises:
        ConfigError: There is no sign, or nothing before it.
    """
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        message = f"{what}: give KEY=VALUE, such as cohortId=c1."
        raise ConfigError(message)
    return name.strip(), value


def value_of(name: str, text: str, schema: "InputSchema | None") -> Any:
    """Return the value that a text stands for, by ``RULE``."""
    if schema is not None and schema.takes(name, text):
        return text
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    is_quoted = isinstance(value, str)
    return text if is_quoted and schema is not None else value


def _from_file(file: Path) -> dict[str, Any]:
    try:
        with open(0, "rb", closefd=False) if str(file) == "-" else file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"--inputs {file} cannot be read: {error.strerror}."
        raise ConfigError(message) from None
    if len(text) > MAX_BYTES:
        message = f"--inputs {file} is longer than {MAX_BYTES:,} bytes."
        raise ConfigError(message)
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"--inputs {file} is not JSON: {error}."
        raise ConfigError(message) from None
    if not isinstance(value, dict):
        message = f"--inputs {file} is not a JSON object."
        raise ConfigError(message)
    return value
