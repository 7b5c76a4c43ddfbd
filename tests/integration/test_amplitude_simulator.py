"""The simulator over HTTP: what only a connection shows, and the official library against it."""

import gzip
import os
import signal
import subprocess
import sys
from typing import Any

import aiohttp
import orjson
import pytest

from tests.peers.clients import PEERS, Peer, send
from tests.support.amplitude import V2, AmplitudeProject

LIBRARY = next(peer for peer in PEERS if peer.name == "amplitude-analytics")
IDENTIFIES = Peer("amplitude-analytics", "amplitude_identify.py", "amplitude_http")
LAST = 20
"""As many events the script leaves to the library's shutdown."""
needs_library = pytest.mark.skipif(
    not LIBRARY.is_installed and os.environ.get("CI") != "true",
    reason="amplitude-analytics is not installed; `make test` does that",
)


def event(number: int = 0, **members: object) -> dict[str, Any]:
    return {
        "event_type": "page_viewed",
        "user_id": f"user-{number}",
        "insert_id": f"insert-{number}",
        **members,
    }


async def test_case_44_503_three_times_stores_nothing_before(amplitude: AmplitudeProject) -> None:
    await amplitude.set(fault="503", times=3)
    for _ in range(3):
        reply = await amplitude.upload(event())
        assert (reply.status, reply.json["code"]) == (503, 503)
        assert await amplitude.taken() == []
    assert (await amplitude.upload(event())).status == 200
    counters = await amplitude.counters()
    assert counters["requests"][V2] == {"200": 1, "503": 3}
    assert (counters["received"], counters["faults_waiting"]) == (1, 0)


async def test_case_45_500_after_storing_is_stored_once(amplitude: AmplitudeProject) -> None:
    await amplitude.set(fault="500", times=1, stored=True)
    assert (await amplitude.upload(event())).status == 500
    assert (await amplitude.upload(event())).status == 200
    assert [row["copies"] for row in await amplitude.taken()] == [2]


@pytest.mark.parametrize("stored", [False, True])
async def test_case_46_hang_never_sends_headers(amplitude: AmplitudeProject, stored: bool) -> None:
    await amplitude.set(fault="hang", seconds=60, times=1, stored=stored)
    with pytest.raises(TimeoutError):
        await amplitude.session.post(
            amplitude.url + V2,
            data=orjson.dumps({"api_key": amplitude.api_key, "events": [event()]}),
            timeout=aiohttp.ClientTimeout(total=0.2),
        )
    assert len(await amplitude.taken()) == stored


@pytest.mark.parametrize("stored", [False, True])
async def test_case_47_reset_before_or_after_storing(
    amplitude: AmplitudeProject, stored: bool
) -> None:
    await amplitude.set(fault="reset", times=2, stored=stored)  # the client itself tries once more
    with pytest.raises(aiohttp.ClientConnectionError):
        await amplitude.upload(event())
    assert len(await amplitude.taken()) == stored


async def test_case_48_cut_body_is_half_of_the_json(amplitude: AmplitudeProject) -> None:
    await amplitude.set(fault="cut_body", times=1)
    reply = await amplitude.upload(event())
    assert reply.status == 200
    assert reply.body.startswith(b'{"code":200,')
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(reply.body)
    assert len(await amplitude.taken()) == 1


async def test_body_that_ends_early_breaks_the_connection(amplitude: AmplitudeProject) -> None:
    await amplitude.set(fault="short_body", times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await amplitude.upload(event())
    assert len(await amplitude.taken()) == 1


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        pytest.param("html", 502, "text/html", b"<html>", id="case_49_html"),
        pytest.param(
            "403", 403, "application/json", b'{"code":403,"error":"Forbidden"}', id="case_50_403"
        ),
        pytest.param("garbage", 200, "application/json", b"OK, thanks!", id="garbage"),
        pytest.param("429", 429, "application/json", b'{"code":429,', id="project_throttled"),
    ],
)
async def test_case_49_and_50_answer_by_order(
    amplitude: AmplitudeProject, fault: str, status: int, content_type: str, body: bytes
) -> None:
    await amplitude.set(fault=fault, times=1, retry_after_s=7)
    reply = await amplitude.upload(event())
    assert (reply.status, reply.headers["Content-Type"]) == (status, content_type)
    assert reply.body.startswith(body)
    assert (await amplitude.upload(event())).status == 200


async def test_faults_follow_their_seed_and_their_users(amplitude: AmplitudeProject) -> None:
    async def statuses() -> list[int]:
        await amplitude.set(clear_faults=True, fault="500", rate=0.5, seed=7)
        return [(await amplitude.upload(event(n))).status for n in range(20)]

    first = await statuses()
    assert set(first) == {200, 500}
    assert await statuses() == first
    await amplitude.set(clear_faults=True, fault="504", user_ids=["user-3"])
    assert [(await amplitude.upload(event(n))).status for n in range(5)] == [
        200, 200, 200, 504, 200,
    ]  # fmt: skip


async def test_slow_answer_is_the_right_one(amplitude: AmplitudeProject) -> None:
    await amplitude.set(fault="slow", seconds=0.05, times=1, latency_ms=5)
    assert (await amplitude.upload(event())).json["events_ingested"] == 1


