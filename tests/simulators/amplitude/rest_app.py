"""The dashboard's half over HTTP: credentials, how many at once, then the pure parts."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from tests.simulators.amplitude.answers import Answer
from tests.simulators.amplitude.cohorts import CSV, csv_of
from tests.simulators.amplitude.deletions import MAX_AT_ONCE as DELETIONS_AT_ONCE
from tests.simulators.amplitude.deletions import PATH as DELETIONS
from tests.simulators.amplitude.exports import HOUR_S, Archive, Hours, read_hours
from tests.simulators.amplitude.links import refusal, sign
from tests.simulators.amplitude.project import Project
from tests.simulators.amplitude.rest import (
    MAX_AT_ONCE,
    TOO_MANY_AT_ONCE,
    credentials,
    denied,
    failed,
)
from tests.simulators.amplitude.segmentation import Query, Tally, read_query
from tests.simulators.amplitude.service import Service
from tests.simulators.amplitude.shell import label, respond, respond_with_fault

EVENTS_AT_ONCE: Final = 20_000
SECRET_BYTES: Final = 32
Act = Callable[[Project, web.Request, float], Awaitable[Answer]]


@dataclass(slots=True)
class Storage:
    """The second port: where large files are."""

    secret: bytes
    url: str = ""
    """Of the port, once it is open."""


class Rest:
    """The handlers of segmentation, cohorts and deletions."""

    def __init__(self, service: Service, storage: Storage) -> None:
        """Serve this state."""
        self.service = service
        self.storage = storage

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this half."""
        cohort = "/api/5/cohorts/request"
        return [
            web.get("/api/2/events/segmentation", self._handler(self.segmentation)),
            web.get("/api/2/export", self._handler(self.export)),
            web.get("/api/3/cohorts", self._handler(self.cohorts)),
            web.post("/api/3/cohorts/upload", self._handler(self.upload)),
            web.post("/api/3/cohorts/membership", self._handler(self.membership)),
            web.get(cohort + "/{cohort_id}", self._handler(self.request)),
            web.get(cohort + "-status/{request_id}", self._handler(self.status)),
            web.get(cohort + "/{cohort_id}/status", self._handler(self.given_status)),
            web.get(cohort + "/{name}/file", self._handler(self.file)),
            web.post(DELETIONS, self._handler(self.delete, is_deletion=True)),
            web.get(DELETIONS, self._handler(self.deletions, is_deletion=True)),
            web.delete(
                DELETIONS + "/{amplitude_id}/{day}",
                self._handler(self.take_out, is_deletion=True),
            ),
        ]

    async def segmentation(self, project: Project, request: web.Request, now: float) -> Answer:
        """Count events, part after part."""
        query = read_query(request.query)
        if not isinstance(query, Query):
            return query
        beyond = project.costs.spend(query.cost, now)
        if beyond is not None:
            return beyond
        members: dict[str, frozenset[str]] = {}

        def of_cohort(cohort_id: str) -> frozenset[str]:
            if cohort_id not in members:
                cohort = project.cohorts.by_id.get(cohort_id)
                members[cohort_id] = frozenset(cohort.members(project.store) if cohort else ())
            return members[cohort_id]

        tally = Tally(query, project.store, of_cohort)
        for first in range(0, len(project.store), EVENTS_AT_ONCE):
            tally.add(first, min(first + EVENTS_AT_ONCE, len(project.store)))
            await asyncio.sleep(0)
        return tally.answer()

    async def export(self, project: Project, request: web.Request, now: float) -> Answer:
        """Pack events, part after part."""
        hours = read_hours(request.query)
        if not isinstance(hours, Hours):
            return hours
        delay_s = project.options.export_delay_s
        loaded_until = float("inf") if delay_s is None else (now - delay_s) // HOUR_S * HOUR_S
        archive = Archive(project.api_key, project.store, hours, loaded_until)
        for first in range(0, len(project.store), EVENTS_AT_ONCE):
            archive.add(first, min(first + EVENTS_AT_ONCE, len(project.store)))
            await asyncio.sleep(0)
        return archive.answer()

    async def cohorts(self, project: Project, _request: web.Request, _now: float) -> Answer:
        """List the cohorts."""
        return project.cohorts.list(project.store)

    async def request(self, project: Project, request: web.Request, now: float) -> Answer:
        """Start an export."""
        names = request.query.getall("propKeys", [])
        has_properties = request.query.get("props") == "1" or names
        return project.cohorts.request(
            project.api_key,
            request.match_info["cohort_id"],
            names if has_properties else None,
            ok=200 if project.options.dialect == "given" else 202,
            now=now,
        )

    async def status(self, project: Project, request: web.Request, now: float) -> Answer:
        """Say where an export stands."""
        return project.cohorts.status(request.match_info["request_id"], now)

    async def given_status(self, project: Project, request: web.Request, now: float) -> Answer:
        """Say where the last export of a cohort stands."""
        return project.cohorts.given_status(request.match_info["cohort_id"], now)

    async def file(self, project: Project, request: web.Request, now: float) -> Answer:
        """Return the file of an export, or a link to it."""
        job = project.cohorts.file(request.match_info["name"], now)
        if isinstance(job, Answer):
            return job
        body = csv_of(job, project.store)
        if len(body) <= project.options.link_above_bytes:
            return Answer(200, body, CSV)
        location = self.storage.url + sign(self.storage.secret, job.request_id, now)
        return Answer(302, b"", CSV, {"Location": location})

    async def upload(self, project: Project, request: web.Request, now: float) -> Answer:
        """Make a cohort."""
        return project.cohorts.upload(await request.read(), project.store, now)

    async def membership(self, project: Project, request: web.Request, _now: float) -> Answer:
        """Change a cohort."""
        return project.cohorts.change_members(await request.read(), project.store)

    async def delete(self, project: Project, request: web.Request, now: float) -> Answer:
        """Mark users for deletion."""
        return project.deletions.request(await request.read(), project.store, now)

    async def deletions(self, project: Project, request: web.Request, now: float) -> Answer:
        """List deletion jobs."""
        return project.deletions.list(request.query, now)

    async def take_out(self, project: Project, request: web.Request, now: float) -> Answer:
        """Take one user out of a job."""
        given = request.match_info
        return project.deletions.take_out(given["amplitude_id"], given["day"], now)

    async def stored_file(self, request: web.Request) -> web.Response:
        """Serve a signed link (on the second port)."""
        request_id = request.match_info["request_id"]
        for project in self.service.projects.values():
            job = project.cohorts.jobs.get(request_id)
            if job is not None:
                refused = refusal(
                    self.storage.secret,
                    request_id,
                    request.query,
                    has_credentials=hdrs.AUTHORIZATION in request.headers,
                    now=self.service.now(project),
                )
                return respond(refused or Answer(200, csv_of(job, project.store), CSV))
        return respond(Answer(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml"))

    def _handler(
        self, act: Act, *, is_deletion: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return what every request of this half goes through."""

        async def handle(request: web.Request) -> web.StreamResponse:
            given = credentials(request.headers.get(hdrs.AUTHORIZATION))
            project = self.service.find(given[0]) if given else None
            if project is None or given is None or not project.is_opened_by(given[1]):
                status = (project or self.service.pattern).options.denied_status
                self.service.count(project, route(request), str(status))
                return respond(denied(status))
            fault = self.service.next_fault(project, request.path, ())
            answer = failed(503, "The request was not looked at")
            kind = "deletions" if is_deletion else "rest"
            project.in_flight[kind] += 1
            try:
                if fault is None or fault.is_stored:
                    now = self.service.now(project)
                    project.deletions.settle(project.store, now)
                    most = DELETIONS_AT_ONCE if is_deletion else MAX_AT_ONCE
                    is_beyond = project.in_flight[kind] > most
                    answer = TOO_MANY_AT_ONCE if is_beyond else await act(project, request, now)
                self.service.count(project, route(request), label(answer, fault))
                await asyncio.sleep(project.options.latency_ms / 1000)
                if fault is not None:
                    return await respond_with_fault(request, answer, fault)
                return respond(answer)
            finally:
                project.in_flight[kind] -= 1

        return handle


def route(request: web.Request) -> str:
    """Return the path as it was declared."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "other"


def build_storage() -> Storage:
    """Return a storage service that no other knows the secret of."""
    return Storage(secrets.token_bytes(SECRET_BYTES))
