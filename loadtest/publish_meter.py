"""Counts what is published through a gate: of each ``Publish`` what Pub/Sub's price list counts."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from google.pubsub_v1.types import PublishRequest

from loadtest.pubsub_gate import Forward

LEAST_BILLED_BYTES: Final = 1_000
"""Of one publish request, and of what is delivered in one answer."""
BESIDE_BYTES: Final = 20 + 17
"""Of one message: its time, and an id as long as Google's."""


@dataclass(slots=True)
class Count:
    """What was published."""

    requests: int = 0
    messages: int = 0
    data_bytes: int = 0
    attribute_bytes: int = 0
    billed_bytes: int = 0
    """After the least that one request costs."""

    def add(self, request: bytes) -> None:
        """Count one ``PublishRequest``."""
        messages = PublishRequest.pb().FromString(request).messages
        data = sum(len(message.data) for message in messages)
        attributes = sum(
            len(key.encode()) + len(value.encode())
            for message in messages
            for key, value in message.attributes.items()
        )
        self.requests += 1
        self.messages += len(messages)
        self.data_bytes += data
        self.attribute_bytes += attributes
        billed = data + attributes + BESIDE_BYTES * len(messages)
        self.billed_bytes += max(LEAST_BILLED_BYTES, billed)


@dataclass(slots=True)
class PublishMeter:
    """What a gate does with ``Publish``: pass it on and count it."""

    delay_s: float = 0.0
    """How much later a publish is answered: as if the broker were farther away."""
    count: Count = field(default_factory=Count)

    async def publish(self, request: bytes, forward: Forward) -> bytes:
        """Count a request that was answered; an ``Act`` of ``PubSubGate``."""
        answer = await forward(request)
        self.count.add(request)
        await asyncio.sleep(self.delay_s)
        return answer
