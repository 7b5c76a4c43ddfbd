"""What ``sluice doctor`` looks at on Google Pub/Sub: what this process may do, and the settings.

What every call would stumble over (credentials, project, network) is one finding, and the last.
"""

from collections.abc import AsyncIterator, Collection
from typing import Final

from google.api_core import exceptions as google

from sluice.cli.findings import Finding
from sluice.core.errors import QueueUnavailableError
from sluice.queue.pubsub_access import get_subscription, get_topic, may_consume, may_publish
from sluice.queue.pubsub_connect import Clients, emulator_host
from sluice.queue.pubsub_faults import FAILURES, Fault, fault_of
from sluice.queue.pubsub_plan import (
    PUBLISHER_ROLE,
    SUBSCRIBER_ROLE,
    VIEWER_ROLE,
    Grant,
    Plan,
    Subscription,
    Topic,
    differences,
    plan_of,
    short,
    topic_differences,
)
from sluice.queue.pubsub_setup import Part, connected
from sluice.queue.pubsub_wire import Names
from sluice.settings import Settings

NAME: Final = "queue"
ASKED: Final = {PUBLISHER_ROLE: may_publish, SUBSCRIBER_ROLE: may_consume}
VERBS: Final = {PUBLISHER_ROLE: "may be published to", SUBSCRIBER_ROLE: "may be pulled from"}
UNSEEN: Final = f"its settings are not seen without {VIEWER_ROLE}"


class _GeneralFaultError(Exception):
    """Nothing on Pub/Sub can be asked; the text says why and what to do."""


async def check_pubsub(
    settings: Settings, project: str, processes: Collection[str]
) -> list[Finding]:
    """Return how the project is, then each thing in it that these processes use."""
    plan = plan_of(Names(project), keep_days=settings.pubsub_keep_days)
    where = emulator_host() or settings.pubsub_endpoint
    try:
        async with connected(project, settings.pubsub_endpoint) as clients:
            found = [finding async for finding in _check_parts(clients, plan, processes)]
    except (QueueUnavailableError, _GeneralFaultError) as error:
        return [Finding(NAME, "fail", str(error))]
    return [Finding(NAME, "ok", f"Pub/Sub of project {project} answers at {where}"), *found]


async def _check_parts(
    clients: Clients, plan: Plan, processes: Collection[str]
) -> AsyncIterator[Finding]:
    grants = {grant.resource: grant for grant in plan.grants if grant.process in processes}
    for topic in plan.topics:
        if topic.name in grants:
            yield await _check_topic(clients, topic, grants[topic.name])
    for planned in plan.subscriptions:
        if planned.name in grants or planned.topic in grants:
            yield await _check_subscription(clients, planned, grants.get(planned.name))


async def _check_topic(clients: Clients, planned: Topic, grant: Grant) -> Finding:
    name = f"topic {short(planned.name)}"
    fault = await _missing(clients, grant)
    if fault is not None:
        return Finding(
            name,
            "fail",
            fault.sentence,
            f"it is for the {grant.process}: `sluice doctor --for` leaves out others",
        )
    said = VERBS[grant.role]
    if not planned.kept_s:
        return Finding(name, "ok", said)
    try:
        found = await get_topic(clients, planned.name)
    except google.PermissionDenied:
        return Finding(name, "ok", f"{said}; {UNSEEN}")
    except FAILURES as error:
        return Finding(name, "fail", _fault(error, planned.name, VIEWER_ROLE).sentence)
    if differs := topic_differences(planned, found):
        words = differs[0].words
        return Finding(name, "warn", f"not as planned: {words}", "`sluice setup` mends it")
    return Finding(name, "ok", f"{said}, {found.words}")


async def _check_subscription(
    clients: Clients, planned: Subscription, grant: Grant | None
) -> Finding:
    name = f"subscription {short(planned.name)}"
    said = "exists"
    if grant is not None:
        fault = await _missing(clients, grant)
        if fault is not None:
            return Finding(
                name,
                "fail",
                fault.sentence,
                f"it is for the {grant.process}: `sluice doctor --for` leaves out others",
            )
        said = VERBS[grant.role]
    try:
        found = await get_subscription(clients, planned.name)
    except google.PermissionDenied:
        return Finding(name, "ok", f"{said}; {UNSEEN}" if grant else UNSEEN)
    except FAILURES as error:
        return Finding(name, "fail", _fault(error, planned.name, VIEWER_ROLE).sentence)
    return _compared(name, said, planned, found)


def _compared(name: str, said: str, planned: Subscription, found: Subscription) -> Finding:
    part = Part(
        kind="subscription",
        name=planned.name,
        outcome="exists",
        planned=planned,
        differs=tuple(differences(planned, found)),
    )
    differs = "; ".join(one.words for one in part.differs)
    if part.is_fatal:
        return Finding(name, "fail", f"not as planned: {differs}", part.remedy)
    if part.is_mendable:
        return Finding(name, "warn", f"not as planned: {differs}", "`sluice setup` mends it")
    if differs:
        return Finding(name, "warn", f"not as planned: {differs}", "see that somebody wants it so")
    return Finding(name, "ok", f"{said}, {found.words}")


async def _missing(clients: Clients, grant: Grant) -> Fault | None:
    """Return why a grant's thing cannot be used; None if it can."""
    try:
        await ASKED[grant.role](clients, grant.resource)
    except FAILURES as error:
        return _fault(error, grant.resource, grant.role)
    return None


def _scope(fault: Fault, grant: Grant) -> str:
    if grant.role not in fault.sentence:
        return ""
    return f"only the {grant.process} needs it; see `sluice doctor --for`"


def _fault(error: Exception, resource: str, role: str) -> Fault:
    fault = fault_of(error, resource=resource, role=role)
    if fault.is_general:
        raise _GeneralFaultError(fault.sentence) from error
    return fault
