"""The service over HTTP: each handler reads, asks the pure part, and sends what that says."""

import asyncio
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import hdrs, web

from tests.simulators.amplitude.answers import INVALID_PATH, TOO_LARGE, Answer, json_answer, refused
from tests.simulators.amplitude.control import RefusedError, change, counters
from tests.simulators.amplitude.identify import identify
from tests.simulators.amplitude.project import Project
from tests.simulators.amplitude.rest_app import Rest, Storage
from tests.simulators.amplitude.service import BATCH, IDENTIFY, V2, Service, TooManyProjectsError
from tests.simulators.amplitude.shell import label, respond, respond_with_fault

MAX_READ_BYTES: Final = 20_100_000
MAX_IN_FLIGHT: Final = 1024
ROWS_AT_ONCE: Final = 1000


class Front:
    """The handlers of the upload APIs and of ``/_sim``."""

    def __init__(self, service: Service) -> None:
        """Serve this state."""
        self.service = service
        self._in_flight = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this half."""
        return [
            web.post(V2, self.upload),
            web.post(BATCH, self.upload),
            web.post(IDENTIFY, self.identify),
            web.get(IDENTIFY, self.identify),
            web.post("/_sim", self.change),
            web.get("/_sim", self.counters),
            web.get("/_sim/taken", self.taken),
            web.get("/_sim/users", self.users),
            web.post("/{path:2/.*}", self.unknown_path),
        ]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take or refuse events."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        path = request.path
        if self._in_flight >= MAX_IN_FLIGHT:
            return respond(refused(503, "The simulator serves as many requests as it may"))
        self._in_flight += 1
        try:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                self.service.count(None, path, "413")
                return respond(refused(413, TOO_LARGE))
            outcome = self.service.upload(path, body, request.content_type)
            del body
            project = outcome.project
            self.service.count(project, path, label(outcome.answer, outcome.fault))
            options = (project or self.service.pattern).options
            await asyncio.sleep(options.latency_ms / 1000 - (loop.time() - arrived))
            if outcome.fault is not None:
                return await respond_with_fault(request, outcome.answer, outcome.fault)
            return respond(outcome.answer)
        finally:
            self._in_flight -= 1

    async def identify(self, request: web.Request) -> web.Response:
        """Change user properties without an event."""
        form: Mapping[str, object] = request.query
        if request.method == hdrs.METH_POST:
            form = await request.post()
        answer = identify(self.service, form.get("api_key"), form.get("identification"))
        self.service.count(None, IDENTIFY, str(answer.status))
        return respond(answer)

    async def unknown_path(self, _request: web.Request) -> web.Response:
        """Answer for what looks like an upload but is none."""
        self.service.count(None, "other", "400")
        return respond(refused(400, INVALID_PATH))

    async def change(self, request: web.Request) -> web.Response:
        """Set state."""
        try:
            change(self.service, await request.read())
        except RefusedError as error:
            return respond(json_answer(400, {"error": str(error)}))
        except TooManyProjectsError:
            return respond(json_answer(400, {"error": "too many keys"}))
        return respond(json_answer(200, {"ok": True}))

    async def counters(self, _request: web.Request) -> web.Response:
        """Show what came and what was taken."""
        return respond(json_answer(200, counters(self.service)))

    async def taken(self, request: web.Request) -> web.StreamResponse:
        """Stream the events taken, a line of JSON each, in the order taken."""
        project = self._asked_for(request)
        if project is None:
            return respond(json_answer(404, {"error": "no such key"}))
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        since = request.query.get("since", "0")
        lines: list[bytes] = []
        for line in project.store.rows(int(since) if since.isdecimal() else 0):
            lines.append(line)
            if len(lines) == ROWS_AT_ONCE:
                await response.write(b"".join(lines))
                lines.clear()
                await asyncio.sleep(0)
        await response.write(b"".join(lines))
        await response.write_eof()
        return response

    async def users(self, request: web.Request) -> web.Response:
        """Show the properties of each user."""
        project = self._asked_for(request)
        if project is None:
            return respond(json_answer(404, {"error": "no such key"}))
        return respond(Answer(200, orjson.dumps(project.store.user_properties)))

    def _asked_for(self, request: web.Request) -> Project | None:
        project = self.service.projects.get(request.query.get("api_key", ""))
        if project is not None:
            project.deletions.settle(project.store, self.service.now(project))
        return project


def build_apps(service: Service, storage: Storage) -> tuple[web.Application, web.Application]:
    """Return the application of one service, and that of its storage on a second port."""
    rest = Rest(service, storage)
    app = web.Application(client_max_size=MAX_READ_BYTES)
    app.add_routes([*Front(service).routes(), *rest.routes()])
    files = web.Application()
    files.add_routes([web.get("/exports/{request_id}.csv", rest.stored_file)])
    return app, files
