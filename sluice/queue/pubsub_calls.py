"""Pub/Sub's calls that a running gateway or worker makes, bare over a gRPC channel.

Google's generated clients cost some 0.2 ms of processor time a call for what these do not need:
they coerce, wrap, intercept and may retry. Here a call is bytes that protobuf made, a deadline and
the routing header that Google asks for. What they raise is the same: ``google.api_core``'s errors.
"""

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus

import grpc
from google.api_core import exceptions as google

from sluice.queue.pubsub_messages import (
    AcknowledgeRequest,
    GetSubscriptionRequest,
    GetTopicRequest,
    ModifyAckDeadlineRequest,
    PullRequest,
    PullResponse,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)

T = TypeVar("T")

PUBLISHER: Final = "/google.pubsub.v1.Publisher/"
SUBSCRIBER: Final = "/google.pubsub.v1.Subscriber/"
TEST_PERMISSIONS: Final = "/google.iam.v1.IAMPolicy/TestIamPermissions"
_NAMES_KEPT: Final = 64


@lru_cache(_NAMES_KEPT)
def routing(field: str, name: str) -> tuple[tuple[str, str], ...]:
    """Return the header by which Google finds who serves a topic or subscription."""
    return (("x-goog-request-params", f"{field}={quote_plus(name, safe='/')}"),)


class Calls:
    """The calls over one channel; each raises ``google.api_core.exceptions.GoogleAPICallError``."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._publish = channel.unary_unary(PUBLISHER + "Publish")
        self._pull = channel.unary_unary(
            SUBSCRIBER + "Pull", response_deserializer=PullResponse.FromString
        )
        self._acknowledge = channel.unary_unary(SUBSCRIBER + "Acknowledge")
        self._modify = channel.unary_unary(SUBSCRIBER + "ModifyAckDeadline")
        self._get_topic = channel.unary_unary(PUBLISHER + "GetTopic")
        self._get_subscription = channel.unary_unary(SUBSCRIBER + "GetSubscription")
        self._test_permissions = channel.unary_unary(
            TEST_PERMISSIONS, response_deserializer=TestIamPermissionsResponse.FromString
        )

    async def publish(self, topic: str, request: bytes, *, timeout_s: float) -> None:
        """Publish a serialised ``PublishRequest``; all its messages are durable on return."""
        await _answer(self._publish(request, metadata=routing("topic", topic), timeout=timeout_s))

    async def pull(self, name: str, *, max_messages: int, timeout_s: float) -> Sequence[Any]:
        """Return messages (``ReceivedMessage``) as soon as there are some."""
        request = PullRequest(subscription=name, max_messages=max_messages)
        answer = await _answer(
            self._pull(
                request.SerializeToString(),
                metadata=routing("subscription", name),
                timeout=timeout_s,
            )
        )
        received: Sequence[Any] = answer.received_messages
        return received

    async def acknowledge(self, name: str, ack_ids: Sequence[str], *, timeout_s: float) -> None:
        """Acknowledge for good."""
        request = AcknowledgeRequest(subscription=name, ack_ids=ack_ids)
        await _answer(
            self._acknowledge(
                request.SerializeToString(),
                metadata=routing("subscription", name),
                timeout=timeout_s,
            )
        )

    async def modify_ack_deadline(
        self, name: str, ack_ids: Sequence[str], *, seconds: int, timeout_s: float
    ) -> None:
        """Let leases end so many seconds from now; 0: at once."""
        request = ModifyAckDeadlineRequest(
            subscription=name, ack_ids=ack_ids, ack_deadline_seconds=seconds
        )
        await _answer(
            self._modify(
                request.SerializeToString(),
                metadata=routing("subscription", name),
                timeout=timeout_s,
            )
        )

    async def find_topic(self, topic: str, *, timeout_s: float) -> None:
        """Return if there is such a topic."""
        request = GetTopicRequest(topic=topic).SerializeToString()
        await _answer(self._get_topic(request, metadata=routing("topic", topic), timeout=timeout_s))

    async def find_subscription(self, name: str, *, timeout_s: float) -> None:
        """Return if there is such a subscription."""
        request = GetSubscriptionRequest(subscription=name).SerializeToString()
        await _answer(
            self._get_subscription(
                request, metadata=routing("subscription", name), timeout=timeout_s
            )
        )

    async def is_permitted(self, resource: str, permission: str, *, timeout_s: float) -> bool:
        """Return whether this process has a permission on a topic or subscription."""
        request = TestIamPermissionsRequest(resource=resource, permissions=[permission])
        answer = await _answer(
            self._test_permissions(
                request.SerializeToString(),
                metadata=routing("resource", resource),
                timeout=timeout_s,
            )
        )
        return permission in answer.permissions


async def _answer(call: Awaitable[T]) -> T:
    try:
        answer = await call
    except grpc.RpcError as error:
        raise google.from_grpc_error(error) from error  # type: ignore[no-untyped-call]  # no types
    if answer is None:  # what gRPC gives for an answer that is none of the protocol's
        message = "the answer cannot be read"
        raise google.Unknown(message)  # type: ignore[no-untyped-call]  # it has no types
    return answer
