"""The plan for Google Pub/Sub as commands and as Terraform, for who makes it himself. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from sluice.queue.pubsub_plan import DAY_S, Grant, Plan, Process, Subscription, Topic, short

ACCOUNTS: Final[dict[Process, str]] = {
    "gateway": "sluice-gateway",
    "worker": "sluice-worker",
    "setup": "sluice-setup",
}
"""Service accounts with which the processes run."""
AGENT: Final = "service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"
"""Pub/Sub's own service agent, by the number of the project."""
_TYPES: Final = {"topic": "topics", "subscription": "subscriptions"}


def delete_command(name: str) -> str:
    """Return the command that deletes a subscription."""
    return f"gcloud pubsub subscriptions delete {short(name)} --project {name.split('/')[1]}"


def update_command(planned: Subscription) -> str:
    """Return the command that sets an existing subscription as planned."""
    name = planned.name
    return (
        f"gcloud pubsub subscriptions update {short(name)} --project {name.split('/')[1]}"
        f" {_flags(planned)}"
    )


def update_topic_command(planned: Topic) -> str:
    """Return the command that sets an existing topic as planned."""
    name = planned.name
    return (
        f"gcloud pubsub topics update {short(name)} --project {name.split('/')[1]}"
        f"{_topic_flags(planned)}"
    )


def gcloud(plan: Plan) -> str:
    """Return the commands that make all of a plan; ``$PROJECT`` and ``$NUMBER`` are to be set."""
    return "\n".join(_gcloud(plan))


def _gcloud(plan: Plan) -> Iterator[str]:
    yield "gcloud config set project $PROJECT"
    yield "NUMBER=$(gcloud projects describe $PROJECT --format='value(projectNumber)')"
    yield "gcloud services enable pubsub.googleapis.com"
    yield "gcloud beta services identity create --service pubsub.googleapis.com"
    for topic in plan.topics:
        yield f"gcloud pubsub topics create {short(topic.name)}{_topic_flags(topic)}"
    for one in plan.subscriptions:
        names = f"{short(one.name)} --topic {short(one.topic)}"
        yield f"gcloud pubsub subscriptions create {names} {_flags(one)}"
    for account in ACCOUNTS.values():
        yield f"gcloud iam service-accounts create {account}"
    for grant in plan.grants:
        if grant.is_in_commands:
            yield _binding(grant)


def _binding(grant: Grant) -> str:
    words = f"--role {grant.role} --member {_member(grant)}"
    if grant.kind == "project":
        return f"gcloud projects add-iam-policy-binding $PROJECT {words} --condition None"
    what = f"{_TYPES[grant.kind]} add-iam-policy-binding {short(grant.resource)}"
    return f"gcloud pubsub {what} {words}"


def _topic_flags(planned: Topic) -> str:
    if not planned.kept_s:
        return ""
    return f" --message-retention-duration {planned.kept_s // DAY_S}d"


def _flags(planned: Subscription) -> str:
    flags = [
        f"--ack-deadline {planned.ack_deadline_s}",
        f"--message-retention-duration {planned.kept_s // DAY_S}d",
        "--expiration-period never",
    ]
    if planned.net is not None:
        flags.append(f"--dead-letter-topic {short(planned.net.topic)}")
        flags.append(f"--max-delivery-attempts {planned.net.max_attempts}")
    return " ".join(flags)


def _member(grant: Grant) -> str:
    account = ACCOUNTS.get(grant.process)
    if account is None:
        return f"serviceAccount:{AGENT.format(number='$NUMBER')}"
    return f"serviceAccount:{account}@$PROJECT.iam.gserviceaccount.com"


def terraform(plan: Plan) -> str:
    """Return the same as resources of Terraform's ``google`` provider."""
    return "\n\n".join(_terraform(plan))


def _terraform(plan: Plan) -> Iterator[str]:
    yield 'data "google_project" "this" {}'
    for topic in plan.topics:
        yield _block("google_pubsub_topic", _id(topic.name), _topic(topic))
    for one in plan.subscriptions:
        yield _block("google_pubsub_subscription", _id(one.name), _subscription(one))
    for process, account in ACCOUNTS.items():
        yield _block("google_service_account", process, [f'account_id = "{account}"'])
    for grant in plan.grants:
        if grant.is_in_commands:
            yield _grant(grant)


def _topic(one: Topic) -> Iterator[str]:
    if not one.kept_s:
        yield f'name = "{short(one.name)}"'
        return
    yield f'name                       = "{short(one.name)}"'
    yield f'message_retention_duration = "{one.kept_s}s"'


def _subscription(one: Subscription) -> Iterator[str]:
    yield f'name                       = "{short(one.name)}"'
    yield f"topic                      = google_pubsub_topic.{_id(one.topic)}.id"
    yield f"ack_deadline_seconds       = {one.ack_deadline_s}"
    yield f'message_retention_duration = "{one.kept_s}s"'
    yield "expiration_policy {"
    yield '  ttl = "" # never'
    yield "}"
    if one.net is not None:
        yield "dead_letter_policy {"
        yield f"  dead_letter_topic     = google_pubsub_topic.{_id(one.net.topic)}.id"
        yield f"  max_delivery_attempts = {one.net.max_attempts}"
        yield "}"


def _grant(grant: Grant) -> str:
    process = grant.process if grant.process in ACCOUNTS else "agent"
    member = (
        f"google_service_account.{process}.member"
        if grant.process in ACCOUNTS
        else f'"serviceAccount:{AGENT.format(number="${data.google_project.this.number}")}"'
    )
    width = max(len(grant.kind), len("member"))
    if grant.kind == "project":
        return _block(
            "google_project_iam_member",
            process,
            [
                f"{'project':{width}} = data.google_project.this.project_id",
                f'{"role":{width}} = "{grant.role}"',
                f"{'member':{width}} = {member}",
            ],
        )
    return _block(
        f"google_pubsub_{grant.kind}_iam_member",
        f"{process}_{_id(grant.resource)}",
        [
            f"{grant.kind:{width}} = google_pubsub_{grant.kind}.{_id(grant.resource)}.name",
            f'{"role":{width}} = "{grant.role}"',
            f"{'member':{width}} = {member}",
        ],
    )


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f'resource "{kind}" "{name}" {{\n{body}\n}}'


def _id(name: str) -> str:
    return short(name).replace("-", "_")
