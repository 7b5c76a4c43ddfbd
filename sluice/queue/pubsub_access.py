"""What this process may do on Pub/Sub, and how what is there is set.

The first two questions need no role at all (``testIamPermissions``), so that the publisher role
alone is enough for a gateway. Google means the answer for tools: it may say yes too often, never
no. The emulator has no roles: there it is asked whether the thing exists.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from google.api_core import exceptions as google

from sluice.queue.pubsub_connect import CALL_TIMEOUT_S, Clients
from sluice.queue.pubsub_faults import NotGrantedError
from sluice.queue.pubsub_plan import Net, Subscription, Topic

MAY_PUBLISH: Final = "pubsub.topics.publish"
MAY_CONSUME: Final = "pubsub.subscriptions.consume"


async def may_publish(clients: Clients, topic: str, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
    """Return if this process may publish to a topic.

    Args:
        clients: The connection to ask over.
        topic: Full name of the topic.
        timeout_s: For each of at most two calls.

    Raises:
        NotFound: There is no such topic.
        PermissionDenied: It is there, but the role is missing.
        NotGrantedError: One of the two; Google does not tell this process which.
        GoogleAPIError, GoogleAuthError: It could not be asked.
    """
    find = partial(clients.calls.find_topic, topic, timeout_s=timeout_s)
    await _may(clients, topic, MAY_PUBLISH, find, timeout_s)


async def may_consume(
    clients: Clients, subscription: str, *, timeout_s: float = CALL_TIMEOUT_S
) -> None:
    """Return if this process may pull from a subscription; raises as ``may_publish``."""
    find = partial(clients.calls.find_subscription, subscription, timeout_s=timeout_s)
    await _may(clients, subscription, MAY_CONSUME, find, timeout_s)


async def get_topic(clients: Clients, topic: str, *, timeout_s: float = CALL_TIMEOUT_S) -> Topic:
    """Return how a topic is set; needs the viewer's role."""
    found: Any = await clients.publisher.get_topic(topic=topic, retry=None, timeout=timeout_s)
    return Topic(name=topic, kept_s=type(found).pb(found).message_retention_duration.seconds)


async def get_subscription(
    clients: Clients, subscription: str, *, timeout_s: float = CALL_TIMEOUT_S
) -> Subscription:
    """Return how a subscription is set; needs the viewer's role."""
    found: Any = await clients.subscriber.get_subscription(
        subscription=subscription, retry=None, timeout=timeout_s
    )
    return _as_found(type(found).pb(found))


async def _may(
    clients: Clients,
    resource: str,
    permission: str,
    find: Callable[[], Awaitable[None]],
    timeout_s: float,
) -> None:
    try:
        is_permitted = await clients.calls.is_permitted(resource, permission, timeout_s=timeout_s)
    except google.MethodNotImplemented:
        await find()
        return
    if is_permitted:
        return
    try:
        await find()  # which of the two it is, where this process may know
    except google.PermissionDenied as error:
        message = f"{resource} does not exist or may not be used"
        raise NotGrantedError(message) from error
    message = f"{permission} is not granted on {resource}"
    raise google.PermissionDenied(message)  # type: ignore[no-untyped-call]  # it has no types


def _as_found(found: Any) -> Subscription:
    net = None
    if found.HasField("dead_letter_policy"):
        policy = found.dead_letter_policy
        net = Net(topic=policy.dead_letter_topic, max_attempts=policy.max_delivery_attempts)
    places = (
        found.push_config.push_endpoint,
        found.bigquery_config.table,
        found.cloud_storage_config.bucket,
    )
    return Subscription(
        name=found.name,
        topic=found.topic,
        ack_deadline_s=found.ack_deadline_seconds,
        kept_s=found.message_retention_duration.seconds,
        expires_after_s=found.expiration_policy.ttl.seconds or None,
        net=net,
        is_detached=found.detached,
        filter=found.filter,
        pushes_to=next(filter(None, places), ""),
    )
