"""``GET /api/ingestion/status``: how the system is, for the eyes of one tenant."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import sluice
from sluice.tenants import TenantsFile
from tests.support.credentials import TokenMaker
from tests.support.gateway import TENANT, running_gateway
from tests.support.poll import poll_until
from tests.support.segops import EVENT, Segops, assert_queued, assert_refused

STATUS = "/api/ingestion/status"
DESTINATIONS = ["warehouse", "amplitude", "workflows"]


async def test_status_shows_health_destinations_queue_and_freshness(api: Segops) -> None:
    assert_queued(await api.track(EVENT))
    await api.rows_when(1)

    async def when_fresh() -> Any:
        answer = await api.get(STATUS)
        assert answer.status == 200, answer
        return answer.json if answer.json["freshness_s"] else None

    found = await poll_until(when_fresh, within_s=30, what="a freshness")
    assert (found["tenant"], found["version"]) == (api.slug, sluice.__version__)
    assert set(found["health"]) == {"pubsub_topic", "worker", "clickhouse"}
    for part in found["health"].values():
        assert set(part) == {"state", "since", "detail"}
        assert part["since"] <= found["as_of"]
    assert found["health"]["clickhouse"]["state"] == "ok"
    assert 0 < found["freshness_s"]["p50"] <= found["freshness_s"]["p99"]
    assert [one["name"] for one in found["destinations"]] == DESTINATIONS
    for one in found["destinations"]:
        assert one["backlog_events"] >= 0
        assert (one["parked_events"], one["troubles"]) == (0, [])
    assert found["queue"]["max_bytes"] > 0
    assert found["queue"]["spool"] is None


async def test_status_answers_like_every_read(api: Segops, sign: TokenMaker) -> None:
    for target in (STATUS, STATUS + "/"):
        assert (await api.get(target)).status == 200
    bearer = {"Authorization": f"Bearer {api.read_token}"}
    head = await api.ask("HEAD", STATUS, headers=bearer)
    assert (head.status, head.body) == (200, b"")
    assert (await api.ask("POST", STATUS, headers=bearer)).status == 405
    assert_refused(await api.ask("GET", STATUS), 401, "auth_missing")
    key = await api.ask("GET", STATUS, headers={"Authorization": f"ApiKey {api.api_key}"})
    assert_refused(key, 401, "token_invalid")
    runs_only = sign({"tenant": api.slug, "scope": "runs", "exp": 4_000_000_000})
    assert_refused(await api.get(STATUS, token=runs_only), 403, "scope_denied")


@asynccontextmanager
async def worker_that_says(destinations: Any) -> AsyncIterator[str]:
    """Serve a worker's status that says something else to each tenant; yield its address."""

    async def status(request: web.Request) -> web.Response:
        tenant = request.query.get("tenant", "")
        said = {name: one | {"troubles": [tenant]} for name, one in destinations.items()}
        freshness = {"p50": 0.4, "p99": 1.5}
        return web.json_response(
            {"heartbeat_age_s": 0.1, "destinations": said, "freshness_s": freshness}
        )

    app = web.Application()
    app.add_routes([web.get("/status", status)])
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_status_tells_each_tenant_its_own_troubles_only(tmp_path: Path) -> None:
    tenants = TenantsFile(tmp_path / "tenants.toml")
    tenants.add_tenant("other")
    said = {"amplitude": {"state": "degraded", "breaker": "open", "backlog_events": 5}}
    async with (
        worker_that_says(said) as worker_url,
        running_gateway(tmp_path, worker_url=worker_url) as gateway,
    ):

        async def seen_by(slug: str) -> Any:
            found = (await gateway.ask("GET", STATUS, gateway.bearer(slug))).json
            assert found["tenant"] == slug
            [first, *_] = found["destinations"]
            assert (first["name"], first["troubles"]) == ("amplitude", [slug])
            return found

        await seen_by(TENANT)
        await seen_by("other")
        found = await seen_by(TENANT)
        [amplitude, *rest] = found["destinations"]
        assert found["freshness_s"] == {"p50": 0.4, "p99": 1.5}
        assert found["health"]["worker"]["state"] == "degraded"
        assert amplitude["detail"] in found["health"]["worker"]["detail"]
        # What that worker does not feed is known from the queue as far as it goes.
        others = {one["name"]: one for one in rest}
        assert {one["state"] for one in others.values()} == {"unknown"}
        assert others["warehouse"]["backlog_events"] == 0


