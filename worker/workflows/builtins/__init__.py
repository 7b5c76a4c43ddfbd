"""The built-in types of workflows, each one file of this package that has a ``BUILTIN``."""

from importlib import import_module
from typing import Final

from worker.workflows.builtin import Builtin

NAMES: Final[tuple[str, ...]] = ("data_request", "erase", "reconcile", "replay")


def load(name: str) -> Builtin | None:
    """Return the built-in type of that name, such as ``data-request``; None if there is none."""
    module = name.replace("-", "_")
    if module not in NAMES:
        return None
    builtin = import_module(f"worker.workflows.builtins.{module}").BUILTIN
    if not isinstance(builtin, Builtin):
        message = f"worker.workflows.builtins.{module}.BUILTIN is not a Builtin"
        raise TypeError(message)
    return builtin
