"""ClickHouse's HTTP interface: from a request to a statement in a lane, and back.

Order of a request: is it for this host, who asks, what is asked, which lane, run, answer. What the
engine says is passed on as a ClickHouse server would put it. Results and inserts are passed on in
portions; neither is ever held whole, but for formats that are one document and for what is small.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from aiohttp import BodyPartReader, web

from sluice.warehouse.server.accounts import READER, Accounts
from sluice.warehouse.server.answer import DISPLAY_NAME, Answer
from sluice.warehouse.server.body import MAX_STATEMENT_BYTES, Body
from sluice.warehouse.server.engine import Engine, External, Run, Session, is_streamed
from sluice.warehouse.server.errors import StatementError, bad_argument, not_supported
from sluice.warehouse.server.lanes import Lane, Lanes, Worker
from sluice.warehouse.server.person import check_size
from sluice.warehouse.server.request import (
    Call,
    database_in,
    external_structure,
    is_loopback,
    read_call,
    read_credentials,
    wrong_password,
)
from sluice.warehouse.server.statement import (
    Insert,
    Statement,
    content_type,
    find_insert,
    read_statement,
)

log = logging.getLogger(__name__)

HEAD_BYTES: Final = 64 * 1024
MAX_HEAD_BYTES: Final = 1024 * 1024
"""Bytes within which the data of an INSERT must begin."""
FIRST_PART_BYTES: Final = 256 * 1024
"""A result up to here is sent whole, with its length and its true summary."""
INLINE_CHARS: Final = 4 * 1024
"""A longer statement is looked through in a thread."""
MAX_EXTERNAL_BYTES: Final = 256 * 1024 * 1024
OK: Final = "Ok.\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, understood so far as it can be before its body is read."""

    call: Call
    is_person: bool
    is_readonly: bool
    externals: tuple[External, ...] = ()

    def session(self) -> Session:
        """Return what the statement runs under."""
        return Session(
            database=self.call.database,
            settings=self.call.settings,
            parameters=self.call.parameters,
            is_readonly=self.is_readonly,
            is_person=self.is_person,
        )