async def test_status_shows_every_destination_when_each_has_a_worker_of_its_own(
    tmp_path: Path,
) -> None:
    first = {"warehouse": {"backlog_events": 5}}
    second = {"amplitude": {"backlog_events": 7, "breaker": "open", "state": "degraded"}}
    async with (
        worker_that_says(first) as one,
        worker_that_says(second) as other,
        running_gateway(tmp_path, worker_url=f"{one},{other}") as gateway,
    ):
        found = (await gateway.ask("GET", STATUS, gateway.bearer())).json
        told = {each["name"]: each["backlog_events"] for each in found["destinations"]}
        assert (told["warehouse"], told["amplitude"]) == (5, 7)
        assert found["health"]["worker"]["state"] == "degraded"
        assert found["health"]["worker"]["detail"].startswith("amplitude: ")


@asynccontextmanager
async def worker_that_answers(
    handler: Callable[[web.Request], Awaitable[Any]],
) -> AsyncIterator[str]:
    """Yield the address of what answers /status in its own way."""
    app = web.Application()
    app.router.add_get("/status", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_worker_that_hangs_hides_nothing_of_the_others(tmp_path: Path) -> None:
    is_hung = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        if is_hung.is_set():
            await asyncio.Event().wait()
        return web.json_response({"heartbeat_age_s": 0})

    async with (
        worker_that_says({"warehouse": {}}) as one,
        worker_that_answers(answer) as other,
        running_gateway(tmp_path, worker_url=f"{other},{one}") as gateway,
    ):

        async def word() -> str:
            found = (await gateway.ask("GET", STATUS, gateway.bearer())).json
            return str(found["health"]["worker"]["state"])

        assert await word() == "ok"
        is_hung.set()
        started = asyncio.get_running_loop().time()

        async def when_asked_again() -> bool:
            assert await word() == "ok"
            return asyncio.get_running_loop().time() - started > 3

        await poll_until(when_asked_again, within_s=30)


@pytest.mark.parametrize(
    "body",
    [
        b'{"heartbeat_age_s":0,"x":' + b"[" * 60_000,
        b'{"heartbeat_age_s":0,"destinations":{"warehouse":{"backlog_events":-7}}}',
        b'{"heartbeat_age_s":1e999}',
    ],
    ids=["nested too deeply", "less than none", "for ever"],
)
async def test_status_says_that_the_worker_is_away_when_its_answer_makes_no_sense(
    tmp_path: Path, body: bytes
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with (
        worker_that_answers(answer) as url,
        running_gateway(tmp_path, worker_url=url) as gateway,
    ):
        found = await gateway.ask("GET", STATUS, gateway.bearer())
        assert found.status == 200
        assert found.json["health"]["worker"]["state"] in {"unknown", "error"}
        assert {one["state"] for one in found.json["destinations"]} == {"unknown"}


async def test_status_is_200_with_what_is_known_when_worker_and_warehouse_are_away(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert_queued(await gateway.send(gateway.track_bytes()))
        answer = await gateway.ask("GET", STATUS, gateway.bearer())
        assert answer.status == 200
        found = answer.json
        assert found["freshness_s"] is None
        assert found["queue"]["condition"] == "ok"
        assert [one["state"] for one in found["destinations"]] == ["unknown"] * 3
        by_name = {one["name"]: one for one in found["destinations"]}
        assert by_name["warehouse"]["backlog_events"] == 1
        assert by_name["warehouse"]["oldest_age_s"] > 0
        assert found["health"]["clickhouse"]["state"] in {"unknown", "error"}
