"""Programs of documents over real HTTP, and servers on loopback that answer as a test says."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from yarl import URL

from sluice.core.workflows import WorkflowConfig
from sluice.workflows.core.document import parse
from sluice.workflows.core.runs import Run
from sluice.workflows.files import RunFiles
from tests.support.amplitude import AmplitudeProject
from worker.workflows.arazzo import ArazzoProgram
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.calls import Request
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan
from worker.workflows.core.reach import listed
from worker.workflows.http import FilePlace, HttpShell
from worker.workflows.secrets import Resolver

MIB = 1024 * 1024
RUN_ID = "wf-20260131-00001-abcde"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Served:
    """A server that notes what it was asked."""

    url: str = ""
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    """Method, path with query, and headers."""

    @property
    def place(self) -> str:
        """Host and port, as the list of private hosts has them."""
        return self.url.removeprefix("http://")

    @property
    def paths(self) -> list[str]:
        """What was asked for."""
        return [path for _, path, _ in self.requests]


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    """Serve every path of a free port with one handler."""
    served = Served()

    async def noted(request: web.Request) -> web.StreamResponse:
        served.requests.append((request.method, request.path_qs, dict(request.headers)))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", noted)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        port = runner.addresses[0][1]
        served.url = f"http://{host}:{port}"
        yield served
    finally:
        await runner.cleanup()


def description(url: str, **operations: Mapping[str, Any]) -> bytes:
    """An OpenAPI description: operations by id, each at ``GET /<id>`` unless it says otherwise."""
    paths: dict[str, dict[str, Any]] = {}
    for name, said in operations.items():
        said = {"path": f"/{name}", "method": "get", "responses": {"200": {}}, **said}
        operation = {"operationId": name, "responses": said["responses"]}
        paths.setdefault(said["path"], {})[said["method"]] = operation
    info = {"title": "T", "version": "1"}
    return orjson.dumps(
        {"openapi": "3.0.3", "info": info, "servers": [{"url": url}], "paths": paths}
    )


def document(*steps: Mapping[str, Any], **members: Any) -> bytes:
    """A document with one workflow, ``w``; members are of the workflow."""
    return orjson.dumps(
        {
            "arazzo": "1.1.0",
            "info": {"title": "T", "version": "1"},
            "sourceDescriptions": [{"name": "api", "url": "api.yaml", "type": "openapi"}],
            "workflows": [{"workflowId": "w", "steps": steps, **members}],
        }
    )


def planned(text: bytes, source: bytes, addresses: Addresses | None = None) -> Plan:
    """The plan of a document that is right."""
    read = parse(text)
    assert not isinstance(read, tuple), [str(one) for one in read]
    made = plan(read, {"api": source}, addresses=addresses)
    assert isinstance(made, Plan), [str(one) for one in made]
    return made


def program(
    made: Plan,
    http: HttpShell,
    files: RunFiles,
    *,
    inputs: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> ArazzoProgram:
    """The program of one run."""
    return ArazzoProgram(
        made,
        run=Run(
            tenant="shop",
            run_id=RUN_ID,
            config_id="cc-test",
            type="arazzo.w",
            name="Test",
            workflow_id=made.root,
            source="api",
            created_at="2026-01-31T00:00:01.000",
            inputs=orjson.dumps(inputs or {}).decode(),
        ),
        config=WorkflowConfig(
            config_id="cc-test", type="arazzo.w", name="Test", secrets=secrets or {}
        ),
        secrets=Resolver(environment=environment or {}),
        http=http,
        files=files,
    )


@asynccontextmanager
async def shell(*servers: Served) -> AsyncIterator[HttpShell]:
    """An HTTP client that may reach these servers."""
    async with HttpShell(listed(",".join(one.place for one in servers))) as http:
        yield http


def asking(url: str, *headers: tuple[str, str], method: str = "GET") -> Request:
    """A request as it goes out."""
    return Request(method=method, url=url, headers=headers, body=None)


def run_files(folder: Path, max_bytes: int = 2048 * MIB) -> RunFiles:
    """Files of runs below a folder."""
    return RunFiles(folder, max_bytes=max_bytes)


def place_of_files(files: RunFiles) -> FilePlace:
    """Where a body goes that is kept as a file."""
    return FilePlace(files=files, tenant="shop", run_id=RUN_ID, stem="step")


async def cohort_file(project: AmplitudeProject, cohort_id: str) -> tuple[bytes, Served]:
    """Export a cohort the service's own way; return the file, and where large ones are stored."""
    start = f"/api/5/cohorts/request/{cohort_id}"
    request_id = (await project.get(start)).json["request_id"]
    while (await project.get(f"/api/5/cohorts/request-status/{request_id}")).status == 202:
        pass
    reply = await project.get(f"/api/5/cohorts/request/{request_id}/file")
    if reply.status != 302:
        return reply.body, Served(url=project.url)
    link = reply.headers["Location"]
    async with project.session.get(URL(link, encoded=True)) as response:
        return await response.read(), Served(url=str(URL(link).origin()))
