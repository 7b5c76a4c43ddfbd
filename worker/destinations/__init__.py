"""The destinations, each one file of this package that has a ``DESTINATION``."""

from importlib import import_module
from typing import Final

from worker.delivery import Destination

NAMES: Final = ("warehouse", "amplitude", "workflows")


def load(name: str) -> Destination:
    """Return the destination of that name."""
    destination = import_module(f"worker.destinations.{name}").DESTINATION
    if not isinstance(destination, Destination):
        message = f"worker.destinations.{name}.DESTINATION is not a Destination"
        raise TypeError(message)
    return destination
