"""A gRPC middle in front of the emulator that counts what is published: what Google would bill.

It forwards bytes as they are, and reads of each ``Publish`` what Pub/Sub's price list counts.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Self

import grpc
from google.pubsub_v1.types import PublishRequest

MAX_BYTES: Final = 64 * 1024 * 1024
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
    """Stands between gateway and emulator; an async context manager."""

    target: str
    """``host:port`` of the emulator."""
    delay_s: float = 0.0
    """How much later a publish is answered: as if the broker were farther away."""
    count: Count = field(init=False, default_factory=Count)
    host: str = field(init=False, default="")
    """``host:port`` of the meter: for ``PUBSUB_EMULATOR_HOST``."""
    _open: AsyncExitStack = field(init=False, default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        options = [
            ("grpc.max_receive_message_length", MAX_BYTES),
            ("grpc.max_send_message_length", MAX_BYTES),
        ]
        channel = grpc.aio.insecure_channel(self.target, options=options)
        await self._open.enter_async_context(channel)
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((_Handler(self, channel),))
        self.host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._open.push_async_callback(server.stop, None)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Break what is open."""
        await self._open.aclose()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC has no types for it
    def __init__(self, meter: PublishMeter, channel: grpc.aio.Channel) -> None:
        self._meter = meter
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method: str = handler_call_details.method
        is_publish = method.endswith("/Publish")
        call = self._channel.unary_unary(method)
        routing = tuple(
            (key, value)
            for key, value in handler_call_details.invocation_metadata
            if key.startswith("x-goog")
        )

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                answer: bytes = await call(
                    request, metadata=routing, timeout=context.time_remaining()
                )
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
                raise  # it has ended before
            if is_publish:
                self._meter.count.add(request)
                await asyncio.sleep(self._meter.delay_s)
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)
