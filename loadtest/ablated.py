"""``python -m loadtest.ablated NAME … -- gateway …``: Sluice with design decisions taken away.

What a decision brings is seen by measuring without it (``loadtest.ablation``). The code of Sluice
has no switches for that: here its parts are replaced from outside, by what one would write who had
not decided so. Every gateway that is left keeps Sluice's promise, in the same wire format: 202 is
said after the fsync, and what was stored can be read.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import aiohttp.web
import msgspec
import orjson
import uvloop

import gateway.app
import gateway.dispatch
import gateway.fast_path
import gateway.publisher
import sluice.queue.writer
from gateway.core.answers import Answer
from gateway.core.event_rules import EMPTY_PAYLOAD, Fields, Terms, judge
from gateway.publisher import Publisher
from gateway.reply import Reply
from gateway.server import HttpServer
from gateway.sources import segops
from gateway.stamps import Stamps
from sluice.core.envelope import Envelope, Rows, split
from sluice.core.event import Candidates, format_ts
from sluice.core.trace_context import pack_contexts
from sluice.queue.local import LocalQueue

MAX_BLOCK_BYTES: Final = 128 * 1024
"""Of a zstd frame (RFC 8878, 3.1.1.2)."""
_FRAME_HEAD: Final = b"\x28\xb5\x2f\xfd\xa0"
"""The magic number; then: one segment, whose size follows in four bytes, no checksum."""


@dataclass(frozen=True, slots=True)
class Change:
    """One attribute of a module or class, and what takes its place."""

    owner: Any
    name: str
    make: Callable[[Any], Any]
    """From what is there to what stands there instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision that can be taken away."""

    what: str
    """For the table: what is gone."""
    changes: tuple[Change, ...]


@contextmanager
def taken_away(names: Iterable[str]) -> Iterator[None]:
    """Take decisions away until the block ends.

    Raises:
        AttributeError: A place that is to be changed has another name now.
        KeyError: There is no such decision.
    """
    with ExitStack() as stack:
        for name in names:
            for change in DECISIONS[name].changes:
                before = getattr(change.owner, change.name)
                stack.callback(setattr, change.owner, change.name, before)
                setattr(change.owner, change.name, change.make(before))
        yield


def _without_fast_path(server: type[HttpServer]) -> Callable[..., HttpServer]:
    def make(*given: Any, **options: Any) -> HttpServer:
        return server(*given, **options | {"fast_path": None})

    return make


def _rows_alone(_gather: object) -> Callable[[Iterable[Rows]], list[Rows]]:
    """Make each event that waits an envelope of its own."""

    def gather(waiting: Iterable[Rows]) -> list[Rows]:
        return [
            Rows(rows.kind, 1, line + b"\n", rows.traces)
            for rows in waiting
            for line in split(rows.data)
        ]

    return gather


def _envelopes_alone(publish: Callable[..., Any]) -> Callable[..., Any]:
    """Hand each envelope over by itself, all at once."""

    async def publish_alone(queue: LocalQueue, topic: str, envelopes: Sequence[Envelope]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for envelope in envelopes:
                tasks.create_task(publish(queue, topic, [envelope]))

    return publish_alone


def _commit_at_once(_let_arrive: object) -> Callable[..., Any]:
    async def let_arrive(_publisher: Publisher, _group: object) -> None:
        """Commit what is there."""

    return let_arrive


def _aiohttp_reply(_reply: object) -> Callable[..., aiohttp.web.StreamResponse]:
    """Answer with aiohttp's own response, where the whole body is there."""

    def reply(
        answer: Answer, request_id: str, *, is_last: bool = False
    ) -> aiohttp.web.StreamResponse:
        if answer.stream is not None:
            return Reply(answer, request_id, is_last=is_last)
        headers = dict(answer.headers) | {
            "Content-Type": answer.content_type,
            "X-Request-Id": request_id,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        if answer.error_type is not None:
            headers["X-Error-Type"] = answer.error_type
        response = aiohttp.web.Response(status=answer.status, body=answer.body, headers=headers)
        if is_last or answer.closes:
            response.force_close()
        return response

    return reply


class _Dicts:
    """Reads JSON into dictionaries with orjson and looks at their values.

    The payload is read, too, and written anew: its text is not the client's any more.
    """

    def __init__(self, decoder: msgspec.json.Decoder[Any]) -> None:
        self._is_batch = decoder.type is not segops.TypedEvent
        self._make = decoder.type

    def decode(self, text: bytes) -> Any:
        """Return what the decoder of types would.

        Raises:
            msgspec.DecodeError: It is no JSON, or some field is not what nearly all clients send.
        """
        try:
            read = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise msgspec.DecodeError(str(error)) from None
        if not self._is_batch:
            return _checked(read)
        if not isinstance(read, dict) or not isinstance(read.get("events"), list):
            raise msgspec.ValidationError
        return self._make(list(map(_checked, read["events"])))


def _checked(event: object) -> segops.TypedEvent:
    if not isinstance(event, dict):
        raise msgspec.ValidationError
    user_id, event_type = event.get("user_id"), event.get("event_type")
    occurred_at, event_id = event.get("occurred_at"), event.get("event_id")
    anonymous_id = event.get("anonymous_id")
    for value in (user_id, occurred_at, event_id):
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise msgspec.ValidationError
    for value in (event_type, anonymous_id):
        if not isinstance(value, str | None):
            raise msgspec.ValidationError
    payload = orjson.dumps(event["payload"]) if "payload" in event else EMPTY_PAYLOAD
    return segops.TypedEvent(
        user_id, event_type, occurred_at, msgspec.Raw(payload), event_id, anonymous_id
    )


def _judge_each(_judge_plain: object) -> Callable[..., Candidates | None]:
    """Judge the events of one turn of the loop one by one, by the rules."""

    def judge_plain(events: Sequence[segops.TypedEvent], *, strict: bool) -> Candidates | None:
        terms = Terms(strict=strict, idempotency_key=None, uid=None)
        candidates = Candidates()
        for event in events:
            fields = Fields(
                event.user_id,
                event.event_type,
                event.occurred_at,
                bytes(event.payload),
                event.event_id,
                event.anonymous_id,
            )
            verdict = judge(fields, terms, client_id=None, index=None)
            if isinstance(verdict, list):
                return None
            candidates.append(verdict)
        return candidates

    return judge_plain


def _new_id() -> str:
    """Return a UUID of version 7, made as RFC 9562 describes it."""
    drawn = int.from_bytes(os.urandom(10))
    made = time.time_ns() // 1_000_000 << 80 | drawn
    made = made & ~(0xF << 76) | 0x7 << 76
    return str(UUID(int=made & ~(0b11 << 62) | 0b10 << 62))


def _stored(data: bytes) -> bytes:
    """Return a zstd frame in which nothing is compressed (RFC 8878, "Raw_Block")."""
    parts = [_FRAME_HEAD, len(data).to_bytes(4, "little")]
    for at in range(0, len(data), MAX_BLOCK_BYTES):
        block = data[at : at + MAX_BLOCK_BYTES]
        is_last = at + MAX_BLOCK_BYTES >= len(data)
        parts += [(len(block) << 3 | is_last).to_bytes(3, "little"), block]
    return b"".join(parts)


def _seal_stored(_seal: object) -> Callable[..., Envelope]:
    def seal(rows: Rows, *, envelope_id: str) -> Envelope:
        return Envelope(
            envelope_id=envelope_id,
            kind=rows.kind,
            count=rows.count,
            raw_bytes=len(rows.data),
            body=_stored(rows.data),
            traces=pack_contexts(rows.traces) if rows.traces else "",
        )

    return seal


def _always(value: object) -> Callable[[Any], Any]:
    return lambda _before: value


PYTHON_SWITCH_S: Final = 0.005
"""What Python itself begins with (``sys.setswitchinterval``)."""

DECISIONS: Final[dict[str, Decision]] = {
    "fast-path": Decision(
        what="the fast path (each request through parser, request object, task and handler)",
        changes=(Change(gateway.app, "HttpServer", _without_fast_path),),
    ),
    "together": Decision(
        what="what the fast path does together (events of one turn judged and encoded one by one)",
        changes=(Change(gateway.fast_path, "MAX_GATHERED_BYTES", _always(0)),),
    ),
    "group-commit": Decision(
        what="group commit (each request has a transaction and an fsync of its own)",
        changes=(
            Change(gateway.publisher, "gather", _rows_alone),
            Change(LocalQueue, "publish", _envelopes_alone),
            Change(sluice.queue.writer, "MAX_GROUP_CALLS", _always(1)),
        ),
    ),
    "let-arrive": Decision(
        what="the wait for what has arrived already (a group is committed at once)",
        changes=(Change(Publisher, "_let_arrive", _commit_at_once),),
    ),
    "uvloop": Decision(
        what="uvloop (asyncio's own event loop)",
        changes=(Change(uvloop, "new_event_loop", _always(asyncio.new_event_loop)),),
    ),
    "slim-reply": Decision(
        what="the slim answer (`aiohttp.web.Response`)",
        changes=(Change(gateway.dispatch, "Reply", _aiohttp_reply),),
    ),
    "typed-decode": Decision(
        what="the decode into types (`orjson.loads`, dictionaries, the payload written anew)",
        changes=(Change(segops, "_EVENT", _Dicts), Change(segops, "_BATCH", _Dicts)),
    ),
    "columns": Decision(
        what="columns (each event judged by itself)",
        changes=(
            Change(gateway.fast_path, "judge_plain", _judge_each),
            Change(segops, "_take_columns", _always(lambda *_given: False)),
            Change(segops, "MAX_SPAN_JUDGED", _always(sys.maxsize)),
        ),
    ),
    "stamps": Decision(
        what="ids and times made for many at once (a draw, a `UUID`, a `datetime` for each)",
        changes=(
            Change(Stamps, "received_at", _always(lambda _stamps: format_ts(datetime.now(UTC)))),
            Change(Stamps, "new_id", _always(lambda _stamps: _new_id())),
            Change(
                Stamps,
                "new_ids",
                _always(lambda _stamps, count: [_new_id() for _ in range(count)]),
            ),
        ),
    ),
    "zstd": Decision(
        what="zstd (rows go into the queue as they are)",
        changes=(Change(gateway.publisher, "seal", _seal_stored),),
    ),
    "gc": Decision(
        what="sparing the garbage collector (Python's own thresholds)",
        changes=(Change(gateway.app, "_spare_the_collector", _always(lambda: None)),),
    ),
    "switch": Decision(
        what="threads that take turns after 0.2 ms (Python's own 5 ms)",
        changes=(Change(gateway.app, "SWITCH_INTERVAL_S", _always(PYTHON_SWITCH_S)),),
    ),
}
"""By the name that ``python -m loadtest.ablated`` takes."""


def main() -> None:
    """Take away the decisions that are named before ``--``, then run ``sluice`` with the rest."""
    at = sys.argv.index("--")
    names, sys.argv[1:] = sys.argv[1:at], sys.argv[at + 1 :]
    from sluice.cli import main as run

    with taken_away(names):
        run()


if __name__ == "__main__":
    main()
