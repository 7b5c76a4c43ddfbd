"""HTTP by hand: requests that no HTTP library would send."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from multidict import CIMultiDict
from yarl import URL

from tests.support.segops import Answer

ANSWER_WITHIN_S = 20


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open one connection to the server at ``url`` and close it in the end, whatever happened."""
    parts = URL(url)
    assert parts.host is not None
    reader, writer = await asyncio.open_connection(parts.host, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def request_bytes(
    target: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    method: str = "POST",
    version: str = "HTTP/1.1",
) -> bytes:
    """Return a request exactly as told; no header is added but Host."""
    lines = [f"{method} {target} {version}", "Host: sluice"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def read_answer(reader: asyncio.StreamReader) -> Answer | None:
    """Return the next answer on the connection, or None if the server closed it without one."""
    async with asyncio.timeout(ANSWER_WITHIN_S):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers: CIMultiDict[str] = CIMultiDict(
            (name.strip(), value.strip())
            for name, _, value in (line.partition(":") for line in lines if line)
        )
        length = headers.get("Content-Length")
        body = await (reader.readexactly(int(length)) if length is not None else reader.read())
    return Answer(status=int(first.split()[1]), headers=headers, body=body)


async def exchange(url: str, request: bytes) -> Answer | None:
    """Send bytes on a connection of their own and return the answer, None if there was none."""
    async with connect(url) as (reader, writer):
        writer.write(request)
        return await read_answer(reader)
