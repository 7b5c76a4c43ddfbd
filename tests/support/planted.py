"""Secrets and people that a test plants in a running Sluice, and where it looks for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

OPEN_PATHS: Final = (
    "/metrics",
    "/livez",
    "/readyz",
    "/api/ingestion/health",
    "/openapi.json",
    "/docs",
)
"""What the gateway shows to anybody. A page that is added is named here, so that it is searched."""
WORKER_PATHS: Final = ("/metrics", "/livez", "/readyz", "/status")
TENANT_PATHS: Final = (
    "/api/ingestion/stats",
    "/api/ingestion/errors",
    "/api/workflow/runs",
)
"""What only the tenant sees: its people may be named there, a payload or a secret not."""


@dataclass(slots=True)
class Planted:
    """What was planted, and all that was said since."""

    secrets: dict[str, str] = field(default_factory=dict)
    """By what they are: credentials and payload values, which belong nowhere."""
    people: dict[str, str] = field(default_factory=dict)
    """Personal data, which only its tenant may see."""
    public: dict[str, str] = field(default_factory=dict)
    """What was said to anybody, by where."""
    private: dict[str, str] = field(default_factory=dict)
    """What was said to the tenant alone."""

    def found(self) -> Iterator[str]:
        """Yield what was found where it does not belong."""
        everything = self.public | self.private
        yield from _occurrences(self.secrets, everything)
        yield from _occurrences(self.people, self.public)


def _occurrences(planted: Mapping[str, str], said: Mapping[str, str]) -> Iterator[str]:
    for name, secret in planted.items():
        for place, text in said.items():
            at = text.find(secret)
            if at >= 0:
                yield f"{name} in {place}: …{text[max(0, at - 200) : at + 60]!r}"