class Server:
    """The HTTP surface over one engine."""

    def __init__(self, engine: Engine, lanes: Lanes, accounts: Accounts) -> None:
        self._engine = engine
        self._lanes = lanes
        self._accounts = accounts

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        answer = Answer(request, Call(query_id=""), self._engine.version)
        if not is_loopback(request.headers.get("Host", "127.0.0.1")):
            return web.Response(status=421, text="This server answers for loopback names only.\n")
        if request.path in ("/ping", "/replicas_status"):
            return web.Response(text=OK)
        has_query = bool(request.query_string) or request.method == "POST"
        if request.path != "/" and not (has_query and database_in(request.path)):
            return web.Response(status=404, text=f"There is no handle {request.path}\n")
        if request.method in ("GET", "HEAD") and not request.query_string:
            return web.Response(text=OK, headers={"X-ClickHouse-Server-Display-Name": DISPLAY_NAME})
        if request.method not in ("GET", "HEAD", "POST"):
            return web.Response(status=405, text="Use GET, HEAD or POST.\n")
        try:
            person = self._authenticate(request)
            call = read_call(request.query.items(), request.headers, path=request.path)
            call = replace(call, query_id=call.query_id or str(uuid4()))
            answer = Answer(request, call, self._engine.version)
            is_readonly = person or request.method != "POST"
            return await self._answer(request, Asked(call, person, is_readonly), answer)
        except StatementError as error:
            return answer.failed(error)
        except ConnectionError:
            raise  # nobody is there to be answered
        except Exception as error:  # the top of a request: it answers, whatever happened
            log.exception("A request failed inside the warehouse server")
            return answer.failed(StatementError(1002, "UNKNOWN_EXCEPTION", repr(error)))

    def _authenticate(self, request: web.BaseRequest) -> bool:
        """Return whether the request comes from a person with read access only."""
        given = read_credentials(request.headers, request.query)
        if given is None:
            raise StatementError(194, "REQUIRED_PASSWORD", "User name and password are required")
        if not self._accounts.is_valid(given.user, given.password):
            raise wrong_password(given.user)
        return given.user == READER

    async def _answer(
        self, request: web.BaseRequest, asked: Asked, answer: Answer
    ) -> web.StreamResponse:
        body = Body(request, is_in_blocks=asked.call.is_body_compressed)
        if request.content_type == "multipart/form-data":
            asked = await self._read_form(request, asked)
            return await self._statement(asked, asked.call.query, answer)
        head = asked.call.query.encode() + b"\n" if asked.call.query else b""
        if asked.is_person:  # who inserts nothing: all of the body is statement
            head += await body.whole(MAX_STATEMENT_BYTES)
            return await self._statement(asked, _decode(head), answer)
        text, insert = await self._find_insert(head, body, asked.call)
        if insert is not None:
            return await self._insert(asked, insert, body, answer)
        return await self._statement(asked, text, answer)

    async def _find_insert(self, head: bytes, body: Body, call: Call) -> tuple[str, Insert | None]:
        """Read the body as far as needed; leave it at the first byte of an INSERT's data.

        No more than is needed is decoded: one read may give megabytes of rows, and this is the
        event loop. Where the URL has the whole statement, nothing of the body is.
        """
        size = HEAD_BYTES
        is_read = not head
        while True:
            if is_read and len(head) < size:
                head += await body.read(size - len(head))
            is_whole = body.is_at_end and len(head) <= size
            text = head[:size].decode("utf-8", "surrogateescape")
            insert = find_insert(text, default_format=call.default_format, is_whole=is_whole)
            if insert is not None:
                data_at = len(text[: insert.data_at].encode("utf-8", "surrogateescape"))
                body.push_back(head[data_at:])
                return text, insert
            if is_read:
                if is_whole or size > MAX_HEAD_BYTES or not _is_insert(text):
                    head += await body.whole(MAX_STATEMENT_BYTES)
                    return _decode(head), None
                size *= 2
            is_read = True

    async def _read_form(self, request: web.BaseRequest, asked: Asked) -> Asked:
        pairs = list(request.query.items())
        files: list[tuple[str, bytes]] = []
        room = MAX_EXTERNAL_BYTES
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise not_supported("Multipart inside multipart")
            data = await _read_part(part, room)
            room -= len(data)
            name = part.name or "_data"
            if part.filename is None:
                pairs.append((name, _decode(data)))
            else:
                files.append((name, data))
        tables = [name for name, _ in files]
        call = read_call(pairs, request.headers, tables=tables, path=request.path)
        params = dict(pairs)
        externals = tuple(
            External(
                name,
                external_structure(name, params),
                params.get(f"{name}_format", "TabSeparated"),
                data,
            )
            for name, data in files
        )
        return replace(asked, call=replace(call, query_id=asked.call.query_id), externals=externals)

    def _lane(self, asked: Asked, statement: Statement) -> Lane:
        if asked.is_person:
            return self._lanes.people
        match statement.kind:
            case "read":
                return self._lanes.service
            case "insert":
                return self._lanes.insert
            case "write":
                return self._lanes.writer
            case "session":
                raise not_supported(
                    "Sessions are not kept: send settings with each request, not SET or USE"
                )

    async def _statement(self, asked: Asked, text: str, answer: Answer) -> web.StreamResponse:
        if asked.is_person:
            check_size(text)
        statement = await _off_loop(lambda: read_statement(text), len(text))
        if not statement.sql.strip():
            raise StatementError(62, "SYNTAX_ERROR", "Syntax error: Empty query")
        output_format = statement.format or asked.call.default_format or "TabSeparated"
        answer.describe(
            {
                "X-ClickHouse-Format": output_format,
                "Content-Type": content_type(output_format),
            }
        )
        lane = self._lane(asked, statement)
        async with lane.worker() as worker:
            job = _Job(self._engine, lane, worker, asked.session())
            try:
                async with asyncio.timeout(lane.spec.limit_s):
                    return await self._read(job, statement, output_format, asked, answer)
            except TimeoutError:
                raise StatementError(
                    159, "TIMEOUT_EXCEEDED", f"Timeout exceeded: maximum: {lane.spec.limit_s} s"
                ) from None
            finally:
                await job.close()

    async def _read(
        self, job: "_Job", statement: Statement, output_format: str, asked: Asked, answer: Answer
    ) -> web.StreamResponse:
        is_in_parts = statement.is_select and is_streamed(output_format)
        run, parts, is_all = await job.begin(
            statement.sql, output_format, asked.externals, is_in_parts=is_in_parts
        )
        if is_all:
            return await answer.whole(b"".join(parts), run.progress)
        begun = await answer.begin(run.progress)
        try:
            for part in parts:
                await begun.part(part)
            while (more := await job.fetch(run)) is not None:
                await begun.part(more)
        except StatementError as error:
            return await begun.failed(error)
        return await begun.end()

    async def _insert(
        self, asked: Asked, insert: Insert, body: Body, answer: Answer
    ) -> web.StreamResponse:
        lane = self._lanes.insert
        async with lane.worker() as worker:
            job = _Job(self._engine, lane, worker, asked.session())
            try:
                async with asyncio.timeout(lane.spec.limit_s):
                    run = await job.insert(insert, body)
            except TimeoutError:
                raise StatementError(
                    159, "TIMEOUT_EXCEEDED", f"Timeout exceeded: maximum: {lane.spec.limit_s} s"
                ) from None
            finally:
                await job.close()
        answer.describe({"Content-Type": "text/plain; charset=UTF-8"})
        return await answer.whole(b"", run.progress)


