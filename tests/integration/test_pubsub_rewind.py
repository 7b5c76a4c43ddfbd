"""What is kept on Pub/Sub after it was stored, and ``sluice rewind``, against Google's emulator."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.queue.pubsub_plan import DAY_S
from sluice.queue.pubsub_rewind import kept_since
from sluice.queue.pubsub_setup import look, set_up
from sluice.queue.pubsub_wire import Names
from tests.support.command import sluice


@pytest.fixture
def names(pubsub_emulator: str) -> Names:
    """A project of the test's own, empty."""
    assert pubsub_emulator
    return Names(f"project-{uuid.uuid4().hex[:12]}")


async def test_setup_lets_an_existing_topic_keep_events_when_it_is_asked_to(names: Names) -> None:
    await set_up(names)
    topic = names.topic("events")
    assert await kept_since(names, now=datetime.now(UTC)) is None
    parts = {part.name: part for part in await set_up(names, keep_days=3)}
    assert parts[topic].outcome == "mended"
    assert "not 3" in parts[topic].mended[0].words
    assert {part.outcome for part in await set_up(names, keep_days=3)} == {"exists"}
    now = datetime.now(UTC)
    assert await kept_since(names, now=now) == now - timedelta(seconds=3 * DAY_S)


async def test_setup_never_lets_a_topic_keep_less_and_doctor_is_told_what_differs(
    names: Names,
) -> None:
    await set_up(names, keep_days=7)
    assert {part.outcome for part in await set_up(names, keep_days=1)} == {"exists"}
    assert {part.outcome for part in await set_up(names)} == {"exists"}
    [topic] = [part for part in await look(names, keep_days=9) if part.differs]
    assert topic.name == names.topic("events")
    assert "--message-retention-duration 9d" in topic.remedy


async def test_rewind_refuses_when_pubsub_keeps_nothing_or_less_and_goes_back_when_it_has_it(
    names: Names, tmp_path: Path, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    settings = {"QUEUE_URL": f"pubsub://{names.project}", "DATA_DIR": str(tmp_path)}
    await set_up(names)
    ran = await sluice("rewind", "--to", "1h", "--yes", settings=settings)
    assert (ran.status, "SLUICE_PUBSUB_KEEP_DAYS" in ran.error) == (1, True)
    await set_up(names, keep_days=1)
    ran = await sluice("rewind", "--to", "2d", "--yes", settings=settings)
    assert (ran.status, "younger" in ran.error) == (1, True)
    ran = await sluice("rewind", "--to", "2d", "--yes", "--partly", "--json", settings=settings)
    assert (ran.status, ran.json["is_whole"]) == (0, False)
    ran = await sluice("rewind", "--to", "1h", "--yes", "--json", settings=settings)
    assert (ran.status, ran.json["is_whole"]) == (0, True)


async def test_rewind_says_what_is_wrong_when_it_cannot_go_back(tmp_path: Path) -> None:
    home = {"DATA_DIR": str(tmp_path)}
    ran = await sluice("rewind", "--to", "1h", settings=home)
    assert (ran.status, "local queue" in ran.error) == (2, True)
    ran = await sluice("rewind", "--to", "1h", "--subscription", "workflows", settings=home)
    assert (ran.status, "use one of warehouse, amplitude" in ran.error) == (2, True)
    remote = home | {"QUEUE_URL": "pubsub://some-project"}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for moment in (soon, "0m"):
        ran = await sluice("rewind", "--to", moment, "--partly", "--yes", settings=remote)
        assert (ran.status, "use a moment that is over" in ran.error) == (2, True), ran.error
    ran = await sluice("rewind", "--to", "2999-01-01T00:00Z", settings=remote)
    assert (ran.status, "--to" in ran.error) == (2, True)
