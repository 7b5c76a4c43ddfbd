"""How an answer, or the fault that stands in its way, goes out over a connection."""

import asyncio
import socket
import struct
from typing import Final

from aiohttp import web

from tests.simulators.amplitude.answers import Answer
from tests.simulators.amplitude.faults import Fault
from tests.simulators.amplitude.service import status_answer

PAGE: Final = b"<html><head><title>%d</title></head><body><h1>Bad gateway</h1></body></html>"
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: what is unsent is dropped and the other side sees a reset."""


def respond(answer: Answer) -> web.Response:
    """Return an answer as aiohttp sends it."""
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={"Content-Type": answer.content_type, **answer.headers},
    )


def label(answer: Answer, fault: Fault | None) -> str:
    """Return how the end of a request is called in the counters."""
    if fault is None or fault.kind == "slow":
        return str(answer.status)
    return fault.kind


async def respond_with_fault(
    request: web.Request, answer: Answer, fault: Fault
) -> web.StreamResponse:
    """Do to the connection what the fault says; ``answer`` is what would have been said."""
    match fault.kind:
        case "hang":
            await asyncio.sleep(fault.seconds)
            return cut_off(request)
        case "reset":
            return cut_off(request)
        case "slow":
            await asyncio.sleep(fault.seconds)
            return respond(answer)
        case "short_body":
            return await _break_off(request, answer)
        case "cut_body":
            half = answer.body[: len(answer.body) // 2]
            return respond(Answer(answer.status, half, answer.content_type))
        case "garbage":
            return respond(Answer(200, b"OK, thanks!"))
        case "html":
            return respond(Answer(fault.status, PAGE % fault.status, "text/html"))
        case _:
            return respond(status_answer(int(fault.kind), fault.retry_after_s))


def cut_off(request: web.Request) -> web.Response:
    """Reset the connection; what is returned never gets out."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        request.transport.abort()
    return web.Response()


async def _break_off(request: web.Request, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()  # what was written still goes out
    return response
