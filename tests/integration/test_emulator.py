"""Google's emulator as the benchmarks run it."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from loadtest import emulator_warm
from loadtest.emulator import Emulator, find_jar, running_emulator
from loadtest.emulator_warm import warm_up
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names

PUBLISHES = 200


@pytest.fixture
def emulator(pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """One of the test's own, whose threads are looked at."""
    assert pubsub_emulator
    jar = find_jar()
    assert jar is not None
    with running_emulator(jar) as emulator:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulator.host)
        monkeypatch.setattr(emulator_warm, "WARM_UP_PUBLISHES", PUBLISHES)
        yield emulator


def test_emulator_that_was_warmed_up_has_one_compiler_only(emulator: Emulator) -> None:
    names = Names(f"project-{uuid.uuid4().hex[:12]}")
    asyncio.run(ensure_topics(names))
    assert warm_up(emulator, names.topic("events")) >= PUBLISHES
    threads = Path(f"/proc/{emulator.pid}/task").iterdir()
    words = {(one / "comm").read_text().partition(" ")[0] for one in threads}
    assert words & {"C1", "C2"} == {"C1"}


def test_warming_up_fails_where_there_is_no_such_topic(emulator: Emulator) -> None:
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        warm_up(emulator, Names("nobody").topic("events"))
