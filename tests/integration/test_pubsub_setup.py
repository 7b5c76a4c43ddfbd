"""``sluice setup`` and ``sluice doctor`` on what is there already, against Google's emulator."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions as google
from google.protobuf.duration_pb2 import Duration

from loadtest.pubsub_gate import Act, Forward, PubSubGate, RefusalError
from sluice.cli.checks_queue import check_queue
from sluice.cli.findings import Finding
from sluice.core.errors import QueueUnavailableError
from sluice.queue import open_spool
from sluice.queue.pubsub_access import may_consume, may_publish
from sluice.queue.pubsub_connect import Clients, connect
from sluice.queue.pubsub_faults import NotGrantedError
from sluice.queue.pubsub_setup import ensure_topics, look, set_up
from sluice.queue.pubsub_wire import Names
from sluice.settings import Settings, load_settings
from tests.support.command import sluice
from tests.support.queues import make_envelope

PROCESSES = ("gateway", "worker")


@pytest.fixture
def names(pubsub_emulator: str) -> Names:
    """A project of the test's own, empty."""
    assert pubsub_emulator
    return Names(f"project-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def settings(names: Names, tmp_path: Path) -> Settings:
    """The settings of a process that uses the project."""
    return load_settings(queue_url=f"pubsub://{names.project}", data_dir=tmp_path)


@pytest.fixture
async def clients(pubsub_emulator: str) -> AsyncIterator[Clients]:
    """A connection of the operator's own."""
    assert pubsub_emulator
    clients = await connect()
    yield clients
    await clients.channel.close()


async def subscribe(clients: Clients, names: Names, **more: Any) -> str:
    """Make the topics and a subscription as somebody made it by hand."""
    for topic in (names.topic("events"), names.dead_letters()):
        await clients.publisher.create_topic(name=topic)
    name = names.subscription("warehouse")
    request = {"name": name, "topic": names.topic("events"), "expiration_policy": {}, **more}
    await clients.subscriber.create_subscription(request=request)
    return name


async def findings(settings: Settings) -> dict[str, Finding]:
    """Return the doctor's findings on the queue by name."""
    return {finding.name: finding for finding in await check_queue(settings, PROCESSES)}


async def test_dry_run_shows_plan_and_roles_and_changes_nothing(
    names: Names, tmp_path: Path
) -> None:
    values = {"QUEUE_URL": f"pubsub://{names.project}", "DATA_DIR": str(tmp_path / "data")}
    ran = await sluice("setup", "--dry-run", "--json", settings=values)
    assert {part["outcome"] for part in ran.json["queue"]} == {"missing"}
    on_topic = [role for role in ran.json["roles"] if role["process"] == "gateway"]
    assert [(role["role"], role["on"]) for role in on_topic] == [
        ("roles/pubsub.publisher", "topic sluice-events"),
        ("roles/pubsub.publisher", "topic sluice-commands"),
    ]
    assert ran.json["migrations_pending"] is None
    assert "the embedded warehouse has not started yet" in ran.error
    assert not (tmp_path / "data").exists()
    assert {part.outcome for part in await look(names)} == {"missing"}


async def test_dry_run_tells_people_what_exists(names: Names, tmp_path: Path) -> None:
    await ensure_topics(names)
    values = {"QUEUE_URL": f"pubsub://{names.project}", "DATA_DIR": str(tmp_path / "data")}
    ran = await sluice("setup", "--dry-run", settings=values)
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["topic", names.topic("events"), "exists"] in lines
    assert "would be created" not in ran.stdout
    assert ["gateway", "roles/pubsub.publisher", "topic", "sluice-events"] in [
        line[:4] for line in lines
    ]


async def test_setup_mends_a_subscription_that_keeps_less_than_planned(
    names: Names, clients: Clients, settings: Settings
) -> None:
    short = {"ack_deadline_seconds": 60, "message_retention_duration": Duration(seconds=600)}
    name = await subscribe(clients, names, **short)
    found = (await findings(settings))["subscription sluice-warehouse"]
    assert (found.state, found.remedy) == ("warn", "`sluice setup` mends it")
    assert "ack deadline 60 s, not 10 s" in found.detail
    parts = {part.name: part for part in await set_up(names)}
    assert parts[name].outcome == "mended"
    assert [one.field for one in parts[name].mended] == [
        *("ack_deadline_seconds", "message_retention_duration", "dead_letter_policy")
    ]
    assert {part.outcome for part in await set_up(names)} == {"exists"}
    assert (await findings(settings))["subscription sluice-warehouse"].state == "ok"


async def test_subscription_whose_topic_was_deleted_is_told_and_left_alone(
    names: Names, clients: Clients, settings: Settings
) -> None:
    name = await subscribe(clients, names)
    await clients.publisher.delete_topic(topic=names.topic("events"))
    remedy = f"gcloud pubsub subscriptions delete {name.rpartition('/')[2]}"
    with pytest.raises(QueueUnavailableError, match=remedy):
        await set_up(names)
    [topic] = [part for part in await look(names) if part.name == names.topic("events")]
    assert topic.outcome == "missing"  # made now, it would lose what is published
    found = (await findings(settings))["subscription sluice-warehouse"]
    assert found.state == "fail"
    assert "its topic was deleted" in found.detail
    assert (await clients.subscriber.get_subscription(subscription=name)).name == name


async def test_what_setup_cannot_mend_is_told_with_the_command_that_does(
    names: Names, clients: Clients
) -> None:
    expires = {"expiration_policy": {"ttl": Duration(seconds=31 * 86_400)}}
    name = await subscribe(clients, names, **expires)
    [part] = [part for part in await set_up(names) if part.name == name]
    assert part.outcome == "exists"  # the emulator does not take this change, Google does
    assert "--expiration-period never" in part.remedy


async def test_doctor_names_each_thing_that_is_missing(settings: Settings) -> None:
    found = await findings(settings)
    assert [name for name, one in found.items() if one.state == "fail"] == [
        "topic sluice-events",
        "topic sluice-commands",
        "topic sluice-dead-letters",
        "subscription sluice-warehouse",
        "subscription sluice-amplitude",
        "subscription sluice-workflows",
        "subscription sluice-dead-letters",
    ]
    assert found["topic sluice-events"].detail.endswith("does not exist: run `sluice setup`.")


async def test_doctor_tells_what_waits_in_the_spool(names: Names, settings: Settings) -> None:
    await ensure_topics(names)
    assert (await findings(settings))["spool"].state == "ok"
    async with open_spool(settings) as spool:
        await spool.publish("events", [make_envelope(), make_envelope()])
    found = (await findings(settings))["spool"]
    assert (found.state, found.detail.startswith("6 events, the oldest ")) == ("warn", True)
    assert "drains it when Pub/Sub answers" in found.remedy


def granting(*permissions: bytes) -> Act:
    """Answer which permissions there are, as the emulator never does."""
    answer = b"".join(b"\x0a" + bytes([len(one)]) + one for one in permissions)

    async def act(_request: bytes, _forward: Forward) -> bytes:
        return answer

    return act


async def test_roles_are_asked_for_without_needing_one(
    names: Names, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, subscription = names.topic("events"), names.subscription("warehouse")
    async with PubSubGate(pubsub_emulator) as gate:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", gate.host)
        clients = await connect()
        gate.acts["TestIamPermissions"] = granting(b"pubsub.topics.publish")
        await may_publish(clients, topic)
        assert gate.calls == {"TestIamPermissions": 1}
        with pytest.raises(google.NotFound):
            await may_consume(clients, subscription)
        await ensure_topics(names)
        with pytest.raises(google.PermissionDenied):
            await may_consume(clients, subscription)
        gate.acts["TestIamPermissions"] = granting(b"pubsub.subscriptions.consume")
        await may_consume(clients, subscription)
        gate.acts["GetTopic"] = _denied
        with pytest.raises(NotGrantedError):
            await may_publish(clients, topic)
        del gate.acts["TestIamPermissions"], gate.acts["GetTopic"]
        await may_publish(clients, topic)  # as the emulator answers
        await clients.channel.close()


async def _denied(_request: bytes, _forward: Forward) -> bytes:
    raise RefusalError(grpc.StatusCode.PERMISSION_DENIED)


async def test_setup_needs_no_more_than_to_look_where_all_is_there(
    names: Names, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(names, keep_days=7)
    async with PubSubGate(pubsub_emulator) as gate:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", gate.host)
        gate.acts["CreateTopic"] = gate.acts["CreateSubscription"] = _denied
        assert {part.outcome for part in await set_up(names, keep_days=7)} == {"exists"}
        gate.acts["GetTopic"] = _denied
        with pytest.raises(QueueUnavailableError, match=r"grant roles/pubsub\.editor"):
            await set_up(names)


async def test_setup_that_may_only_look_says_what_it_needs_to_make_what_is_missing(
    names: Names, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PubSubGate(pubsub_emulator) as gate:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", gate.host)
        gate.acts["CreateTopic"] = _denied
        with pytest.raises(QueueUnavailableError, match=r"grant roles/pubsub\.editor on projects/"):
            await set_up(names)
