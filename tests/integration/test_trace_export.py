"""Spans on their way to a collector: taken, not taken, too many; and nothing where none is set."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from sluice.cli.checks_traces import check_traces
from sluice.telemetry import TRACE_SPANS
from sluice.tracing import open_tracer
from sluice.tracing.otlp import CLOSE_TIMEOUT_S
from sluice.tracing.spans import Tracer
from tests.support.collector import Collector, running_collector
from tests.support.gateway import running_gateway
from tests.support.logs import captured_logs
from tests.support.poll import poll_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")
NOBODY = "http://127.0.0.1:1"
REQUESTS = 50


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are sent soon, and the tests' own environment says nothing else."""
    for name in ("OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that is set as the endpoint."""
    async with running_collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def counted(outcome: str) -> float:
    """Return how many spans ended so, ever."""
    return float(TRACE_SPANS.labels(outcome)._value.get())


def have_ended(outcome: str, count: float) -> bool:
    return counted(outcome) == count


def leave_spans(tracer: Tracer | None, count: int) -> None:
    assert tracer is not None
    for _ in range(count):
        tracer.start("test", kind="internal", attributes={}).end()


async def test_service_is_named_by_its_variable_or_by_the_process(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_tracer("worker") as tracer:
        leave_spans(tracer, 1)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "events")
    async with open_tracer("worker") as tracer:
        leave_spans(tracer, 1)
    assert [span.service for span in collector.spans] == ["sluice-worker", "events"]


async def test_headers_and_compression_are_those_of_the_variables(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken,x-team=events")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    async with open_tracer("gateway") as tracer:
        leave_spans(tracer, 1)
    [headers] = collector.headers
    assert (headers["authorization"], headers["x-team"]) == ("Bearer t0ken", "events")
    assert headers["content-encoding"] == "gzip"
    assert len(collector.spans) == 1


async def test_last_spans_are_sent_when_the_process_ends(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    async with open_tracer("gateway") as tracer:
        leave_spans(tracer, 7)
        assert not collector.spans
    assert len(collector.spans) == 7


async def test_spans_past_the_bound_are_dropped_and_counted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    collector.gate.clear()
    dropped, exported = counted("dropped"), counted("exported")
    async with open_tracer("gateway") as tracer:
        leave_spans(tracer, 25)
        assert counted("dropped") == dropped + 15
        collector.gate.set()
        await poll_until(lambda: counted("exported") == exported + 10)
        leave_spans(tracer, 1)
    assert len(collector.spans) == 11
    assert counted("dropped") == dropped + 15


async def test_spans_that_the_collector_refuses_are_counted_and_told_once(
    collector: Collector,
) -> None:
    collector.status = 400
    failed = counted("failed")
    with captured_logs("sluice", "opentelemetry") as logs:
        async with open_tracer("gateway") as tracer:
            for number in range(1, 4):
                leave_spans(tracer, 1)
                await poll_until(partial(have_ended, "failed", failed + number))
            collector.status = 200
            leave_spans(tracer, 1)
            await poll_until(lambda: collector.spans)
            await poll_until(lambda: "The collector takes spans again" in str(logs))
    told = [line["event"] for line in logs if line["event"].startswith("The collector")]
    assert told == [
        "The collector does not take spans; they are dropped",
        "The collector takes spans again",
    ]


async def test_leaving_is_bounded_when_the_collector_hangs(collector: Collector) -> None:
    collector.gate.clear()
    async with open_tracer("gateway") as tracer:
        leave_spans(tracer, 10)
        started = time.monotonic()
    assert time.monotonic() - started < CLOSE_TIMEOUT_S + 0.5
    collector.gate.set()


@pytest.mark.parametrize("is_hanging", [False, True])
async def test_no_request_waits_or_fails_when_the_collector_is_away(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, *, is_hanging: bool
) -> None:
    collector.gate.clear()
    if not is_hanging:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    async with running_gateway(tmp_path) as gateway:
        request = gateway.track_bytes(b'{"user_id":"u","event_type":"e"}', SAMPLED)
        slowest = 0.0
        for _ in range(REQUESTS):
            started = time.monotonic()
            assert (await gateway.send(request)).status == 202
            slowest = max(slowest, time.monotonic() - started)
        started = time.monotonic()
    # A collector is given 10 s; a machine with much to do may take a second for a request.
    assert slowest < 3
    assert time.monotonic() - started < 5
    collector.gate.set()


async def test_no_line_of_the_log_repeats_a_header_that_is_malformed(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    collector.status = 500
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer pl4nted,authorization=\\x01 pl4nted\n")
    with captured_logs("sluice", "opentelemetry") as logs:
        async with open_tracer("gateway") as tracer:
            if tracer is not None:
                leave_spans(tracer, 1)
                await asyncio.sleep(0)
    written = capfd.readouterr()
    assert "pl4nted" not in f"{logs} {written.out} {written.err}"


async def test_traces_stay_off_and_the_process_runs_when_a_variable_cannot_be_followed(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with captured_logs("sluice", "opentelemetry") as logs:
        async with open_tracer("gateway") as tracer:
            assert tracer is None
    [line] = logs
    assert line["event"] == "Traces are not exported"
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'" in line["detail"]
    assert not collector.spans


async def test_doctor_says_whether_the_collector_takes_spans(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked() -> list[tuple[str, str]]:
        findings = await asyncio.to_thread(check_traces, os.environ)
        return [(finding.state, finding.detail) for finding in findings]

    told = "the collector takes spans; 1.00% of the requests without a parent leave some"
    assert await asked() == [("ok", told)]
    collector.status = 401
    assert await asked() == [("warn", "the collector does not take spans; they are dropped")]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    [(state, detail)] = await asked()
    assert (state, "OTEL_TRACES_EXPORTER" in detail) == ("warn", True)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    assert await asked() == []


_STARTED = """
import asyncio, sys
from pathlib import Path
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
import gateway.app, worker.app

async def main(folder):
    settings = load_settings(data_dir=Path(folder), port=0, worker_port=0)
    TenantsFile(settings.tenants_path).add_tenant("acme")
    for serve in (gateway.app.serve, worker.app.serve):
        stop = asyncio.Event()
        await serve(settings, stop, lambda address: stop.set())
    print(sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry"))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("endpoint", ["", NOBODY])
def test_opentelemetry_is_imported_only_when_an_endpoint_is_set(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _STARTED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported = done.stdout.splitlines()[-1]
    assert ("opentelemetry.sdk.trace" in imported) if endpoint else imported == "[]"
