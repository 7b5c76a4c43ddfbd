"""Settings from the environment: how one is declared, read, checked and refused.

A setting's default says what kind of value it takes: text, a whole number, a number, a path, or a
secret. A setting whose default is None takes a path. What is refused is refused in one line that
names the variable, its value unless that is secret, and what is accepted.

Standard library only and no annotations read while it is imported: every process pays for this at
its start.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from sluice.core.errors import ConfigError

PREFIX: Final = "SLUICE_"
MAX_SECRET_BYTES: Final = 65_536
"""Of a file that holds a secret."""
_KEPT: Final = "setting"
_CREDENTIALS: Final = re.compile(r"//[^/@]*@")
"""User and password of an address, which belong into no address that is no secret."""
_Kind = TypeVar("_Kind")


class SecretText:
    """A text that neither a log nor a traceback shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"SecretText({str(self)!r})"

    def __str__(self) -> str:
        return "**********" if self._text else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its default, its meaning and what it accepts."""

    default: Any
    description: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    check: Callable[[Any], None] | None = None
    """Raises ValueError that says what to use instead."""

    @property
    def is_secret(self) -> bool:
        """Whether its value is never shown, and may come from a file."""
        return isinstance(self.default, SecretText)

    @property
    def is_number(self) -> bool:
        """Whether it takes a number."""
        return isinstance(self.default, (int, float))

    def value_of(self, name: str, given: object) -> object:
        """Return the value that a text of the environment, or an option, stands for.

        Raises:
            ValueError: It is not accepted; the message says what is.
        """
        if self.is_number:
            return self._number_of(name, given)
        value: object = given
        if self.is_secret:
            # A secret store hands out the line end that `openssl rand -hex 32` printed, too.
            value = SecretText(str(given).strip())
        elif self.default is None or isinstance(self.default, Path):
            value = Path(str(given))
        if self.check is not None:
            self.check(value)
        return value

    def _number_of(self, name: str, given: object) -> float:
        value: float | None = None
        text = str(given)
        with suppress(ValueError, TypeError, OverflowError):
            # The kind of the default is int or float, which read texts and numbers, but also more
            # than people write: other scripts' digits, and ``_`` between them.
            if text.isascii() and "_" not in text:
                value = type(self.default)(given)
        if value is None or not self._is_inside(value):
            message = f"use {self.accepted(name)}"
            raise ValueError(message)
        return value

    def _is_inside(self, value: float) -> bool:
        # Written so that what is no number ("nan") is outside.
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
        )

    def accepted(self, name: str) -> str:
        """Return which numbers it takes, in words."""
        if name.endswith("_bytes"):
            least = self.at_least
            return f"bytes as a whole number from {least} up, for example {self.default}"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        if self.above is not None:
            return f"{kind} above {self.above}, at most {self.at_most}"
        return (
            f"{kind} from {self.at_least} {'up' if self.at_most is None else f'to {self.at_most}'}"
        )


def setting(
    default: _Kind,
    description: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    check: Callable[[Any], None] | None = None,
) -> _Kind:
    """Return a field of a dataclass that is a setting; the arguments are those of ``Setting``."""
    one = Setting(
        default=default,
        description=description,
        at_least=at_least,
        above=above,
        at_most=at_most,
        check=check,
    )
    return field(default=default, metadata={_KEPT: one})


def settings_of(owner: type) -> dict[str, Setting]:
    """Return the settings of a dataclass by their names, in their order."""
    return {one.name: one.metadata[_KEPT] for one in fields(owner) if _KEPT in one.metadata}


def read_values(
    settings: Mapping[str, Setting], options: Mapping[str, object], environment: Mapping[str, str]
) -> dict[str, object]:
    """Return the values that are given, by the names of their settings.

    Args:
        settings: Every setting by its name.
        options: What command-line options say; they win.
        environment: Where the variables are; an empty one counts as unset.

    Raises:
        ConfigError: One line that names the variable, its value unless secret, what is accepted.
    """
    values: dict[str, object] = {}
    files = _secrets_of_files(settings, environment)
    for name, setting in settings.items():
        given = options.get(name)
        if given is None:
            given = files.get(name) or environment.get(f"{PREFIX}{name.upper()}")
        if given is None or given == "":
            continue
        try:
            values[name] = setting.value_of(name, given)
        except ValueError as error:
            shown = "(hidden)" if setting.is_secret else _CREDENTIALS.sub("//***@", repr(given))
            option = f" (--{name.replace('_', '-')})" if options.get(name) is not None else ""
            message = f"{PREFIX}{name.upper()}{option} is {shown}: {error}."
            raise ConfigError(message) from None
    return values


def _secrets_of_files(
    settings: Mapping[str, Setting], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the secrets that a variable with ``_FILE`` at its end says where to read.

    Docker and Kubernetes mount secrets as files; spaces and line ends around them do not count.

    Raises:
        ConfigError: One line that names the variable and what is wrong with the file.
    """
    found: dict[str, str] = {}
    for name, setting in settings.items():
        variable = f"{PREFIX}{name.upper()}"
        path = environment.get(f"{variable}_FILE", "")
        if not setting.is_secret or not path:
            continue
        if environment.get(variable):
            message = f"{variable} and {variable}_FILE are both set: keep one of them."
            raise ConfigError(message)
        try:
            text = _text_of(Path(path)).strip()
        except OSError as error:
            message = f"{variable}_FILE is {path!r}: it cannot be read: {error.strerror}."
            raise ConfigError(message) from None
        except UnicodeDecodeError:
            message = f"{variable}_FILE is {path!r}: it holds no UTF-8 text."
            raise ConfigError(message) from None
        if not text:
            message = f"{variable}_FILE is {path!r}: the file is empty."
            raise ConfigError(message)
        found[name] = text
    return found


def _text_of(path: Path) -> str:
    """Return the text of a file of bounded size; a pipe, which may never end, is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        if found.st_size > MAX_SECRET_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_SECRET_BYTES} bytes")
        return file.read(MAX_SECRET_BYTES).decode()
