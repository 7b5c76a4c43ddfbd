"""Batches on the fast path: parsed where they arrive, without request object, stream and task.

A batch is judged by the same functions as on the long way, as soon as its last byte is there, and
with the same answers: what is bad in it is skipped and noted. Only a batch that is refused as a
whole, or is not what its encoding says, is given to the long way, which knows why.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from aiohttp import hdrs

from gateway.body import INCOMPLETE
from gateway.connection import Connection
from gateway.core.answers import Answer, queued_batch, refused
from gateway.core.inflate import InflatedTooLargeError, Inflater, UndecodableError
from gateway.dispatch import Dispatcher
from gateway.group import Unstored
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.reply import render
from gateway.routes.ingest import BATCH, TRACK_BATCH, unstored_answer
from gateway.sources.segops import parse_batch
from gateway.stamps import Stamps
from sluice.core.envelope import encode
from sluice.core.errors import Rejected
from sluice.core.event import stamp_batch
from sluice.core.tenant import Tenant
from sluice.telemetry import EVENTS_ACCEPTED, EVENTS_NORMALISED, HTTP_FAST_PATH, tenant_label

MAX_BATCH_BYTES: Final = 1_048_576
"""Bound on a batch as it is sent, and once it is inflated; a longer one takes the long way."""

_log = logging.getLogger(__name__)


class _Taken(NamedTuple):
    """A batch in hand; what waits for the disk needs no more of it than its answer does."""

    connection: Connection
    slug: str
    started: float
    accepted: int = 0
    rejected: Sequence[Rejected] = ()
    normalised: Mapping[str, int] = {}


class FastBatches:
    """Queues batches and answers them.

    Args:
        app: Counts what is in hand, and notes what was answered.
        publisher: Makes rows durable.
        rejections: Notes what was skipped.
        stamps: Receive times and ids.
        new_request_id: Makes ids of requests.
    """

    def __init__(
        self,
        *,
        app: Dispatcher,
        publisher: Publisher,
        rejections: Rejections,
        stamps: Stamps,
        new_request_id: Callable[[], str],
    ) -> None:
        self._app = app
        self._publisher = publisher
        self._rejections = rejections
        self._stamps = stamps
        self._new_request_id = new_request_id
        self._loop = asyncio.get_running_loop()

    def take(
        self,
        connection: Connection,
        tenant: Tenant,
        body: bytes,
        started: float,
        *,
        is_gzip: bool,
    ) -> bool:
        """Queue the good events of a batch; return False where the long way has to refuse it."""
        try:
            text = _inflated(body) if is_gzip else body
            return text is not None and self._queue(connection, tenant, text, started)
        except Exception:  # noqa: BLE001 - the top of this request: the long way finds it too
            _log.warning("The fast path failed; the long way is taken", exc_info=True)
            return False

    def refuse(
        self, connection: Connection, tenant: Tenant, full: Unstored, started: float
    ) -> None:
        """Say that there is no room, in the next turn of the loop."""
        self._app.enter()
        self._loop.call_soon(self._answer, _Taken(connection, tenant.slug, started), full)

    def note_cut(self, tenant: Tenant, started: float, *, name: str, source: str) -> None:
        """Note a request whose client hung up before it was whole.

        Args:
            tenant: Whose key it had.
            started: When it began to arrive.
            name: Of its route.
            source: That its events are of.
        """
        request_id = self._new_request_id()
        self._rejections.record(tenant.slug, source, (INCOMPLETE,), request_id)
        self._note(tenant.slug, refused((INCOMPLETE,)), started, request_id, name=name)

    def _queue(self, connection: Connection, tenant: Tenant, text: bytes, started: float) -> bool:
        parsed = parse_batch(text, strict=tenant.strict_event_types)
        if isinstance(parsed, Rejected):
            return False
        accepted = len(parsed.candidates)
        rows = encode(
            "events",
            stamp_batch(
                parsed.candidates,
                tenant=tenant.slug,
                source=BATCH,
                received_at=self._stamps.received_at(),
                new_ids=self._stamps.new_ids(accepted),
            ),
        )
        # Rows are longer than the body was.
        full = self._publisher.refuse(sum(len(one.data) for one in rows)) if rows else None
        if full is not None:
            self.refuse(connection, tenant, full, started)
            return True
        taken = _Taken(
            connection, tenant.slug, started, accepted, parsed.rejected, parsed.normalised
        )
        self._app.enter()
        if rows:
            self._publisher.offer(rows, partial(self._answer, taken))
        else:
            self._loop.call_soon(self._answer, taken, None)
        return True

    def _answer(self, taken: _Taken, outcome: Unstored | None) -> None:
        connection = taken.connection
        HTTP_FAST_PATH.add(1)
        is_last = self._app.is_leaving or connection.is_ending
        self._app.leave()
        try:
            request_id = self._new_request_id()
            if outcome is None:
                self._count(taken, request_id)
                answer = queued_batch(taken.accepted, taken.rejected)
            else:
                answer = unstored_answer(BATCH, outcome)
            self._note(taken.slug, answer, taken.started, request_id)
            closes = "close" if is_last else None
            data = render(answer, request_id=request_id, connection=closes)
            connection.answer(data, is_last=is_last)
        except Exception:  # noqa: BLE001 - of one client; the others have to go on
            connection.fail()

    def _count(self, taken: _Taken, request_id: str) -> None:
        if taken.accepted:
            EVENTS_ACCEPTED.add(taken.accepted, BATCH, tenant_label(taken.slug))
        for reason, count in taken.normalised.items():
            EVENTS_NORMALISED.add(count, reason)
        self._rejections.record(taken.slug, BATCH, taken.rejected, request_id)

    def _note(
        self,
        slug: str,
        answer: Answer,
        started: float,
        request_id: str,
        *,
        name: str = TRACK_BATCH,
    ) -> None:
        self._app.note(
            name,
            answer.status,
            answer.error_type,
            started,
            method=hdrs.METH_POST,
            tenant=slug,
            request_id=request_id,
        )


def _inflated(body: bytes) -> bytes | None:
    """Return what gzip made of it; None where that is too large or no gzip."""
    inflater = Inflater("gzip", max_bytes=MAX_BATCH_BYTES)
    inflater.feed(body)
    try:
        inflater.step(MAX_BATCH_BYTES)
        return inflater.finish()
    except (InflatedTooLargeError, UndecodableError):
        return None
