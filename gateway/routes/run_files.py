"""``GET /api/workflow/runs/{run_id}/files/{name}``: a file that a run left, for its own tenant."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

from aiohttp import hdrs

from gateway.core.answers import Answer, Stream, refused_one
from gateway.core.ranges import read_range
from gateway.core.runs_query import NO_NAMES
from gateway.core.runs_view import NamedFile, named_file
from gateway.dispatch import Exchange, Route, segments
from gateway.routes.runs import PATH, answering, unknown_run
from gateway.run_book import RunBook
from gateway.run_callers import RunCallers
from sluice.core.errors import ErrorType
from sluice.core.tokens import READ_SCOPE
from sluice.workflows.files import RunFiles

PIECE_BYTES: Final = 256 * 1024
MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".txt": "text/plain; charset=utf-8",
}
"""Where the outputs do not name one."""
_ANY_TYPE: Final = "application/octet-stream"
_RUN_AT: Final = 3
_NAME_AT: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFileRoutes:
    """The handler and what it needs."""

    callers: RunCallers
    book: RunBook
    files: RunFiles

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(
                name="run_file",
                path=f"{PATH}/{{run_id}}/files/{{name}}",
                handlers={hdrs.METH_GET: answering(self.file)},
            )
        ]

    async def file(self, exchange: Exchange) -> Answer:
        """Return a file, or one range of it, without ever holding it."""
        caller = self.callers.admit(exchange, scope=READ_SCOPE, names=NO_NAMES)
        if isinstance(caller, Answer):
            return caller
        parts = segments(exchange)
        name = parts[_NAME_AT]
        run = await self.book.find(caller.runner.tenant.slug, parts[_RUN_AT])
        if run is None:
            return unknown_run()
        path = self.files.path(run.tenant, run.run_id, name)
        size = None if path is None else await asyncio.to_thread(_size_of, path)
        if path is None or size is None:
            return refused_one(ErrorType.RUN_FILE_UNKNOWN, "This run has no file of this name.")
        known = named_file(run.outputs, name)
        headers = exchange.request.headers
        wanted = headers.get(hdrs.RANGE)
        if headers.get(hdrs.IF_RANGE, _etag(known)) != _etag(known):
            wanted = None
        part = read_range(wanted, size)
        if part is False:
            return refused_one(
                ErrorType.RANGE_UNSATISFIABLE,
                f"The file has {size} bytes.",
                content_range=f"bytes */{size}",
            )
        return _answer(path, known, size, None if part is True else part)


def _answer(path: Path, known: NamedFile, size: int, part: tuple[int, int] | None) -> Answer:
    start, length = part or (0, size)
    headers = [
        ("Content-Disposition", f'attachment; filename="{path.name}"'),
        ("Accept-Ranges", "bytes"),
    ]
    if known.sha256:
        encoded = b64encode(bytes.fromhex(known.sha256)).decode()
        headers += [
            ("ETag", _etag(known)),
            ("Digest", f"sha-256={encoded}"),
            ("Repr-Digest", f"sha-256=:{encoded}:"),
        ]
    if part is not None:
        headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{size}"))
    return Answer(
        HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT,
        content_type=known.media_type or MEDIA_TYPES.get(path.suffix, _ANY_TYPE),
        headers=tuple(headers),
        stream=Stream(length, lambda: _pieces(path, start, length)),
    )


def _etag(known: NamedFile) -> str:
    return f'"{known.sha256}"'


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


async def _pieces(path: Path, start: int, length: int) -> AsyncGenerator[bytes, None]:
    """Yield a part of a file; the disk is read off the event loop.

    Raises:
        OSError: It cannot be read, or is shorter than it was.
    """
    file = await asyncio.to_thread(_opened, path, start)
    try:
        left = length
        while left:
            piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, left))
            if not piece:
                message = "the file is shorter than it was"
                raise OSError(message)
            left -= len(piece)
            yield piece
    finally:
        file.close()


def _opened(path: Path, start: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(start)
    return file
