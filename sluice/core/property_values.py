"""Values of properties, from the tenants file or from a command's text; each refusal says where."""

import re
from collections.abc import Mapping
from typing import Final

from sluice.core.errors import ConfigError
from sluice.core.property import Property

_NO_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_NAME_CHARS: Final = 200


def table_of(value: object, where: str) -> dict[str, object]:
    """Return a value that is a table.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(value, dict):
        message = f"{where} is not a table"
        raise ConfigError(message)
    return value


def check_names(table: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    """Raise a ConfigError that says what is known if the table has another name."""
    for name in table:
        if name not in known:
            message = f"{where} has an unknown {name!r}: known are {', '.join(known)}"
            raise ConfigError(message)


def check(one: Property, value: object, where: str) -> object:
    """Return a value as the property holds it.

    Raises:
        ConfigError: It does not fit; says where and what is accepted, never the value of a secret.
    """
    match one.kind:
        case "truth":
            is_taken = isinstance(value, bool)
        case "number":
            is_taken = isinstance(value, int) and not isinstance(value, bool) and _fits(one, value)
        case "text":
            is_taken = isinstance(value, str)
        case "choice":
            is_taken = value in one.choices
        case "secret":
            is_taken = isinstance(value, str) and (not value or one.is_good(value))
        case _:
            return _texts(one, value, where)
    if is_taken:
        return value
    message = f"{where} is not {accepted_by(one)}"
    raise ConfigError(message)


def _texts(one: Property, value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        message = f"{where} is not a list of strings"
        raise ConfigError(message)
    if len(value) > one.most:
        message = f"{where} has {len(value)} values: {one.most} are taken"
        raise ConfigError(message)
    for index, text in enumerate(value):
        if not one.is_good(text):
            shown = "" if one.is_hidden else f" is {text!r}"
            message = f"{where}[{index}]{shown}: use {one.accepted}"
            raise ConfigError(message)
    return tuple(value)


def one_line(text: str, what: str) -> str:
    """Return a text for people that may stand in a list on a terminal.

    A file that was written by hand may say more: nothing depends on it.

    Raises:
        ConfigError: It has control characters, half a character, or is very long.
    """
    if len(text) <= MAX_NAME_CHARS and not _NO_LINE.search(text):
        return text
    message = f"{what}: use one line of at most {MAX_NAME_CHARS} characters, none of them control"
    raise ConfigError(f"{message} characters.")


def parse_value(one: Property, text: str) -> object:
    """Return the value of a property from its text, such as ``sluice tenant set`` is given.

    Raises:
        ConfigError: The text does not fit.
    """
    value: object = text
    if one.kind == "text":
        value = one_line(text, one.name)
    elif one.kind == "truth":
        value = {"true": True, "false": False}.get(text, text)
    elif one.kind == "number" and text.isascii() and text.isdigit():
        value = int(text)
    elif one.kind in {"texts", "secrets"}:
        value = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return check(one, value, one.name)
    except ConfigError:
        shown = "(hidden)" if one.is_hidden else repr(text)
        message = f"{one.name} is {shown}: use {accepted_by(one)}."
        raise ConfigError(message) from None


def _fits(one: Property, value: int) -> bool:
    return value == one.default or one.low <= value <= one.high


def accepted_by(one: Property) -> str:
    """Return in words what the property takes."""
    match one.kind:
        case "truth":
            return "true or false"
        case "number":
            return f"a whole number from {one.low} to {one.high}"
        case "text":
            return "a string"
        case "choice":
            return " or ".join(one.choices)
        case "secret":
            return one.accepted
        case "texts" | "secrets":
            return f"{one.accepted}; several with commas"
