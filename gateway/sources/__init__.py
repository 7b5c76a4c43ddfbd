"""The sources, each one file of this package that has a ``SOURCE``.

``segops`` is no member: the paths of Sluice's own API have handlers of their own.
"""

from importlib import import_module
from typing import Final

from gateway.core.source import Source

NAMES: Final = (
    "amplitude_http",
    "segment",
    "standard_webhooks",
)


def load(name: str) -> Source:
    """Return the source of that name."""
    source = import_module(f"gateway.sources.{name}").SOURCE
    if not isinstance(source, Source):
        message = f"gateway.sources.{name}.SOURCE is not a Source"
        raise TypeError(message)
    return source