class _Job:
    """One statement in one worker: opens its run there, and closes it whatever happens."""

    def __init__(self, engine: Engine, lane: Lane, worker: Worker, session: Session) -> None:
        self._engine = engine
        self._lane = lane
        self._worker = worker
        self._session = session
        self._run: Run | None = None

    def _open(self) -> Run:
        run = self._run = self._engine.open(self._session)
        run.prepare(self._lane.spec.defaults)
        return run

    def _kill(self) -> None:
        if self._run is not None:
            self._engine.kill(self._run)

    async def begin(
        self, sql: str, output_format: str, externals: tuple[External, ...], *, is_in_parts: bool
    ) -> tuple[Run, list[bytes], bool]:
        """Start a statement; return its first parts and whether they are all."""

        def work() -> tuple[Run, list[bytes], bool]:
            run = self._open()
            run.check(sql, output_format)
            run.load(externals)
            if not is_in_parts:
                return run, [run.read(sql, output_format)], True
            run.open_stream(sql, output_format)
            parts: list[bytes] = []
            while sum(map(len, parts)) < FIRST_PART_BYTES:
                part = run.fetch()
                if part is None:
                    return run, parts, True
                parts.append(part)
            return run, parts, False

        return await self._worker.run_or_kill(self._kill, work)

    async def fetch(self, run: Run) -> bytes | None:
        """Return the next part of a result, or None behind the last."""
        return await self._worker.run_or_kill(self._kill, run.fetch)

    async def insert(self, insert: Insert, body: Body) -> Run:
        """Pass the data on as it arrives; return when all of it is in the table."""

        def begin() -> Run:
            run = self._open()
            run.begin_insert(insert.sql, insert.format)
            return run

        run = await self._worker.run(begin)
        appended: asyncio.Future[None] | None = None
        async for portion in body.portions():  # the next is read while the engine parses the last
            if appended is not None:
                await asyncio.shield(appended)
            appended = self._worker.start(run.append, portion)
        if appended is not None:
            await asyncio.shield(appended)
        await self._worker.run(run.finish_insert)
        return run

    async def close(self) -> None:
        """Close the run; what it had not committed is gone."""
        if self._run is not None:
            await self._worker.run_or_kill(self._kill, self._run.close)


async def _read_part(part: BodyPartReader, room: int) -> bytes:
    chunks: list[bytes] = []
    while chunk := await part.read_chunk(256 * 1024):
        chunks.append(bytes(chunk))
        room -= len(chunk)
        if room < 0:
            raise bad_argument(f"External data is larger than {MAX_EXTERNAL_BYTES} bytes")
    return b"".join(chunks)


def _is_insert(text: str) -> bool:
    return read_statement(text[:200]).kind == "insert"


async def _off_loop(read: Callable[[], Statement], size: int) -> Statement:
    return read() if size < INLINE_CHARS else await asyncio.to_thread(read)


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise bad_argument(
            "The query is not UTF-8: send binary data in the body of an INSERT"
        ) from None
