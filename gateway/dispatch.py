"""From a request to the handler of its route, and from its answer to the wire.

Paths are matched as they were sent, with and without one trailing slash, and never redirected: a
path with ``//``, another case or encoded characters is another path, so 404. Handlers are looked up
in one table; there is no chain of middleware, because on the way of an event every layer costs more
than the event itself.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiohttp import hdrs
from aiohttp.web import BaseRequest

from gateway.core.answers import Answer, refused_one, unavailable
from gateway.core.origins import preflight, readable_by
from gateway.rejections import Rejections
from gateway.reply import Reply, is_request_id
from gateway.request_log import SLOW_S, RequestLog, Sample
from gateway.traces import TRACEPARENT, RequestTrace, RequestTraces
from sluice.core.errors import ErrorType, Rejected
from sluice.telemetry import HTTP_SECONDS, UNMATCHED
from sluice.tracing.spans import Value

_log = logging.getLogger(__name__)


class Exchange:
    """One request on its way through a handler."""

    __slots__ = ("origins", "request", "request_id", "source", "tenant", "trace")

    def __init__(self, request: BaseRequest, request_id: str) -> None:
        self.request = request
        self.request_id = request_id
        self.tenant: str | None = None
        """Slug, once the credential proved it."""
        self.source = ""
        """The source whose events these are, for error records."""
        self.origins: Collection[str] | None = None
        """Whose pages may read the answer; None, as for a secret key: no page."""
        self.trace: RequestTrace | None = None
        """None where it leaves none."""


Handler = Callable[[Exchange], Awaitable[Answer]]
Refuse = Callable[[Rejected, float | None], Answer]
"""How a route says that nothing was taken, and in how many seconds to come back."""


def refuse(rejected: Rejected, retry_after_s: float | None) -> Answer:
    """Refuse in the words of Sluice's own API."""
    if retry_after_s is None:
        return refused_one(rejected.error_type, rejected.detail)
    return unavailable(rejected.error_type, rejected.detail, retry_after_s=retry_after_s)


def last_segment(exchange: Exchange) -> str:
    """Return the last segment of a request's path, as it was sent."""
    return _path_of(exchange.request).rstrip("/").rpartition("/")[2]


def segments(exchange: Exchange) -> list[str]:
    """Return the segments of a request's path, as they were sent."""
    return _path_of(exchange.request).strip("/").split("/")


def _path_of(request: BaseRequest) -> str:
    target = request.raw_path
    if not target.startswith("/"):  # absolute form, as proxies send it
        target = request.rel_url.raw_path
    return target.partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path and what answers there, by method; GET also answers HEAD."""

    name: str
    """For metrics."""
    path: str
    """Without the trailing slash. A segment ``{…}`` stands for any one segment; ``last_segment``
    and ``segments`` return what it was."""
    handlers: Mapping[str, Handler]
    is_for_operators: bool = False
    """Whether it goes on while the server stops."""
    refuse: Refuse = refuse
    """What is said where no handler gets to it: while the server stops, or when one fails."""
    origins: Callable[[], Collection[str]] | None = None
    """Whose pages may ask what they may send here; None: no page."""

    @property
    def allow(self) -> str:
        """The value of the Allow header."""
        methods = list(self.handlers)
        if hdrs.METH_GET in self.handlers:
            methods.append(hdrs.METH_HEAD)
        return ", ".join([*methods, hdrs.METH_OPTIONS])


class _Unhandled(NamedTuple):
    """The answer to a request for which there is no handler, and the route of its path."""

    route: Route | None
    answer: Answer


Shape = Callable[[Answer, str], Answer]
"""Gives a refusal another body, which may name the request's id."""


