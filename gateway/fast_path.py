"""The short way for what nearly every request is: good events with a secret key.

On its way through parser, request object, tasks and handler, a ``track`` request costs several
times what its event costs. Where a head was sent before (``gateway.connection``), the answer to all
that a head asks is known: what is left is the body. Events that gather for the next group commit
are judged, stamped and encoded together when it begins, as those of a batch, and join it beside all
others; each is answered after its fsync, with the same bytes. Batches are judged one by one
(``gateway.fast_batch``).

Whatever is not plain goes the long way, which alone knows how to refuse: another head, an event
that is not good at first sight, a tenant with limits, tracing, the end of the process. Where there
is no room the refusal is the publisher's, as on the long way. So nothing here has words of its own,
and turning it off changes only the speed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from aiohttp import hdrs
from aiohttp.http_parser import RawRequestMessage

from gateway.connection import Connection
from gateway.core.auth import Denied, Principal, TokenKeys, authenticate_ingest
from gateway.core.large_request import LargeRequest
from gateway.core.request_shape import is_plain
from gateway.dispatch import Dispatcher
from gateway.fast_batch import MAX_BATCH_BYTES, FastBatches
from gateway.group import Group, Unstored
from gateway.known_heads import KnownHeads
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.reply import render, render_queued
from gateway.routes.ingest import (
    BATCH,
    BATCH_PATH,
    TRACK,
    TRACK_BATCH,
    TRACK_PATH,
    unstored_answer,
)
from gateway.sources.segops import TypedEvent, judge_plain, read_plain
from gateway.stamps import Stamps
from sluice.core.envelope import encode
from sluice.core.event import Event, stamp_batch
from sluice.core.tenant import Directory, Tenant
from sluice.telemetry import EVENTS_ACCEPTED, HTTP_FAST_PATH, tenant_label

MAX_BODY_BYTES: Final = 16_384
"""A longer body costs so much more than its head that the long way is no loss."""
MAX_GATHERED_BYTES: Final = 524_288
"""So much is judged together; it bounds how long the loop is busy with it."""
ANSWERED_AT_ONCE: Final = 256
"""Then others have their turn."""
QUEUED: Final = 202

_PATHS: Final = frozenset({TRACK_PATH, f"{TRACK_PATH}/"})
_BATCH_PATHS: Final = frozenset({BATCH_PATH, f"{BATCH_PATH}/"})
_SCHEME: Final = "apikey "
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """What was found out about a head."""

    fast_path: "FastPath"
    tenant: Tenant
    directory: Directory
    """In which the key was found: in another it may be none."""
    is_batch: bool
    is_gzip: bool
    """Of a batch: single events are too short for it."""


_Told = tuple[Connection, str, float]
"""Who waits for an answer, the id of the event, and since when."""


class _Taken(NamedTuple):
    """One request in hand."""

    connection: Connection
    data: bytes
    event: TypedEvent
    started: float


class FastPath:
    """Serves events and batches whose heads are known.

    Args:
        directory: The tenants as they are now.
        token_keys: As the long way authenticates.
        session_secret: As the long way authenticates.
        app: Counts what is in hand, and notes what was answered.
        publisher: Makes rows durable.
        rejections: Notes what was skipped of batches.
        stamps: Receive times and ids.
        new_request_id: Makes ids of requests.
    """

    def __init__(
        self,
        *,
        directory: Callable[[], Directory],
        token_keys: Callable[[], TokenKeys],
        session_secret: str,
        app: Dispatcher,
        publisher: Publisher,
        rejections: Rejections,
        stamps: Stamps,
        new_request_id: Callable[[], str],
    ) -> None:
        self.heads: KnownHeads[Grant] = KnownHeads(self.is_valid)
        """Known to all connections."""
        self._directory = directory
        self._token_keys = token_keys
        self._session_secret = session_secret
        self._app = app
        self._publisher = publisher
        self._stamps = stamps
        self._new_request_id = new_request_id
        self._loop = asyncio.get_running_loop()
        self._batches = FastBatches(
            app=app,
            publisher=publisher,
            rejections=rejections,
            stamps=stamps,
            new_request_id=new_request_id,
        )
        self._gathered: dict[str, tuple[Tenant, list[_Taken]]] = {}
        self._gathered_bytes = 0
        self._group = Group(self._loop)
        """For which they gather."""

    def grant(self, message: RawRequestMessage) -> Grant | None:
        """Return what a request with this head may do on the fast path; None: nothing."""
        is_batch = message.path in _BATCH_PATHS
        if (
            message.method != hdrs.METH_POST
            or not (is_batch or message.path in _PATHS)
            or message.should_close
            or message.version.minor != 1
            or not is_plain(message.headers, may_be_gzip=is_batch)
            or not message.headers[hdrs.AUTHORIZATION].lower().startswith(_SCHEME)
        ):
            return None  # of a session too: its token would be verified twice for each request
        directory = self._directory()
        who = self._authenticate(message.headers.getall(hdrs.AUTHORIZATION))
        # A session ends with its time, and a limit is counted: both are the long way's business.
        if isinstance(who, Principal) and who.uid is None and not who.tenant.has_limits:
            is_gzip = hdrs.CONTENT_ENCODING in message.headers
            return Grant(self, who.tenant, directory, is_batch=is_batch, is_gzip=is_gzip)
        return None

    def is_valid(self, grant: Grant) -> bool:
        """Whether what was found out still holds."""
        return grant.directory is self._directory()

    def take(self, grant: Grant, connection: Connection, data: bytes, begin: int) -> bool:
        """Take a request in hand; whether that was done.

        Args:
            grant: For the shape of its head.
            connection: Is given the answer, or its ``data`` back.
            data: One whole request.
            begin: Where its body begins.
        """
        if grant.is_batch:
            return self.take_batch(grant, connection, (data,), begin, time.perf_counter())
        size = len(data) - begin
        if (
            size > MAX_BODY_BYTES
            or grant.directory is not self._directory()
            or not self._app.may_hurry
        ):
            return False
        full = self._publisher.refuse(self._gathered_bytes + size)
        if full is not None:
            # Under overload the most are refused: that must cost less than to accept.
            self._app.enter()
            told = [(connection, "", time.perf_counter())]
            self._loop.call_soon(self._answer, grant.tenant.slug, told, full)
            return True
        event = read_plain(data[begin:])
        # Many send none: not worth a look together with others.
        if event is None or event.user_id is None:
            return False
        slug = grant.tenant.slug
        of_tenant = self._gathered.get(slug)
        if of_tenant is None:
            if not self._gathered:
                self._group = self._publisher.announce(self._flush)
            of_tenant = self._gathered[slug] = (grant.tenant, [])
        of_tenant[1].append(_Taken(connection, data, event, time.perf_counter()))
        self._app.enter()
        self._gathered_bytes += size
        group = self._group
        group.count += 1
        group.announced += size
        if group.is_awaited:
            self._publisher.hasten(group)
        if self._gathered_bytes >= MAX_GATHERED_BYTES:
            self._flush()
        return True

    def note_cut(self, request: LargeRequest, started: float) -> None:
        """Note a large request whose client hung up before it was whole, if its key is good."""
        who = self._authenticate(request.authorizations)
        if isinstance(who, Principal):
            is_batch = request.path == BATCH_PATH
            name, source = (TRACK_BATCH, BATCH) if is_batch else (TRACK, TRACK)
            self._batches.note_cut(who.tenant, started, name=name, source=source)

    def _authenticate(self, authorizations: Sequence[str]) -> Principal | Denied:
        return authenticate_ingest(
            authorizations,
            self._directory(),
            self._token_keys(),
            self._session_secret,
            now=time.time(),
        )

    def take_batch(
        self,
        grant: Grant,
        connection: Connection,
        pieces: Sequence[bytes],
        begin: int,
        started: float,
    ) -> bool:
        """As ``take``, for a batch; a large event is the long way's.

        Args:
            grant: For the shape of its head, which may be that of single events.
            connection: Is given the answer.
            pieces: One whole request.
            begin: Where the body begins in the first of them.
            started: When that arrived.
        """
        size = sum(map(len, pieces)) - begin
        if (
            not grant.is_batch
            or size > MAX_BATCH_BYTES
            or grant.directory is not self._directory()
            or not self._app.may_hurry
        ):
            return False
        full = self._publisher.refuse(self._gathered_bytes + size)
        if full is not None:
            self._batches.refuse(connection, grant.tenant, full, started)
            return True
        body = b"".join((memoryview(pieces[0])[begin:], *pieces[1:]))
        return self._batches.take(connection, grant.tenant, body, started, is_gzip=grant.is_gzip)

    def _flush(self) -> None:
        """Queue what was taken since the last group of the publisher."""
        gathered, self._gathered, self._gathered_bytes = self._gathered, {}, 0
        for tenant, taken in gathered.values():
            self._queue(tenant, taken)

    def _queue(self, tenant: Tenant, taken: list[_Taken]) -> None:
        """Queue what is plainly good; where something is not, look for it by halves."""
        try:
            events = self._judge(tenant, taken)
            is_queued = events is not None and self._offer(tenant, taken, events)
        except Exception:  # noqa: BLE001 - the top of these requests: the long way finds it too
            _log.warning("The fast path failed; the long way is taken", exc_info=True)
            self._give_back(taken)
            return
        if is_queued:
            return
        if events is not None or len(taken) == 1:
            self._give_back(taken)
        else:
            middle = len(taken) // 2
            self._queue(tenant, taken[:middle])
            self._queue(tenant, taken[middle:])

    def _judge(self, tenant: Tenant, taken: Sequence[_Taken]) -> list[Event] | None:
        strict = tenant.strict_event_types
        candidates = judge_plain([one.event for one in taken], strict=strict)
        if candidates is None:
            return None
        return stamp_batch(
            candidates,
            tenant=tenant.slug,
            source=TRACK,
            received_at=self._stamps.received_at(),
            new_ids=self._stamps.new_ids(len(taken)),
        )

    def _offer(self, tenant: Tenant, taken: Sequence[_Taken], events: Sequence[Event]) -> bool:
        """Queue events; whether there was room for their rows, which are longer than the bodies."""
        rows = encode("events", events)
        if self._publisher.refuse(sum(len(one.data) for one in rows)) is not None:
            return False
        told = [
            (one.connection, event.event_id, one.started)
            for one, event in zip(taken, events, strict=True)
        ]
        self._publisher.offer(rows, partial(self._answer, tenant.slug, told))
        return True

    def _give_back(self, taken: Sequence[_Taken]) -> None:
        for one in taken:
            self._app.leave()
            try:
                one.connection.give_back(one.data)
            except Exception:  # noqa: BLE001 - of one client; the others have to go on
                one.connection.fail()

    def _answer(self, slug: str, told: Sequence[_Told], outcome: Unstored | None) -> None:
        """Answer the requests of one group, some at once."""
        if len(told) > ANSWERED_AT_ONCE:
            self._loop.call_soon(self._answer, slug, told[ANSWERED_AT_ONCE:], outcome)
            told = told[:ANSWERED_AT_ONCE]
        if outcome is None:
            EVENTS_ACCEPTED.add(len(told), TRACK, tenant_label(slug))
        HTTP_FAST_PATH.add(len(told))
        note = partial(self._app.note, TRACK, method=hdrs.METH_POST, tenant=slug)
        for connection, event_id, started in told:
            is_last = self._app.is_leaving or connection.is_ending
            self._app.leave()
            try:
                request_id = self._new_request_id()
                if outcome is None:
                    data = render_queued(event_id, request_id, is_last=is_last)
                    note(QUEUED, None, started, request_id=request_id)
                else:
                    answer = unstored_answer(TRACK, outcome)
                    closes = "close" if is_last else None
                    data = render(answer, request_id=request_id, connection=closes)
                    note(answer.status, answer.error_type, started, request_id=request_id)
                connection.answer(data, is_last=is_last)
            except Exception:  # noqa: BLE001 - of one client; the others have to go on
                connection.fail()
