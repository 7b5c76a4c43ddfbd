"""What a property of a tenant or key takes, as a value; ``tenant_file`` reads by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

MAX_LIST: Final = 50
"""Values of one list: each secret is tried on each delivery."""

Kind = Literal["text", "truth", "number", "choice", "secret", "texts", "secrets"]


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a tenant or key, as the file and ``sluice tenant set`` take it."""

    name: str
    kind: Kind
    meaning: str
    accepted: str = ""
    """In words, for errors and docs."""
    is_good: Callable[[str], bool] = lambda _text: True
    """For each text of it; an empty secret is none."""
    choices: tuple[str, ...] = ()
    most: int = MAX_LIST
    """Values of a list."""
    low: int = 0
    high: int = 0
    default: object = None

    @property
    def is_hidden(self) -> bool:
        """Whether no answer, log or list may show it."""
        return self.kind in {"secret", "secrets"}
