"""Documents as programs over real HTTP: answers, files, secrets, stops."""

import asyncio
import gzip
import time
import zlib
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from aiohttp import web

from sluice.core.amplitude import SIMULATED_KEY, AmplitudeConfig
from sluice.workflows.core.runs import CANCELED, RunError
from tests.support.amplitude import AmplitudeProject
from tests.support.workflows import (
    MIB,
    RUN_ID,
    Served,
    cohort_file,
    description,
    document,
    planned,
    program,
    run_files,
    serving,
    shell,
)
from tests.unit.worker.workflows.arazzo import shipped
from worker.workflows.arazzo import ArazzoProgram
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.state import NoAnswer, State, Stop
from worker.workflows.http import HttpShell
from worker.workflows.local_run import Told, Waiting, run_locally
from worker.workflows.program import Act
from worker.workflows.secrets import Resolver

BODY = {"x": "$response.body"}
OUT = {"x": "$steps.a.outputs.x"}
CSV = b"id,name\n1,ann\n"
GET = {"stepId": "a", "operationId": "call", "outputs": BODY}
SECRET = {
    "type": "object",
    "properties": {"token": {"type": "string"}},
    "required": ["token"],
}
WITH_TOKEN = {
    **GET,
    "parameters": [{"name": "Authorization", "in": "header", "value": "Bearer {$inputs.token}"}],
}
TOKEN = {"token": "env:TOKEN"}


async def fine(_request: web.Request) -> web.StreamResponse:
    return web.json_response({})


def ignore(_told: Told) -> None:
    """Hear nothing."""


async def outputs_of(made: ArazzoProgram) -> Any:
    outcome = await run_locally(made, ignore, asyncio.Event())
    assert outcome.error is None, outcome.error
    return outcome.outputs


async def error_of(made: ArazzoProgram) -> RunError:
    outcome = await run_locally(made, ignore, asyncio.Event())
    assert outcome.error is not None
    return outcome.error


def getting(served: Served, http: HttpShell, folder: Path, **members: Any) -> ArazzoProgram:
    """A program of one request whose body is its output."""
    text = document({**GET, **members}, outputs=OUT)
    return program(planned(text, description(served.url, call={})), http, run_files(folder))


def state_of(made: ArazzoProgram) -> State:
    state = made.begin(time.time())
    assert isinstance(state, State), state
    return state


def act_of(made: ArazzoProgram, state: State) -> Act:
    act = made.next_move(state)
    assert isinstance(act, Act)
    return act


# Answers


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(CSV)),
        ("x-gzip", gzip.compress(CSV[:5]) + gzip.compress(CSV[5:])),
        ("deflate", zlib.compress(CSV)),
        ("deflate", zlib.compress(CSV)[2:-4]),
        ("zstd", zstandard.compress(CSV)),
        ("identity", CSV),
    ],
    ids=["gzip", "members", "zlib", "raw deflate", "zstd", "plain"],
)
async def test_body_is_decompressed(tmp_path: Path, coding: str, packed: bytes) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "gzip, deflate, zstd"
        return web.Response(
            body=packed, headers={"Content-Type": "text/csv", "Content-Encoding": coding}
        )

    async with serving(answer) as served, shell(served) as http:
        assert await outputs_of(getting(served, http, tmp_path)) == {"x": CSV.decode()}


