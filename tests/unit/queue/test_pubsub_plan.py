"""The plan for Google Pub/Sub, what differs from it, and how it is told to people and tools."""

import re
from dataclasses import replace

import pytest

from sluice.queue.pubsub_commands import gcloud, terraform, update_command
from sluice.queue.pubsub_plan import (
    DAY_S,
    DELETED_TOPIC,
    EDITOR_ROLE,
    PUBLISHER_ROLE,
    SUBSCRIBER_ROLE,
    VIEWER_ROLE,
    Net,
    Subscription,
    differences,
    plan_of,
    short,
)
from sluice.queue.pubsub_wire import Names

NAMES = Names("some-project")
PLAN = plan_of(NAMES, {"events": ("warehouse", "amplitude"), "commands": ("workflows",)})
KEPT = plan_of(NAMES, keep_days=7)
PLANNED = PLAN.subscriptions[0]
ELSEWHERE = Net(topic=NAMES.topic("other"), max_attempts=5)


def test_plan_has_a_subscription_per_destination_and_keeps_dead_letters() -> None:
    assert [short(topic.name) for topic in PLAN.topics] == [
        *("sluice-events", "sluice-commands", "sluice-dead-letters")
    ]
    assert [(short(one.name), short(one.topic)) for one in PLAN.subscriptions] == [
        ("sluice-warehouse", "sluice-events"),
        ("sluice-amplitude", "sluice-events"),
        ("sluice-workflows", "sluice-commands"),
        ("sluice-dead-letters", "sluice-dead-letters"),
    ]


def test_every_process_has_the_narrowest_role_on_single_things() -> None:
    roles = {(one.process, one.role, one.kind) for one in PLAN.grants}
    assert roles == {
        ("gateway", PUBLISHER_ROLE, "topic"),
        ("worker", SUBSCRIBER_ROLE, "subscription"),
        ("worker", PUBLISHER_ROLE, "topic"),
        ("Pub/Sub itself", PUBLISHER_ROLE, "topic"),
        ("Pub/Sub itself", SUBSCRIBER_ROLE, "subscription"),
        ("setup", VIEWER_ROLE, "project"),
        ("setup", SUBSCRIBER_ROLE, "subscription"),
        ("setup", EDITOR_ROLE, "project"),
    }
    gateway = {one.resource for one in PLAN.grants if one.process == "gateway"}
    assert gateway == {NAMES.topic("events"), NAMES.topic("commands")}
    sought = {
        short(one.resource)
        for one in PLAN.grants
        if (one.process, one.role) == ("setup", SUBSCRIBER_ROLE)
    }
    assert sought == {"sluice-warehouse", "sluice-amplitude"}  # a command must not come again


def test_subscription_as_planned_does_not_differ() -> None:
    assert differences(PLANNED, PLANNED) == []


FOUND = {
    "deleted topic": (replace(PLANNED, topic=DELETED_TOPIC), "topic was deleted", "", True),
    "other topic": (replace(PLANNED, topic=NAMES.topic("x")), "takes from sluice-x", "", True),
    "detached": (replace(PLANNED, is_detached=True), "detached", "", True),
    "filter": (replace(PLANNED, filter="attributes.x"), "filter", "", True),
    "push": (replace(PLANNED, pushes_to="https://x"), "https://x", "", True),
    "lease": (replace(PLANNED, ack_deadline_s=60), "60 s", "ack_deadline_seconds", True),
    "kept less": (replace(PLANNED, kept_s=600), "kept 0.00694", "message_retention_duration", True),
    "expires": (replace(PLANNED, expires_after_s=31 * DAY_S), "31 days", "expiration_policy", True),
    "no net": (replace(PLANNED, net=None), "no dead-letter", "dead_letter_policy", True),
    "tight net": (
        replace(PLANNED, net=Net(topic=NAMES.dead_letters(), max_attempts=5)),
        "after 5 deliveries, not 100",
        "dead_letter_policy",
        True,
    ),
    "other net": (replace(PLANNED, net=ELSEWHERE), "go to sluice-other", "", False),
}


@pytest.mark.parametrize(
    ("found", "words", "field", "is_harmful"), FOUND.values(), ids=FOUND.keys()
)
def test_difference_is_told_with_what_mends_it(
    found: Subscription, words: str, field: str, *, is_harmful: bool
) -> None:
    [difference] = differences(PLANNED, found)
    assert words in difference.words
    assert (difference.field, difference.is_harmful) == (field, is_harmful)


def test_keeping_longer_is_somebodys_wish_and_no_difference() -> None:
    assert differences(PLANNED, replace(PLANNED, kept_s=31 * DAY_S)) == []


def test_commands_make_everything_of_the_plan() -> None:
    text = gcloud(PLAN)
    for topic in (one.name for one in PLAN.topics):
        assert f"topics create {short(topic)}\n" in text
    for one in PLAN.subscriptions:
        assert f"subscriptions create {short(one.name)} --topic {short(one.topic)} " in text
    assert text.count("add-iam-policy-binding") == len(PLAN.grants) - 1
    assert EDITOR_ROLE not in text  # who ran the commands has nothing left to make
    assert "topics create sluice-events --message-retention-duration 7d\n" in gcloud(KEPT)
    assert "--max-delivery-attempts 100" in update_command(PLANNED)


def test_terraform_refers_only_to_what_it_declares() -> None:
    text = terraform(PLAN)
    declared = set(re.findall(r'resource "(\w+)" "(\w+)"', text))
    used = set(re.findall(r"(google_\w+)\.(\w+)\.(?:id|name|member)\b", text))
    assert used <= declared
    assert len(declared) == len(re.findall("^resource", text, re.MULTILINE))
    assert text.count("{") == text.count("}")


def test_commands_and_terraform_make_the_same_accounts_and_roles() -> None:
    commands, resources = gcloud(KEPT), terraform(KEPT)
    accounts = re.findall(r"service-accounts create ([\w-]+)", commands)
    assert re.findall(r'account_id = "([\w-]+)"', resources) == accounts
    assert accounts == ["sluice-gateway", "sluice-worker", "sluice-setup"]
    given = re.findall(r"--role (\S+)", commands)
    assert re.findall(r'role +=\s"([^"]+)"', resources) == given
    assert commands.count("--message-retention-duration") == resources.count(
        "message_retention_duration"
    )
