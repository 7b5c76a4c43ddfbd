"""``sluice workflow run``, ``runs``, ``show``, ``stop``, ``files``: against canned answers."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sluice.cli import main
from sluice.cli.runs_watch import pause_s
from sluice.tenants import TenantsFile
from tests.support.command import Ran
from tests.support.stack import environment

RUN_ID = "wf-20260425-52331-x9E9U"
SECRET = "s" * 40
FILE = b"user_id\nu-1\n"
EXPORT = {"$file": "members.csv", "bytes": len(FILE), "sha256": sha256(FILE).hexdigest()}


def a_run(state: str = "scheduled", **more: Any) -> dict[str, Any]:
    """A run as POST and the verbose GET show it."""
    return {
        "id": RUN_ID,
        "type": "amplitude.export-cohort",
        "name": "Export a cohort",
        "tenant": "shop",
        "state": state,
        "created_at": "2026-04-25T14:32:11.000Z",
        "principal_name": "ann",
        "task_instances": [],
        **more,
    }


def a_task(number: int, label: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"ti-{number}",
        "label": label,
        "state": state,
        "created_at": "2026-04-25T14:32:12.000Z",
        **({"ended_at": "2026-04-25T14:32:16.200Z"} if state == "succeeded" else {}),
        **more,
    }


ERROR = {
    "attribution": "customer",
    "type": "sluice.workflow.step/http",
    "message": "requestExport: Amplitude answered 401 \x1b[31m",
}


@dataclass(slots=True)
class Gateway:
    """Answers what it was told to, and notes what it was asked."""

    url: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    """The last one is given again and again."""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        asked = (request.method, request.path, dict(request.query), body and orjson.loads(body))
        self.asked.append(asked)
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        if request.path.endswith("/files/members.csv"):
            return web.Response(body=FILE)
        status, content = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(content, bytes):
            return web.Response(body=content, status=status)
        return web.Response(
            body=orjson.dumps(content),
            status=status,
            content_type="application/json",
            headers=self.headers,
        )


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[str]:
    """Serve without a log of requests: it would go where the command under test writes."""
    server = TestServer(app)
    await server.start_server(access_log=None)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    found = Gateway(answers=[(200, a_run())])
    app = web.Application()
    app.router.add_route("*", "/api/workflow/runs{rest:.*}", found.answer)
    async with _serving(app) as url:
        found.url = url
        yield found


Command = Callable[..., "asyncio.Future[Ran]"]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    TenantsFile(folder / "tenants.toml").add_tenant("shop")
    monkeypatch.setenv("SLUICE_DATA_DIR", str(folder))
    monkeypatch.setenv("SLUICE_JWT_SECRET", SECRET)
    monkeypatch.setenv("LOGNAME", "ann")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def workflow(gateway: Gateway, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``sluice workflow`` in this process, beside the loop that answers it."""

    def run(*words: str) -> Ran:
        status: object = 0
        try:
            main(["workflow", *words])
        except SystemExit as end:
            status = end.code
        assert isinstance(status, int)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    async def command(*words: str) -> Ran:
        return await asyncio.to_thread(run, *words, "--url", gateway.url)

    return command


async def test_run_starts_what_the_options_say_as_who_runs_the_command(
    workflow: Any, gateway: Gateway
) -> None:
    ran = await workflow("run", "cg-replay", "--from", "2026-04-25", "--mode", "source")
    assert ran.status == 0, ran
    assert ran.stdout.splitlines()[0].startswith(f"{RUN_ID} Export a cohort: scheduled for ")
    assert ran.stdout.splitlines()[1] == (f"sluice workflow show {RUN_ID} --tenant shop --watch")
    [(method, path, _, body)] = gateway.asked
    assert (method, path) == ("POST", "/api/workflow/runs")
    assert body == {
        "config_id": "cg-replay",
        "range_from": "2026-04-25",
        "run_mode": "source",
    }
    claims = jwt.decode(gateway.tokens[0], SECRET, algorithms=["HS256"])
    assert (claims["tenant"], claims["scope"], claims["name"]) == ("shop", "read runs", "ann")


