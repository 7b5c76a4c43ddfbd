"""Secrets by reference: read at the moment of sending, and kept nowhere (rule K16).

``env:NAME`` is a variable of the worker's environment, ``file:PATH`` a file that the worker can
read, ``tenant:amplitude.…`` a property of the run's own tenant. Sluice's own variables are not to
be had: a reference names what is meant for workflows.
"""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from errno import EINVAL
from pathlib import Path
from stat import S_ISREG
from typing import Final

from sluice.core.amplitude import SIMULATED_KEY, AmplitudeConfig
from sluice.core.errors import SluiceError

MAX_SECRET_BYTES: Final = 64 * 1024
OWN_VARIABLES: Final = "SLUICE_"


class SecretMissingError(SluiceError):
    """A reference leads to nothing; the words name it and what to do, and hold no value.

    Args:
        message: The words.
        variable: The one that the environment of this process lacks.
    """

    def __init__(self, message: str, *, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Values for one request."""

    values: Mapping[str, str] = field(repr=False)
    """By reference."""
    hidden: frozenset[str] = field(repr=False)
    """Everything that may not be shown: the values, and what they were made of."""


class Resolver:
    """Reads the secrets of one tenant's runs.

    Args:
        amplitude: Gives the tenant's properties when they are asked for; None: it has none.
        environment: Of the process.
        given: Values that are at hand, by reference.
        is_simulated: Whether Amplitude's addresses lead elsewhere, so that a made-up key may go
            there.
    """

    def __init__(
        self,
        amplitude: Callable[[], AmplitudeConfig | None] = lambda: None,
        *,
        environment: Mapping[str, str] = os.environ,
        given: Mapping[str, str] | None = None,
        is_simulated: bool = False,
    ) -> None:
        self._amplitude = amplitude
        self._environment = environment
        self._given = given or {}
        self._is_simulated = is_simulated

    async def resolve(self, references: Iterable[str]) -> Secrets:
        """Return the values of some references.

        Raises:
            SecretMissingError: One leads to nothing.
        """
        values: dict[str, str] = {}
        hidden: set[str] = set()
        for reference in references:
            if reference in self._given:
                values[reference] = self._given[reference]
                continue
            kind, _, name = reference.partition(":")
            match kind:
                case "env":
                    values[reference] = self._variable(reference, name)
                case "file":
                    values[reference] = await asyncio.to_thread(_content, reference, Path(name))
                case "tenant":
                    values[reference] = self._property(reference, name, hidden)
                case _:
                    message = "a secret is named in no known way: use env:, file: or tenant:"
                    raise SecretMissingError(message)
        return Secrets(values=values, hidden=frozenset({*values.values(), *hidden}))

    def _variable(self, reference: str, name: str) -> str:
        if name.upper().startswith(OWN_VARIABLES):
            message = f"the secret {reference} is one of Sluice's own variables: use another name"
            raise SecretMissingError(message)
        value = self._environment.get(name, "")
        if not value:
            message = f"the secret {reference} is not there: set {name} for the worker"
            raise SecretMissingError(message, variable=name)
        return value

    def _property(self, reference: str, name: str, hidden: set[str]) -> str:
        config = self._amplitude()
        if config is None or not config.api_key:
            raise _not_set(reference, "amplitude.api_key")
        if config.api_key == SIMULATED_KEY and not self._is_simulated:
            message = (
                f"the secret {reference} is the simulator's and is not sent to Amplitude itself:"
                " give the tenant a key of its own"
            )
            raise SecretMissingError(message)
        if name == "amplitude.api_key":
            return config.api_key
        if name not in ("amplitude.secret_key", "amplitude.basic_auth"):
            message = f"the secret {reference} is no property that a workflow may read"
            raise SecretMissingError(message)
        if not config.secret_key:
            raise _not_set(reference, "amplitude.secret_key")
        hidden |= {config.api_key, config.secret_key}
        if name == "amplitude.secret_key":
            return config.secret_key
        return b64encode(f"{config.api_key}:{config.secret_key}".encode()).decode()


def _not_set(reference: str, name: str) -> SecretMissingError:
    return SecretMissingError(
        f"the secret {reference} is not there: `sluice tenant set SLUG {name}=…` sets it"
    )


def _content(reference: str, path: Path) -> str:
    """Return what a file holds but for a line break at its end."""
    if not path.is_absolute():
        raise SecretMissingError(f"the secret {reference} must name its file from the root on")
    try:
        text = _read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise SecretMissingError(f"the secret {reference} cannot be read: {reason}") from None
    try:
        value = text.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretMissingError(f"the secret {reference} is not text") from None
    if not value or len(text) > MAX_SECRET_BYTES:
        words = "is empty" if not value else f"is longer than {MAX_SECRET_BYTES:,} bytes"
        raise SecretMissingError(f"the secret {reference} {words}")
    return value


def _read(path: Path) -> bytes:
    # Who opens a pipe would wait for its other end.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(EINVAL, "It is not a file")
        return file.read(MAX_SECRET_BYTES + 1)
