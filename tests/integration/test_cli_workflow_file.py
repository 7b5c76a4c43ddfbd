"""``sluice workflow run --file``: a document runs in one process, and says how it went."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from sluice.cli import main
from sluice.workflows.shipped import SHIPPED
from tests.support.amplitude import AmplitudeProject
from tests.support.command import Ran
from tests.support.poll import poll_until
from tests.support.workflows import MIB, cohort_file, description, document, serving

OUT = {"x": "$steps.a.outputs.x"}
GET = {"stepId": "a", "operationId": "call", "outputs": {"x": "$response.body"}}
FLAT_BYTES = 24 * MIB
"""By how much the memory of two runs may differ whose bodies differ by hundreds of MiB."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str
    peak_bytes: int

    @property
    def json(self) -> Any:
        return orjson.loads(self.stdout)


async def run_file(
    *words: str | Path, settings: Mapping[str, str] | None = None, stdin: str = ""
) -> Measured:
    """Run ``sluice workflow run --file`` as a process of its own, and measure it."""
    return await asyncio.to_thread(_run_file, list(map(str, words)), settings or {}, stdin)


def _run_file(words: Sequence[str], settings: Mapping[str, str], stdin: str) -> Measured:
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "sluice.cli", "workflow", "run", "--file", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(settings),
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(stdin)
        process.stdin.close()
        said = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Measured(process.returncode, *said, usage.ru_maxrss * 1024)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return {**kept, **settings}


def day(days: int) -> str:
    """Return a day around now as Amplitude writes it."""
    return f"{datetime.now(UTC) + timedelta(days):%Y%m%d}"