@pytest.mark.parametrize(
    ("media_type", "body", "name"),
    [
        ("text/csv; charset=utf-8", b"a,b\n" * 100_000, "a.csv"),
        ("application/octet-stream", b"\x00\x01", "a.bin"),
        ("application/json", b'{"a":"' + b"b" * 300_000 + b'"}', "a.json"),
        ("text/csv", "naïve\n".encode("latin-1"), "a.csv"),
        ("", b"\xff\xfe\x00", "a.bin"),
        ("application/zip", b"PK\x03\x04", "a.zip"),
    ],
    ids=["large text", "binary", "large JSON", "not UTF-8", "unknown", "archive"],
)
async def test_body_that_is_large_or_no_text_becomes_a_file(
    tmp_path: Path, media_type: str, body: bytes, name: str
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        response = web.Response(body=body)
        response.headers["Content-Type"] = media_type
        return response

    async with serving(answer) as served, shell(served) as http:
        found = (await outputs_of(getting(served, http, tmp_path)))["x"]
    plain = media_type.partition(";")[0] or "application/octet-stream"
    assert found == {
        "$file": name,
        "bytes": len(body),
        "media_type": plain,
        "sha256": sha256(body).hexdigest(),
    }
    path = run_files(tmp_path).path("shop", RUN_ID, name)
    assert path is not None
    assert path.read_bytes() == body


async def test_small_text_and_empty_bodies_stay_values(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/call":
            return web.Response(body=b"", headers={"Content-Type": "application/octet-stream"})
        return web.Response(body=CSV, content_type="text/csv")

    async with serving(answer) as served, shell(served) as http:
        text = document(GET, {**GET, "stepId": "b", "operationId": "more"}, outputs=OUT)
        made = planned(text, description(served.url, call={}, more={}))
        assert await outputs_of(program(made, http, run_files(tmp_path))) == {"x": ""}
    assert not (tmp_path / "shop").exists()


async def test_each_visit_and_each_workflow_has_files_of_its_own(tmp_path: Path) -> None:
    count = 0

    async def answer(_request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        return web.Response(body=bytes([count]), content_type="application/octet-stream")

    again = {"name": "again", "type": "goto", "stepId": "a", "x-sluice-poll-seconds": 0}
    first = {"context": "$response.body", "type": "jsonpath", "condition": "$['$file'] == 'a.bin'"}
    step = {**GET, "onSuccess": [{**again, "criteria": [first]}]}
    text = orjson.loads(document(step, {"stepId": "n", "workflowId": "other"}))
    text["workflows"].append({"workflowId": "other", "steps": [GET]})
    async with serving(answer) as served, shell(served) as http:
        made = planned(orjson.dumps(text), description(served.url, call={}))
        await outputs_of(program(made, http, run_files(tmp_path)))
    folder = tmp_path / "shop" / RUN_ID
    found = {one.name: one.read_bytes() for one in folder.iterdir()}
    assert found == {"a.bin": b"\x01", "a.2.bin": b"\x02", "other.a.1.bin": b"\x03"}


async def test_repeated_attempt_replaces_its_file(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = 10
        await response.prepare(request)
        if len(served.requests) == 1:
            await response.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(b"all of it!")
        return response

    retry = {"name": "again", "type": "retry", "retryAfter": 0.01, "retryLimit": 2}
    async with serving(answer) as served, shell(served) as http:
        found = await outputs_of(getting(served, http, tmp_path, onFailure=[retry]))
    assert found["x"]["bytes"] == 10
    [file] = (tmp_path / "shop" / RUN_ID).iterdir()
    assert (file.name, file.read_bytes()) == ("a.bin", b"all of it!")


async def test_cookies_and_connections_of_one_request_are_not_there_for_the_next(
    tmp_path: Path,
) -> None:
    peers = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        response = web.json_response({})
        response.set_cookie("session", "s")
        return response

    async with serving(answer) as served, shell(served) as http:
        text = document(GET, {**GET, "stepId": "b"})
        made = planned(text, description(served.url, call={}))
        await outputs_of(program(made, http, run_files(tmp_path)))
    assert len(peers) == 2
    assert all("Cookie" not in headers for _, _, headers in served.requests)


async def test_redirect_that_a_criterion_asks_for_is_the_answer(tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/there"})

    async with serving(answer) as served, shell(served) as http:
        step = {
            **GET,
            "successCriteria": [{"condition": "$statusCode == 302"}],
            "outputs": {"x": "$response.header.Location"},
        }
        made = planned(document(step, outputs=OUT), description(served.url, call={}))
        assert await outputs_of(program(made, http, run_files(tmp_path))) == {"x": "/there"}
    assert served.paths == ["/call"]


async def test_redirect_inside_of_the_origin_is_followed(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/call":
            return web.Response(status=303, headers={"Location": "/dé jà?a=b%2Fc"})
        return web.json_response({})

    async with serving(answer) as served, shell(served) as http:
        assert await outputs_of(getting(served, http, tmp_path)) == {"x": {}}
    assert served.paths == ["/call", "/d%C3%A9%20j%C3%A0?a=b%2Fc"]


# Who cannot be reached


async def test_request_that_reached_nobody_is_certain_not_to_have_been_sent(
    tmp_path: Path,
) -> None:
    async with serving(fine) as served:
        pass  # nobody listens there any more
    async with shell(served) as http:
        for url, words in [
            (served.url, "cannot be reached"),
            ("http://name.invalid", "the name name.invalid is not known"),
        ]:
            made = planned(document(GET), description(url, call={}))
            one = program(made, http, run_files(tmp_path))
            state = state_of(one)
            answer = await one.perform(state, act_of(one, state), asyncio.Event())
            assert isinstance(answer, NoAnswer)
            assert (answer.kind, answer.was_sent) == ("network", False)
            assert words in answer.detail


async def test_disk_that_takes_no_file_is_the_platforms_fault(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("a file where a folder should be")

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x00", content_type="application/zip")

    async with serving(answer) as served, shell(served) as http:
        one = getting(served, http, tmp_path)
        state = state_of(one)
        answered = await one.perform(state, act_of(one, state), asyncio.Event())
    assert isinstance(answered, NoAnswer)
    assert answered.kind == "network"
    assert "its file cannot be written: " in answered.detail


# Secrets


async def test_secrets_are_read_when_they_are_sent_and_taken_out_of_what_comes_back(
    tmp_path: Path,
) -> None:
    token = 'pass/word+"1"'

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {token}"
        echoed = {"you": [request.headers["Authorization"], b64encode(token.encode()).decode()]}
        return web.json_response(echoed, headers={"X-Echo": f"t={token}"})

    async with serving(answer) as served, shell(served) as http:
        step = WITH_TOKEN | {"outputs": BODY | {"h": "$response.header.X-Echo"}}
        outputs = OUT | {"h": "$steps.a.outputs.h", "t": "$inputs.token"}
        made = planned(
            document(step, inputs=SECRET, outputs=outputs), description(served.url, call={})
        )
        one = program(made, http, run_files(tmp_path), secrets=TOKEN, environment={"TOKEN": token})
        state = state_of(one)
        event = await one.perform(state, act_of(one, state), asyncio.Event())
        after = one.apply(state, event, time.time())
        found = await outputs_of(one)
    assert found == {"x": {"you": ["Bearer ***", "***"]}, "h": "t=***", "t": "***"}
    for text in (one.encode(state), one.encode(after), repr(event)):
        assert "pass" not in text
        assert b64encode(token.encode()).decode() not in text


@pytest.mark.parametrize("media_type", ["application/json", "text/html"])
@pytest.mark.parametrize("is_escaped", [False, True])
async def test_error_of_a_step_shows_one_line_of_the_body_and_no_secret_in_it(
    tmp_path: Path, media_type: str, is_escaped: bool
) -> None:
    token = 'pass/word+"1"'

    async def answer(_request: web.Request) -> web.StreamResponse:
        said = orjson.dumps({"error": f"no such\x1b[2J key\n: {token}", "more": "x" * 500}).decode()
        said = said.replace("/", "\\/")
        if is_escaped and media_type == "application/json":
            said = said.replace("pass", "\\u0070ass")
        return web.Response(status=400, text=said, content_type=media_type)

    async with serving(answer) as served, shell(served) as http:
        made = planned(document(WITH_TOKEN, inputs=SECRET), description(served.url, call={}))
        one = program(made, http, run_files(tmp_path), secrets=TOKEN, environment={"TOKEN": token})
        error = await error_of(one)
    assert error.message.startswith('Step a: the service answered 400: {"error":"no such')
    assert ': ***","more":"xxx' in error.message
    assert "pass" not in error.message
    assert "word" not in error.message
    assert error.message.isprintable()
    assert len(error.message) <= len("Step a: the service answered 400: ") + 200


async def test_error_of_a_step_shows_control_characters_of_a_text_as_replaced(
    tmp_path: Path,
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=502, text="<b>\x1b[2J bad\r\n\tgate\u202eway</b>")

    async with serving(answer) as served, shell(served) as http:
        error = await error_of(getting(served, http, tmp_path))
    assert error.message == "Step a: the service answered 502: <b>\ufffd[2J bad gate\ufffdway</b>"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:TOKEN", "the secret env:TOKEN is not there: set TOKEN for the worker"),
        ("env:SLUICE_JWT_SECRET", "is one of Sluice's own variables: use another name"),
        ("file:/nowhere/at/all", "the secret file:/nowhere/at/all cannot be read: No such file"),
        ("file:relative", "the secret file:relative must name its file from the root on"),
        ("file:/dev/zero", "cannot be read: It is not a file"),
        ("tenant:amplitude.api_key", "`sluice tenant set SLUG amplitude.api_key=…` sets it"),
        ("tenant:shopify_secrets", "sets it"),
        ("vault:x", "a secret is named in no known way"),
    ],
)
async def test_step_without_its_secret_is_not_sent_and_says_what_to_do(
    tmp_path: Path, reference: str, words: str
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async with serving(answer) as served, shell(served) as http:
        made = planned(document(WITH_TOKEN, inputs=SECRET), description(served.url, call={}))
        error = await error_of(
            program(
                made,
                http,
                run_files(tmp_path),
                secrets={"token": reference},
                environment={"SLUICE_JWT_SECRET": "s" * 40},
            )
        )
    assert served.requests == []
    assert error.attribution == "customer"
    assert error.message.startswith("Step a was not sent: ")
    assert words in error.message


async def test_secret_may_be_a_file_with_a_line_break_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"t0ken\r\n")
    found = await Resolver().resolve([f"file:{file}"])
    assert found.values == {f"file:{file}": "t0ken"}
    for text in (b"", b"\xff", b"a" * 70_000):
        file.write_bytes(text)
        with pytest.raises(Exception, match="the secret file:"):
            await Resolver().resolve([f"file:{file}"])


async def test_properties_of_the_tenant_are_secrets_and_what_they_are_made_of_is_hidden() -> None:
    config = AmplitudeConfig(api_key="key-1", secret_key="secret-1")
    names = ("api_key", "secret_key", "basic_auth")
    found = await Resolver(lambda: config).resolve([f"tenant:amplitude.{one}" for one in names])
    assert list(found.values.values()) == [
        "key-1",
        "secret-1",
        b64encode(b"key-1:secret-1").decode(),
    ]
    only = await Resolver(lambda: config).resolve(["tenant:amplitude.basic_auth"])
    assert {"key-1", "secret-1"} < only.hidden
    with pytest.raises(Exception, match="no property that a workflow may read"):
        await Resolver(lambda: config).resolve(["tenant:amplitude.region"])


async def test_key_of_the_simulator_is_not_sent_to_amplitude_itself() -> None:
    config = AmplitudeConfig(api_key=SIMULATED_KEY, secret_key="secret")
    with pytest.raises(Exception, match="is not sent to Amplitude itself"):
        await Resolver(lambda: config).resolve(["tenant:amplitude.api_key"])
    simulated = Resolver(lambda: config, is_simulated=True)
    assert (await simulated.resolve(["tenant:amplitude.api_key"])).values


# States


async def test_state_goes_on_in_another_program_of_the_same_document_only(tmp_path: Path) -> None:
    async with shell() as http:
        source = description("http://a.example", call={})
        one = program(planned(document(GET), source), http, run_files(tmp_path))
        other = program(
            planned(document(GET, GET | {"stepId": "b"}), source), http, run_files(tmp_path)
        )
        text = one.encode(state_of(one))
        assert one.encode(one.decode(text)) == text
        with pytest.raises(ValueError, match="has changed since the run began"):
            other.decode(text)
        with pytest.raises(ValueError, match=r"\w"):
            one.decode("{}")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, '"n" is a required property'),
        ({"n": "x"}, "/n "),
        ({"n": 1, "token": "t"}, "/token is secret: give it as a reference"),
    ],
)
async def test_inputs_that_the_schema_does_not_take_begin_nothing(
    tmp_path: Path, inputs: dict[str, Any], words: str
) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "token": {"type": "string"}},
        "required": ["n"],
    }
    async with shell() as http:
        made = planned(document(GET, inputs=schema), description("http://a.example", call={}))
        begun = program(made, http, run_files(tmp_path), inputs=inputs).begin(0.0)
    assert isinstance(begun, RunError)
    assert (begun.attribution, begun.type) == ("customer", "sluice.workflow.run/inputs")
    assert words in begun.message


