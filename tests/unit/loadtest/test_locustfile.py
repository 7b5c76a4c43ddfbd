"""Locust is not among our dependencies: its few names are stood in for, as Locust itself has them.

The file was run under Locust itself when it was written (docs/loadtest.md says how).
"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson
import pytest

FILE = Path(__file__).parents[3] / "loadtest/locustfile.py"


class HttpUser:
    def __init__(self, sent: list[tuple[str, str, dict[str, Any]]]) -> None:
        self.client = SimpleNamespace(
            post=lambda path, **given: sent.append(("POST", path, given)),
            get=lambda path, **given: sent.append(("GET", path, given)),
        )


def task(weight: int | Callable[[Any], None]) -> Any:
    """Stand for ``@task`` and ``@task(3)``."""
    return weight if callable(weight) else lambda function: function


def test_locustfile_sends_events_and_reads_stats_when_its_tasks_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in: Any = ModuleType("locust")
    stand_in.HttpUser, stand_in.task = HttpUser, task
    stand_in.between = lambda least, most: (least, most)
    monkeypatch.setitem(sys.modules, "locust", stand_in)
    monkeypatch.setenv("SLUICE_API_KEY", "k")
    monkeypatch.setenv("SLUICE_TOKEN", "t")
    names = runpy.run_path(str(FILE))

    sent: list[tuple[str, str, dict[str, Any]]] = []
    sender = names["Sender"](sent)
    sender.on_start()
    sender.track()
    sender.batch()
    names["Reader"](sent).stats()

    (_, track, one), (_, batch, many), (method, stats, read) = sent
    assert (track, batch) == ("/api/ingestion/track", "/api/ingestion/track/batch")
    assert (method, stats) == ("GET", "/api/ingestion/stats")
    assert one["headers"]["Authorization"] == "ApiKey k"
    assert orjson.loads(one["data"])["event_type"]
    assert len(orjson.loads(many["data"])["events"]) == 100
    assert read["headers"]["Authorization"] == "Bearer t"
    assert names["Reader"].weight == 1
