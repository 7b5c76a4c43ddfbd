"""A gRPC gate in front of the Pub/Sub emulator: each call may be refused, delayed or changed.

It forwards bytes, so that what it does not touch is exactly what client and emulator said.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Self

import grpc

Forward = Callable[[bytes], Awaitable[bytes]]
Act = Callable[[bytes, Forward], Awaitable[bytes]]
"""Takes a request and the way to the emulator; returns the answer or raises ``RefusalError``."""

MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class RefusalError(Exception):
    """What a call is answered with instead."""

    status: grpc.StatusCode
    detail: str = "refused by the gate"


@dataclass(slots=True)
class PubSubGate:
    """Stands between Sluice and the emulator; an async context manager."""

    target: str
    """``host:port`` of the emulator."""
    acts: dict[str, Act] = field(default_factory=dict)
    """By the name of the method, such as ``Publish``; the others are forwarded."""
    calls: dict[str, int] = field(default_factory=dict)
    """How often each method was called."""
    credentials: grpc.ServerCredentials | None = None
    """For TLS, as Google's own service is reached."""
    host: str = field(init=False, default="")
    """``host:port`` of the gate: for ``PUBSUB_EMULATOR_HOST``."""
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
        if self.credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", self.credentials)
        self.host = f"127.0.0.1:{port}"
        await server.start()
        self._open.push_async_callback(server.stop, None)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Break what is open."""
        await self._open.aclose()

    def refuse(self, *methods: str, status: grpc.StatusCode) -> None:
        """Answer these methods with a status from now on."""

        async def act(_request: bytes, _forward: Forward) -> bytes:
            raise RefusalError(status)

        self.acts |= dict.fromkeys(methods, act)


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC has no types for it
    def __init__(self, gate: PubSubGate, channel: grpc.aio.Channel) -> None:
        self._gate = gate
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        name = method.rpartition("/")[2]
        call = self._channel.unary_unary(method)
        routing = _routing(dict(handler_call_details.invocation_metadata))

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            async def forward(request: bytes) -> bytes:
                answer: bytes = await call(
                    request, metadata=routing, timeout=context.time_remaining()
                )
                return answer

            self._gate.calls[name] = self._gate.calls.get(name, 0) + 1
            act = self._gate.acts.get(name)
            try:
                return await (act(request, forward) if act else forward(request))
            except RefusalError as refusal:
                status, detail = refusal.status, refusal.detail
            except grpc.aio.AioRpcError as error:
                status, detail = error.code(), error.details() or ""
            await context.abort(status, detail)
            raise AssertionError  # it has raised

        return grpc.unary_unary_rpc_method_handler(handle)


def _routing(metadata: Mapping[str, str | bytes]) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in metadata.items() if key.startswith("x-goog"))
