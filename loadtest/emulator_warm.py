"""Brings Google's emulator to the speed that it keeps, before anything is measured on it.

A bare gRPC client publishes for that, without Sluice. The first publishes run code that Java has
not compiled yet, and each costs the emulator three times the processor of a later one.
"""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from loadtest.emulator import Emulator
from sluice.queue.pubsub_calls import PUBLISHER
from sluice.queue.pubsub_messages import PubsubMessage
from sluice.queue.pubsub_wire import to_request

DEADLINE_S: Final = 10.0
WARM_UP_PUBLISHES: Final = 5_000
"""A publish costs no less after more of them."""
WARM_UP_S: Final = 60.0
"""At most, on a machine that is busy."""
IN_FLIGHT: Final = 4
BODY_BYTES: Final = 1_000
"""Small, because the emulator keeps all of it in its heap."""


@contextmanager
def bare_publish(host: str) -> Iterator[Any]:
    """Yield the call that publishes a serialised request, over a channel of its own."""
    with grpc.insecure_channel(host) as channel:
        yield channel.unary_unary(PUBLISHER + "Publish")


def publish_for(
    stub: Any, request: bytes, in_flight: int, seconds: float, *, count: int = sys.maxsize
) -> int:
    """Publish the same request again and again; return how often it was acknowledged.

    Raises:
        grpc.RpcError: A publish failed.
    """
    waiting: deque[Any] = deque()
    done = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until and done < count:
        while len(waiting) < in_flight:
            waiting.append(stub.future(request, timeout=DEADLINE_S))
        waiting.popleft().result()
        done += 1
    for call in waiting:
        call.result()
    return done + len(waiting)


def warm_up(emulator: Emulator, topic: str) -> int:
    """Publish until the emulator is as fast as it gets; return how often.

    Args:
        emulator: Keeps what is published, for whoever has a subscription.
        topic: Full name of one that is there.

    Raises:
        grpc.RpcError: A publish failed.
    """
    message = PubsubMessage(data=bytes(BODY_BYTES), attributes={"kind": "events"})
    with bare_publish(emulator.host) as stub:
        request = to_request(topic, [message])
        return publish_for(stub, request, IN_FLIGHT, WARM_UP_S, count=WARM_UP_PUBLISHES)