# Stops


async def test_case_16_stop_ends_a_wait_within_a_second(
    amplitude: AmplitudeProject, tmp_path: Path
) -> None:
    await amplitude.set(cohorts=[{"id": "c1", "user_ids": ["ann"]}])
    stop = asyncio.Event()
    stopped_at = 0.0

    def tell(told: Told) -> None:
        nonlocal stopped_at
        if isinstance(told, Waiting) and told.seconds > 1:
            stopped_at = time.monotonic()
            stop.set()

    served = Served(url=amplitude.url)
    async with shell(served) as http:
        one = exporting(amplitude, http, tmp_path)
        outcome = await run_locally(one, tell, stop)
    assert outcome.error == CANCELED
    assert 0 < stopped_at > time.monotonic() - 1


async def test_stop_ends_a_download_and_waits_for_what_writes(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        if request.method == "GET":
            await asyncio.Event().wait()
        await asyncio.sleep(0.3)
        return web.json_response({})

    async with serving(answer) as served, shell(served) as http:
        for method, is_stopped in (("get", True), ("post", False)):
            asked.clear()
            source = description(served.url, call={"method": method})
            one = program(planned(document(GET), source), http, run_files(tmp_path))
            state, stop = state_of(one), asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(one.perform(state, act_of(one, state), stop))
                await asked.wait()
                stop.set()
            assert isinstance(sending.result(), Stop) is is_stopped


# The simulated Amplitude


def exporting(
    project: AmplitudeProject, http: HttpShell, folder: Path, cohort: str = "c1"
) -> ArazzoProgram:
    """The shipped export, against a project of the simulator."""
    basic = b64encode(f"{project.api_key}:secret".encode()).decode()
    return program(
        shipped("export-cohort-members", Addresses(amplitude_url=project.url)),
        http,
        run_files(folder),
        inputs={"cohortId": cohort},
        secrets={"basicAuth": "env:BASIC"},
        environment={"BASIC": basic},
    )


@pytest.mark.parametrize("dialect", ["real", "given"])
@pytest.mark.parametrize("is_large", [False, True])
async def test_case_13_export_is_the_cohort_byte_by_byte_also_by_a_link(
    amplitude: AmplitudeProject, tmp_path: Path, dialect: str, *, is_large: bool
) -> None:
    users = [f"person-{number}" for number in range(40_000 if is_large else 3)]
    await amplitude.set(dialect=dialect, cohorts=[{"id": "c1", "user_ids": users, "polls": 0}])
    expected, storage = await cohort_file(amplitude, "c1")
    async with shell(Served(url=amplitude.url), storage) as http:
        found = await outputs_of(exporting(amplitude, http, tmp_path))
    assert found["finalStatus"] == "complete"
    if is_large:
        assert len(expected) > MIB
        assert found["cohortFile"]["sha256"] == sha256(expected).hexdigest()
        path = run_files(tmp_path).path("shop", RUN_ID, "downloadExport.csv")
        assert path is not None
        assert path.read_bytes() == expected
    else:
        assert found["cohortFile"] == expected.decode()
