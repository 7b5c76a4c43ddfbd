"""The built-in types, each one file of this package that has a ``BUILTIN``."""

from importlib import import_module
from typing import Final

from worker.workflows.builtin import Builtin

NAMES: Final = {"erase": "erase", "data-request": "data_request"}
"""The file of each type."""


def load(type_name: str) -> Builtin | None:
    """Return a built-in type; None for one that is not."""
    name = NAMES.get(type_name)
    if name is None:
        return None
    builtin = import_module(f"worker.workflows.builtins.{name}").BUILTIN
    if not isinstance(builtin, Builtin):
        message = f"worker.workflows.builtins.{name}.BUILTIN is not a Builtin"
        raise TypeError(message)
    return builtin