class Dispatcher:
    """Answers every request; callable as aiohttp's request handler.

    Args:
        routes: All there are.
        rejections: Takes what failed inside.
        new_request_id: Makes ids.
        shapes: How refusals look below a path, whoever made them.
        log: Where answers leave their lines.
        traces: Begins traces; by default those that come are passed on.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        rejections: Rejections,
        new_request_id: Callable[[], str],
        shapes: Mapping[str, Shape] | None = None,
        log: RequestLog | None = None,
        traces: RequestTraces | None = None,
    ) -> None:
        self._log = log or RequestLog()
        self._traces = traces or RequestTraces()
        self._is_recording = self._traces.is_recording
        self._rejections = rejections
        self._shapes = shapes or {}
        self._new_request_id = new_request_id
        self._by_path: dict[str, Route] = {}
        self._by_method: dict[str, dict[str, tuple[Route, Handler]]] = {}
        self._by_folder: dict[str, Route] = {}
        self._templates: list[tuple[list[str], Route]] = []
        for route in routes:
            folder, brace, rest = route.path.partition("{")
            if "/" in rest:
                template = [
                    "{}" if part.startswith("{") else part for part in route.path.split("/")
                ]
                self._templates.append((template, route))
                continue
            if brace:
                self._by_folder[folder] = route
                continue
            for path in {route.path, route.path.rstrip("/") + "/"}:
                self._by_path[path] = route
                for method, handler in route.handlers.items():
                    self._add(method, path, route, handler)
                    if method == hdrs.METH_GET:
                        self._add(hdrs.METH_HEAD, path, route, handler)
        self._samples: dict[tuple[str, int], Sample] = {}
        self._active = 0
        self._idle = asyncio.Event()
        self.is_leaving = False
        """From the signal to stop on: each answer is the last on its connection."""
        self.is_stopping = False

    def _add(self, method: str, path: str, route: Route, handler: Handler) -> None:
        self._by_method.setdefault(method, {})[path] = (route, handler)

    async def __call__(self, request: BaseRequest) -> Reply:
        """Answer one request."""
        started = time.perf_counter()
        request_id = request.headers.get("X-Request-Id")
        if request_id is None or not is_request_id(request_id):
            request_id = self._new_request_id()
        method, path = request.method, request.raw_path
        by_path = self._by_method.get(method)
        hit = by_path.get(path) if by_path is not None else None
        found = hit or self._find(request)
        exchange = Exchange(request, request_id)
        if isinstance(found, _Unhandled):
            answer = self._shaped(request, found.answer, request_id)
            self._note(found.route, exchange, answer, started)
            return Reply(answer, request_id, is_last=self.is_leaving)
        route, handler = found
        if self.is_stopping and not route.is_for_operators:
            answer = self._shaped(request, route.refuse(_STOPPING, 1), request_id)
            self._note(route, exchange, answer, started)
            return Reply(answer, request_id)
        self._active += 1
        if self._is_recording or TRACEPARENT in request.headers:
            exchange.trace = self._traces.begin(
                request.headers, method, route.path, is_upkeep=route.is_for_operators
            )
        try:
            answer = await handler(exchange)
        except Exception as error:  # noqa: BLE001 - the top of a request
            answer = self._failed(exchange, route, error)
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()
        if answer.error_type is not None or exchange.origins is not None:
            answer = self._dressed(exchange, answer)
        if exchange.trace is not None:
            _end_trace(exchange.trace, exchange, answer)
        self._note(route, exchange, answer, started)
        return Reply(answer, request_id, is_last=self.is_leaving)

    @property
    def may_hurry(self) -> bool:
        """Whether the fast path may take requests: not while traces begin here, nor at the end."""
        return not (self.is_leaving or self.is_stopping or self._is_recording)

    def enter(self) -> None:
        """Count a request that the fast path has in hand."""
        self._active += 1

    def leave(self) -> None:
        """Count it no more."""
        self._active -= 1
        if not self._active:
            self._idle.set()

    def _note(
        self, route: Route | None, exchange: Exchange, answer: Answer, started: float
    ) -> None:
        self.note(
            UNMATCHED if route is None else route.name,
            answer.status,
            answer.error_type,
            started,
            method=exchange.request.method,
            request_id=exchange.request_id,
            tenant=exchange.tenant,
            is_for_operators=route is not None and route.is_for_operators,
        )

    def note(
        self,
        name: str,
        status: int,
        error_type: ErrorType | None,
        started: float,
        *,
        method: str,
        request_id: str,
        tenant: str | None,
        is_for_operators: bool = False,
    ) -> None:
        """Count an answer, and log it where its turn has come.

        Names of routes and statuses are few, whatever clients ask for.
        """
        sample = self._samples.get((name, status))
        if sample is None:
            sample = self._log.sample(name, status, is_for_operators=is_for_operators)
            self._samples[name, status] = sample
        now = time.perf_counter()
        HTTP_SECONDS.observe(sample.labels, now - started)
        if now < sample.due and now - started < SLOW_S:
            sample.left_out += 1
            return
        self._log.write(
            sample,
            now=now,
            duration_s=now - started,
            method=method,
            request_id=request_id,
            tenant=tenant,
            error_type=error_type,
        )

    def _find(self, request: BaseRequest) -> "tuple[Route, Handler] | _Unhandled":
        path = _path_of(request)
        route = self._by_path.get(path) or self._in_folder(path) or self._by_template(path)
        if route is None:
            nothing = refused_one(ErrorType.NOT_FOUND, "Nothing is served at this path.")
            return _Unhandled(None, nothing)
        handler = route.handlers.get(request.method)
        if handler is None and request.method == hdrs.METH_HEAD:
            handler = route.handlers.get(hdrs.METH_GET)
        if handler is not None:
            return route, handler
        if request.method == hdrs.METH_OPTIONS:
            if route.origins is None or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
                return _Unhandled(route, Answer(204, headers=(("Allow", route.allow),)))
            origin = request.headers.get(hdrs.ORIGIN)
            allowed = preflight(origin, route.origins(), allow=route.allow)
            return _Unhandled(route, allowed)
        methods = " and ".join(route.handlers)
        refusal = refused_one(
            ErrorType.METHOD_NOT_ALLOWED, f"This path takes {methods}.", allow=route.allow
        )
        return _Unhandled(route, refusal)

    def _in_folder(self, path: str) -> Route | None:
        folder, _, last = path.removesuffix("/").rpartition("/")
        return self._by_folder.get(f"{folder}/") if last else None

    def _by_template(self, path: str) -> Route | None:
        given = path.removesuffix("/").split("/")
        for template, route in self._templates:
            if len(given) == len(template) and all(
                sent and wanted in ("{}", sent)
                for wanted, sent in zip(template[1:], given[1:], strict=True)
            ):
                return route
        return None

    def _dressed(self, exchange: Exchange, answer: Answer) -> Answer:
        """Return a refusal in its path's shape, and any answer readable by whose page it is for."""
        answer = self._shaped(exchange.request, answer, exchange.request_id)
        if exchange.origins is not None:
            origin = exchange.request.headers.get(hdrs.ORIGIN)
            if origin is not None:
                answer = readable_by(answer, origin, exchange.origins)
        return answer

    def _shaped(self, request: BaseRequest, answer: Answer, request_id: str) -> Answer:
        if answer.error_type is None:
            return answer
        path = _path_of(request)
        for prefix, shape in self._shapes.items():
            if path.startswith(prefix):
                return shape(answer, request_id)
        return answer

    def _failed(self, exchange: Exchange, route: Route, error: Exception) -> Answer:
        _log.error(
            "A request failed inside", exc_info=error, extra={"request_id": exchange.request_id}
        )
        self._rejections.record(exchange.tenant, exchange.source, (_FAILED,), exchange.request_id)
        return route.refuse(_FAILED, None)

    async def finish(self, within_s: float) -> bool:
        """Refuse new requests and wait for those in hand; whether all finished in time."""
        self.is_stopping = True
        try:
            async with asyncio.timeout(within_s):
                while self._active:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True


def _end_trace(trace: RequestTrace, exchange: Exchange, answer: Answer) -> None:
    said: dict[str, Value] = {"sluice.request_id": exchange.request_id}
    if exchange.tenant is not None:
        said["sluice.tenant"] = exchange.tenant
    if exchange.source:
        said["sluice.source"] = exchange.source
    trace.end(answer.status, answer.error_type, said)


_STOPPING: Final = Rejected(ErrorType.SHUTTING_DOWN, "This server is stopping; retry.")
_FAILED: Final = Rejected(ErrorType.INTERNAL, "Something failed here; quote the request id.")