async def test_case_51_compressed_body_is_as_good(amplitude: AmplitudeProject) -> None:
    body = orjson.dumps({"api_key": amplitude.api_key, "events": [event()]})
    reply = await amplitude.call(
        "POST", V2, data=gzip.compress(body), headers={"Content-Encoding": "gzip"}
    )
    assert (reply.status, reply.json["payload_size_bytes"]) == (200, len(body))


async def test_case_52_content_type_does_not_matter(amplitude: AmplitudeProject) -> None:
    body = orjson.dumps({"api_key": amplitude.api_key, "events": [event()]})
    text = {"Content-Type": "text/plain"}
    assert (await amplitude.call("POST", V2, data=body, headers=text)).status == 200
    await amplitude.set(strict_type=True)
    assert (await amplitude.call("POST", V2, data=body, headers=text)).status == 400


async def test_case_53_other_path(amplitude: AmplitudeProject) -> None:
    reply = await amplitude.upload(event(), path="/2/other")
    assert (reply.status, reply.json) == (400, {"code": 400, "error": "Invalid request path"})


async def test_case_54_identify_form_changes_user_properties(amplitude: AmplitudeProject) -> None:
    given = {"user_id": "user-0", "user_properties": {"$set": {"plan": "pro"}}}
    form = {"api_key": amplitude.api_key, "identification": orjson.dumps(given).decode()}
    for options in ({"data": form}, {"data": aiohttp.FormData(form, default_to_multipart=True)}):
        reply = await amplitude.call("POST", "/identify", **options)
        assert (reply.status, reply.body) == (200, b"success")
    assert await amplitude.users() == {"user-0": {"plan": "pro"}}
    assert await amplitude.taken() == []


@pytest.mark.parametrize("identification", [None, "{", "[]", '{"user_properties":{"a":1}}'])
async def test_case_55_identify_without_identification(
    amplitude: AmplitudeProject, identification: str | None
) -> None:
    form = {"api_key": amplitude.api_key}
    if identification is not None:
        form["identification"] = identification
    reply = await amplitude.call("POST", "/identify", data=form)
    assert (reply.status, reply.body) == (400, b"missing_event")


@pytest.mark.parametrize(
    "change",
    [
        b"{",
        b'{"falt": "503"}',
        b'{"fault": "oops"}',
        b'{"fault": "503", "rate": 2}',
        b'{"bad_field": {"field": "x"}}',
        b'{"faults": [{"fault": "503", "time": 1}]}',
    ],
)
async def test_change_that_makes_no_sense_is_refused(
    amplitude: AmplitudeProject, change: bytes
) -> None:
    reply = await amplitude.call("POST", "/_sim", data=change)
    assert reply.status == 400
    assert reply.json["error"]


async def test_reset_forgets_what_one_project_took(amplitude: AmplitudeProject) -> None:
    await amplitude.set(all_indexes=True)
    await amplitude.upload(event())
    await amplitude.set(reset=True)
    assert await amplitude.taken() == []
    assert (await amplitude.upload(event())).status == 200


def test_simulator_stops_on_a_signal() -> None:
    command = [sys.executable, "-m", "tests.simulators.amplitude", "--api-key", "k"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@needs_library
async def test_library_sends_all_through_503_and_429(amplitude: AmplitudeProject) -> None:
    await amplitude.set(
        faults=[
            {"fault": "503", "times": 1},
            {"fault": "500", "times": 1, "stored": True},
            {"fault": "429", "times": 1},
            {"fault": "html", "times": 1},
        ]
    )
    report = await send(LIBRARY, amplitude.url, amplitude.api_key, 500)
    assert report.failed == {}
    rows = await amplitude.taken()
    assert {row["insert_id"] for row in rows} == report.ids
    assert len(rows) == len(report.ids) == 500
    assert max(row["copies"] for row in rows) == 2


@needs_library
async def test_library_gives_up_what_is_bad_or_over_quota_and_sends_the_rest(
    amplitude: AmplitudeProject,
) -> None:
    """Of 7 users one is over quota and one's events are bad.

    What the library would send again while it shuts down, it loses.
    """
    await amplitude.set(
        over_quota={"user_ids": {"user-1": 500_200}},
        bad_field={"field": "event_properties", "user_ids": ["user-2"]},
        all_indexes=True,
    )
    report = await send(LIBRARY, amplitude.url, amplitude.api_key, 200)
    assert report.failed.keys() >= {"400", "429"}
    assert report.failed["unreported"] < LAST
    rows = await amplitude.taken()
    assert len(rows) == 200 - report.failed.total()
    assert {row["user_id"] for row in rows} == {f"user-{n}" for n in (0, 3, 4, 5, 6)}


@needs_library
async def test_library_identifies_users(amplitude: AmplitudeProject) -> None:
    report = await send(IDENTIFIES, amplitude.url, amplitude.api_key, 3)
    assert len(report.ids) == 6
    assert await amplitude.users() == {
        f"user-{n}": {"plan": "pro", "visits": 2, "seen": ["a", "b"]} for n in range(3)
    }
    assert (await amplitude.counters())["identifies"] == 6