def written(folder: Path, url: str, *steps: Mapping[str, Any], **members: Any) -> Path:
    """Write a document and its source; return the document's file."""
    (folder / "api.yaml").write_bytes(description(url, call={}))
    file = folder / "a.arazzo.yaml"
    file.write_bytes(document(*(steps or (GET,)), **{"outputs": OUT, **members}))
    return file


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run the command in this process, with nothing on standard input."""

    def run(*words: str | Path) -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO())
        status: object = 0
        try:
            main(["workflow", "run", "--file", *map(str, words)])
        except SystemExit as end:
            status = end.code
        assert isinstance(status, int)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


async def streaming(request: web.Request) -> web.StreamResponse:
    """Send as many MiB as the path says."""
    response = web.StreamResponse(headers={"Content-Type": "text/csv"})
    await response.prepare(request)
    for _ in range(int(request.query["mib"])):
        await response.write(b"a" * MIB)
    return response


def downloading(url: str) -> Mapping[str, Any]:
    """A step whose answer is as large as the input ``mib`` says."""
    return {**GET, "parameters": [{"name": "mib", "in": "query", "value": "$inputs.mib"}]}


MIB_INPUT = {"type": "object", "properties": {"mib": {"type": "integer"}}}


async def test_case_14_memory_is_flat_when_a_body_is_large(tmp_path: Path) -> None:
    async with serving(streaming) as served:
        words: list[str | Path] = [
            written(tmp_path, served.url, downloading(served.url), inputs=MIB_INPUT),
            "--allow-host",
            served.place,
            "--out",
            tmp_path,
            "--json",
        ]
        small = await run_file(*words, "--input", "mib=1")
        large = await run_file(*words, "--input", "mib=50")
        refused = await run_file(
            *words,
            "--input",
            "mib=1024",
            settings={"SLUICE_RUN_FILE_MAX_BYTES": str(64 * MIB)},
        )
    assert (small.status, large.status, refused.status) == (0, 0, 1), refused
    found = large.json["outputs"]["x"]
    assert found == {
        "$file": "a.csv",
        "bytes": 50 * MIB,
        "media_type": "text/csv",
        "sha256": sha256(b"a" * 50 * MIB).hexdigest(),
    }
    assert (tmp_path / "a.csv").stat().st_size == 50 * MIB
    assert refused.json["error"] == {
        "attribution": "customer",
        "type": "sluice.workflow.step/http",
        "message": "Step a: the answer was refused: it is larger than 67,108,864 bytes",
    }
    assert large.peak_bytes - small.peak_bytes < FLAT_BYTES
    assert refused.peak_bytes - small.peak_bytes < FLAT_BYTES
    assert not list(tmp_path.glob("*.part"))  # noqa: ASYNC240 - a look


@pytest.mark.parametrize("dialect", ["real", "given"])
async def test_shipped_documents_run_against_amplitude_in_both_dialects(
    amplitude: AmplitudeProject, tmp_path: Path, dialect: str
) -> None:
    users = [f"person-{number}" for number in range(30_000)]
    await amplitude.set(dialect=dialect, cohorts=[{"id": "c1", "user_ids": users, "polls": 0}])
    expected, storage = await cohort_file(amplitude, "c1")
    basic = b64encode(f"{amplitude.api_key}:secret".encode()).decode()
    key = tmp_path / "key"
    key.write_text(f"{amplitude.api_key}\n")
    ingest = await run_file(
        SHIPPED / "ingest-and-segment.arazzo.yaml",
        *("--amplitude-url", amplitude.url, "--secret", "basicAuth=-"),
        *("--secret", f"apiKey=file:{key}", "--input", 'eventProperties={"path": "/"}'),
        *("--input", "userId=person-1", "--input", "eventType=1", "--json"),
        *("--input", f"start={day(-1)}", "--input", f"end={day(1)}"),
        stdin=f"{basic}\n",
    )
    assert ingest.status == 0, ingest
    [event] = await amplitude.taken()
    assert (event["user_id"], event["event_type"]) == ("person-1", "1")
    assert ingest.json["outputs"]["eventsIngested"] == 1
    assert sum(ingest.json["outputs"]["series"][0]) == 1
    export = await run_file(
        SHIPPED / "export-cohort-members.arazzo.yaml",
        *("--amplitude-url", amplitude.url, "--allow-host", storage.place, "--out", tmp_path),
        *("--input", "cohortId=c1", "--secret", "basicAuth=env:AMPLITUDE_BASIC", "--json"),
        settings={"AMPLITUDE_BASIC": basic},
    )
    assert export.status == 0, export
    assert export.json["outputs"]["cohortFile"]["sha256"] == sha256(expected).hexdigest()
    assert (tmp_path / "downloadExport.csv").read_bytes() == expected
    shown = ingest.stdout + ingest.stderr + export.stdout + export.stderr
    assert basic not in shown
    assert amplitude.api_key not in shown


async def test_run_prints_its_steps_and_outputs_and_says_how_it_ended(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/call":
            return web.json_response({"n": "\x1b[2J"})
        return web.json_response({}, status=404)

    async with serving(answer) as served:
        words = (written(tmp_path, served.url), "--allow-host", served.place)
        good = await run_file(*words)
        (tmp_path / "api.yaml").write_bytes(description(served.url, call={"path": "/gone"}))
        bad = await run_file(*words)
    assert good.stdout == 'a: succeeded, HTTP 200\nx: {"n":"\\u001b[2J"}\nsucceeded\n'
    assert (good.status, good.stderr) == (0, "")
    assert bad.stdout == (
        "a: failed, HTTP 404\n"
        "failed (customer, sluice.workflow.step/http): Step a: the service answered 404\n"
    )
    assert (bad.status, bad.stderr) == (1, "")


async def test_private_address_is_not_reached_unless_it_is_allowed(tmp_path: Path) -> None:
    async with serving(streaming) as served:
        ran = await run_file(written(tmp_path, served.url))
    assert ran.status == 1
    assert f"{served.place} is not on the public internet" in ran.stdout
    assert "and --allow-host HOST:PORT does not list it" in ran.stdout
    assert "SLUICE_WORKFLOW_PRIVATE_HOSTS" not in ran.stdout
    assert served.requests == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "mib"], "--input must be NAME=VALUE."),
        (["--secret", "a=tenant:x"], "--secret a must be env:NAME, file:PATH or - (standard"),
        (["--secret", "a=env:NOT_THERE"], "--secret: the secret env:NOT_THERE is not there."),
        (["--secret", "a=-"], "--secret: nothing came from standard input."),
        (["--secret", "a=-", "--secret", "b=-"], "only one can be read from standard input"),
        (["--allow-host", "localhost"], "--allow-host is 'localhost': use host:port"),
        (["--amplitude-url", "ftp://x"], "use http(s)://host:port"),
        (["--workflow", "v"], "--workflow is 'v': the document has w."),
    ],
)
def test_wrong_argument_is_said_in_one_line(
    here: Callable[..., Ran], tmp_path: Path, words: list[str], said: str
) -> None:
    ran = here(written(tmp_path, "http://a.example"), *words)
    assert (ran.status, ran.stdout) == (2, "")
    assert said in ran.error


def test_input_that_is_wrong_is_said_with_the_option_that_mends_it(
    here: Callable[..., Ran], tmp_path: Path
) -> None:
    inputs = {
        "type": "object",
        "required": ["apiKey", "day"],
        "properties": {"apiKey": {"type": "string"}, "day": {"type": "string"}},
    }
    file = written(tmp_path, "http://a.example", inputs=inputs)
    ran = here(file, "--input", "day=1")
    assert ran.status == 1
    assert "/apiKey is required: give --secret apiKey=env:VARIABLE\n" in ran.stdout
    ran = here(file, "--secret", f"apiKey=file:{file}")
    assert '"day" is a required property: see --input and --secret\n' in ran.stdout


def test_refused_document_is_not_begun(here: Callable[..., Ran], tmp_path: Path) -> None:
    file = written(tmp_path, "http://a.example", {"stepId": "a", "operationId": "nothing"})
    ran = here(file)
    assert ran.status == 1
    assert f"{file}:1:" in ran.stdout
    assert "names nothing, which no source has" in ran.stdout
    assert here(file, "--json").json["state"] == "refused"
    assert here(tmp_path / "nowhere").status == 2


async def test_ctrl_c_stops_a_run_cleanly(tmp_path: Path) -> None:
    async def hanging(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(hanging) as served:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sluice.cli", "workflow", "run", "--file"),
            *(written(tmp_path, served.url), "--allow-host", served.place),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment({}),
        )

        async def asked() -> bool:
            return bool(served.requests)

        await poll_until(asked, what="the request arrived")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            stdout, stderr = await process.communicate()
    assert process.returncode == 130
    assert b"canceled (customer, sluice.workflow.run/cancel): Workflow manually stopped" in stdout
    assert stderr == b"sluice: stopped\n"