async def test_run_takes_inputs_as_the_schema_wants_them(
    workflow: Any, gateway: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_bytes(b'{"cohortId": "old", "includeProps": 0}')
    words = ("--inputs", "in.json", "--input", "cohortId=7", "--input", "includeProps=1")
    ran = await workflow("run", "og-cohort", *words, "--json")
    assert ran.status == 0, ran
    assert ran.json["id"] == RUN_ID
    assert gateway.asked[0][3]["inputs"] == {"cohortId": "7", "includeProps": 1}


async def test_run_reads_inputs_as_json_when_the_schema_is_elsewhere(
    workflow: Any, gateway: Gateway
) -> None:
    words = [f"--input={one}" for one in ("a=7", 'b="7"', "c=x y", "d=[1]", "e=", "f=a=b")]
    ran = await workflow("run", "cg-own", *words, "--token", "a.b.c", "--tenant", "shop")
    assert ran.status == 0, ran
    assert gateway.asked[0][3]["inputs"] == {
        "a": 7,
        "b": "7",
        "c": "x y",
        "d": [1],
        "e": "",
        "f": "a=b",
    }
    assert gateway.tokens == ["a.b.c"]


async def test_watched_run_is_followed_to_its_end_with_a_line_for_each_change(
    workflow: Any, gateway: Gateway
) -> None:
    done = a_task(1, "requestExport", "succeeded")
    gateway.answers = [
        (200, a_run()),
        (200, a_run("started", task_instances=[a_task(1, "requestExport", "running")])),
        (503, {"status": 503, "message": "The warehouse is away."}),
        (
            200,
            a_run("in progress", task_instances=[done, a_task(2, "pollStatus", "running")]),
        ),
        (
            200,
            a_run(
                "succeeded",
                ended_at="2026-04-25T14:35:31.000Z",
                task_instances=[done, a_task(2, "pollStatus", "succeeded")],
                outputs={"cohortFile": EXPORT},
            ),
        ),
    ]
    ran = await workflow("run", "og-cohort", "--input", "cohortId=c1", "--watch")
    assert ran.status == 0, ran
    steps = [line.split(" ", 1)[1] for line in ran.stderr.splitlines()[1:]]
    assert steps == [
        "requestExport running",
        "requestExport succeeded after 4.2 s",
        "pollStatus running",
        "pollStatus succeeded after 4.2 s",
    ]
    lines = ran.stdout.splitlines()
    assert lines[0] == f"{RUN_ID} Export a cohort: succeeded after 3 m 20 s"
    assert f"    members.csv  12 bytes  {EXPORT['sha256']}" in lines
    assert lines[-1] == f"  sluice workflow files {RUN_ID} --tenant shop --download members.csv"


@pytest.mark.parametrize("state", ["failed", "canceled"])
async def test_watched_run_ends_with_1_when_it_did_not_succeed(
    workflow: Any, gateway: Gateway, state: str
) -> None:
    ended = a_run(state, ended_at="2026-04-25T14:32:12.500Z", error=ERROR)
    gateway.answers = [(200, a_run()), (200, ended)]
    ran = await workflow("run", "og-cohort", "--watch")
    assert ran.status == 1
    assert ran.stdout.splitlines() == [
        f"{RUN_ID} Export a cohort: {state} after 1.5 s",
        "  requestExport: Amplitude answered 401 \N{REPLACEMENT CHARACTER}[31m"
        " (customer, sluice.workflow.step/http)",
    ]
    assert (await workflow("run", "og-cohort", "--watch", "--json")).json["state"] == state


async def test_ctrl_c_leaves_the_run_going_and_says_so(gateway: Gateway, data_dir: Path) -> None:
    gateway.answers = [(200, a_run()), (200, a_run("started"))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluice.cli", "workflow", "run", "og-cohort", "--watch"),
        *("--url", gateway.url),
        env=environment({"DATA_DIR": str(data_dir), "JWT_SECRET": SECRET}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    first = await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = await process.communicate()
    assert process.returncode == 130
    assert first.startswith(RUN_ID.encode())
    assert rest.decode().splitlines() == [
        f"The run goes on. `sluice workflow show {RUN_ID} --tenant shop --watch` shows it again;"
        f" `sluice workflow stop {RUN_ID} --tenant shop` stops it.",
        "sluice: stopped",
    ]
    assert all(not path.endswith("/stop") for _, path, _, _ in gateway.asked)


async def test_start_is_repeated_with_the_same_key_when_the_gateway_had_no_time(
    workflow: Any, gateway: Gateway
) -> None:
    keys: list[str] = []
    plain = gateway.answer

    async def note(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        return await plain(request)

    app = web.Application()
    app.router.add_route("*", "/api/workflow/runs", note)
    gateway.answers = [(503, {"status": 503, "message": "Again."}), (200, a_run())]
    async with _serving(app) as url:
        gateway.url = url
        ran = await workflow("run", "og-cohort")
    assert ran.status == 0, ran
    assert len(keys) == 2
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected", "said"),
    [
        (
            400,
            {"status": 400, "message": "/inputs/cohortId is required."},
            2,
            "sluice: /inputs/cohortId is required (400).",
        ),
        (
            401,
            {"status": 401, "message": "The token is expired."},
            2,
            "sluice: The token is expired (401): give --token what"
            " `sluice token SLUG` prints there.",
        ),
        (
            409,
            {"status": 409, "message": f"1 run goes on: {RUN_ID}."},
            1,
            f"sluice: 1 run goes on: {RUN_ID} (409).",
        ),
        (404, b"<html>", 1, "answered 404, and not as Sluice's runs API does: check --url."),
        (302, b"", 1, "answered 302, and not as Sluice's runs API does: check --url."),
        (200, b"hello", 1, "sluice: what answers there is not Sluice's runs API: check --url."),
        (200, [], 1, "sluice: what answers there is not Sluice's runs API: check --url."),
    ],
)
async def test_refusal_is_one_sentence(
    workflow: Any, gateway: Gateway, status: int, body: Any, expected: int, said: str
) -> None:
    gateway.answers = [(status, body)]
    ran = await workflow("run", "og-cohort")
    assert ran.status == expected
    assert ran.stdout == ""
    assert said in ran.error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "og-cohort", "--input", "cohortId"], "--input: give KEY=VALUE"),
        (["run", "og-cohort", "--inputs", "nowhere.json"], "--inputs nowhere.json cannot be read"),
        (["run", "og-cohort", "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["run", "og-cohort", "--token", "two words"], "--token is not one word"),
        (["runs", "--url", "ftp://x"], "--url: use http(s)://host:port"),
        (["runs", "--url", "http://me:pw@x"], "--url: use http(s)://host:port"),
    ],
)
async def test_wrong_option_is_one_line_and_nothing_is_asked(
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    gateway: Gateway,
    words: list[str],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as end:
        await asyncio.to_thread(main, ["workflow", *words])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert gateway.asked == []


async def test_unreachable_gateway_is_named(
    workflow: Any, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.cli.runs_api.TRIES", 1)
    gateway.url = "http://127.0.0.1:1"
    ran = await workflow("stop", RUN_ID)
    assert ran.status == 1
    assert ran.error == (
        "sluice: no answer from http://127.0.0.1:1 (connection refused): see that the gateway runs"
    )


async def test_start_that_nobody_answered_says_that_the_run_may_go_on(
    workflow: Any, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.cli.runs_api.TRIES", 1)

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}")
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        gateway.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ran = await workflow("run", "og-cohort", "--input", "cohortId=c1")
    assert ran.status == 1
    assert "(connection lost)" in ran.error
    assert ran.error.endswith("may have started all the same: `sluice workflow runs` says so.")


async def test_runs_are_listed_over_all_pages_with_the_filters_given(
    workflow: Any, gateway: Gateway
) -> None:
    failed = a_run("failed", ended_at="2026-04-25T14:32:13.000Z", error=ERROR)
    gateway.answers = [
        (200, {"data": [a_run("started")], "next_token": "t1", "total": 3}),
        (200, {"data": [failed], "next_token": ""}),
    ]
    words = ("--state", "failed", "--state", "running", "--created-from", "2026-04")
    ran = await workflow("runs", *words, "--limit", "5")
    assert ran.status == 0, ran
    first, second = (query for _, _, query, _ in gateway.asked)
    assert first["limit"] == "5"
    assert (first["created_from"], first["with_total"]) == ("2026-04", "true")
    assert (second["limit"], second["next_token"]) == ("4", "t1")
    assert ran.stdout.count(RUN_ID) == 2
    assert ran.stdout.splitlines()[-1] == "2 of 3; --limit shows more."
    gateway.answers = [(200, {"data": [], "next_token": ""})]
    assert (await workflow("runs")).stdout == "No runs.\n"
    assert (await workflow("runs", "--json")).json == {"data": [], "total": None}


async def test_run_is_shown_with_its_steps_and_values(workflow: Any, gateway: Gateway) -> None:
    gateway.answers = [
        (
            200,
            a_run(
                "failed",
                ended_at="2026-04-25T14:32:13.000Z",
                error=ERROR,
                inputs={"basicAuth": "***", "cohortId": "c1"},
                outputs={"text": "x" * 900},
                task_instances=[a_task(1, "requestExport", "failed", error=ERROR)],
            ),
        )
    ]
    ran = await workflow("show", RUN_ID)
    assert ran.status == 0, ran
    assert '    basicAuth: "***"' in ran.stdout
    assert "… (902 characters; --json shows all)" in ran.stdout
    assert "  ✗ requestExport  failed  " in ran.stdout
    assert "\x1b" not in ran.stdout
    assert gateway.asked[0][1:3] == (f"/api/workflow/runs/{RUN_ID}", {"view": "verbose"})
    assert (await workflow("show", RUN_ID, "--watch")).status == 1


async def test_id_cannot_lead_to_another_path(workflow: Any, gateway: Gateway) -> None:
    gateway.answers = [(404, {"status": 404, "message": "No such run."})]
    for wrong in ("../../ingestion/stats", "..", "a?b", ""):
        assert (await workflow("stop", wrong)).status == 2
    assert all(path.startswith("/api/workflow/runs/") for _, path, _, _ in gateway.asked)
    assert all(path.endswith("/stop") for _, path, _, _ in gateway.asked)


async def test_stop_says_how_the_run_is_then(workflow: Any, gateway: Gateway) -> None:
    gateway.answers = [(200, a_run("stopping"))]
    ran = await workflow("stop", RUN_ID)
    assert ran.status == 0
    assert ": stopping for " in ran.stdout
    assert gateway.asked[0][:2] == ("POST", f"/api/workflow/runs/{RUN_ID}/stop")


async def test_file_is_fetched_when_its_digest_is_right(
    workflow: Any, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.answers = [(200, a_run("succeeded", outputs={"a": [EXPORT]}))]
    assert (await workflow("files", RUN_ID)).stdout == (
        f"members.csv  12 bytes  {EXPORT['sha256']}\n"
    )
    ran = await workflow("files", RUN_ID, "--download", "members.csv")
    assert ran.status == 0, ran
    assert (tmp_path / "members.csv").read_bytes() == FILE
    again = await workflow("files", RUN_ID, "--download", "members.csv")
    assert (again.status, "is there already" in again.error) == (2, True)


async def test_file_is_not_kept_when_its_digest_is_wrong(
    workflow: Any, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.answers = [(200, a_run("succeeded", outputs={"a": {**EXPORT, "sha256": "0" * 64}}))]
    ran = await workflow("files", RUN_ID, "--download", "members.csv", "--to", "x.csv")
    assert ran.status == 1
    assert "fetch it again" in ran.error
    assert not (tmp_path / "x.csv").exists()
    assert not (tmp_path / "x.csv.part").exists()


async def test_file_is_put_into_a_folder_or_on_standard_output_when_asked(
    workflow: Any, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.answers = [(200, a_run("succeeded", outputs={"a": [EXPORT]}))]
    words = ("files", RUN_ID, "--download", "members.csv", "--to")
    (tmp_path / "there").mkdir()
    ran = await workflow(*words, "there")
    assert ran.stdout.startswith("there/members.csv  12 bytes")
    assert (tmp_path / "there" / "members.csv").read_bytes() == FILE
    again = await workflow(*words, "there")
    assert (again.status, "there/members.csv is there already" in again.error) == (2, True)
    away = await workflow("files", RUN_ID, "--download", "../members.csv", "--to", "there")
    assert (away.status, "no name of a file" in away.error) == (2, True)
    ran = await workflow(*words, "-")
    assert (ran.status, ran.stdout, ran.stderr) == (0, FILE.decode(), "")
    assert not (tmp_path / "-").exists()
    both = await workflow(*words, "-", "--json")
    assert (both.status, "leave out --json" in both.error) == (2, True)


@pytest.mark.parametrize(
    ("state", "said"),
    [("failed", "The run left no files.\n"), ("running", "The run has no files yet.\n")],
)
async def test_run_without_files_is_said_to_have_none_or_none_yet(
    workflow: Any, gateway: Gateway, state: str, said: str
) -> None:
    gateway.answers = [(200, a_run(state))]
    assert (await workflow("files", RUN_ID)).stdout == said


def test_long_watch_asks_more_seldom() -> None:
    assert pause_s(1) < pause_s(100) <= 2
