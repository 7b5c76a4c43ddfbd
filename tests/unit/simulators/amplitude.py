"""The simulator without sockets, and with a clock that stands still until it is moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tests.simulators.amplitude.control import change
from tests.simulators.amplitude.project import Project
from tests.simulators.amplitude.service import V2, Outcome, Service

KEY: Final = "a-known-key"
NOON: Final = 1_772_366_400.0
"""Sunday, 1 March 2026, 12:00 UTC."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, decoded."""

    status: int
    body: Any


class Sim:
    """One service with one known key."""

    def __init__(self) -> None:
        self.service = Service(clock=lambda: NOON)
        self.service.add(KEY)

    @property
    def project(self) -> Project:
        return self.service.projects[KEY]

    def set(self, **members: object) -> None:
        """Do what ``POST /_sim`` does, for the known key."""
        change(self.service, orjson.dumps({"api_key": KEY, **members}))

    def outcome(
        self, body: bytes, path: str = V2, content_type: str = "application/json"
    ) -> Outcome:
        return self.service.upload(path, body, content_type)

    def send(self, body: bytes, path: str = V2, content_type: str = "application/json") -> Said:
        answer = self.outcome(body, path, content_type).answer
        return Said(answer.status, orjson.loads(answer.body))

    def post(self, *events: Any, path: str = V2, **members: object) -> Said:
        """Upload these events."""
        return self.send(upload(*events, **members), path)

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        return [orjson.loads(line) for line in self.project.store.rows()]


def upload(*events: Any, **members: object) -> bytes:
    """Return a body with the known key."""
    return orjson.dumps({"api_key": KEY, "events": events, **members})


def event(number: int = 0, **members: object) -> dict[str, Any]:
    """Return a good event; a member that is ``None`` is left out."""
    good = {
        "event_type": "page_viewed",
        "user_id": f"user-{number}",
        "insert_id": f"insert-{number}",
        "time": int(NOON * 1000) + number,
        "event_properties": {"n": number},
        **members,
    }
    return {name: value for name, value in good.items() if value is not None}


def nested(levels: int) -> Any:
    """Return an object that nests so deep."""
    tree: Any = {}
    for _ in range(levels - 1):
        tree = {"a": tree}
    return tree
