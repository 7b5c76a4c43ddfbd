"""``make bench``: the ratios of docs/performance.md, measured in one run, median of three.

Seconds of different machines cannot be compared, so each figure stands beside a simpler thing that
was measured in the same run, interleaved with it. ``--write`` puts the table into
docs/performance.md.
"""

import argparse
import asyncio
import gzip
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson

from loadtest import shopify
from loadtest.freshness import RATE_PER_S, measure_freshness
from loadtest.peers.direct_insert import rows_per_s
from loadtest.peers.orjson_only import events_per_s
from loadtest.plan import Request, build_request
from loadtest.processes import (
    LOAD_CORE,
    SERVER_CORE,
    children,
    command,
    cpu_s,
    drive,
    free_port,
    peak_memory_mb,
    pin,
    requests_of,
    running,
    send,
)
from loadtest.report import Row, keep, measured_on, ratios

SAMPLE = Path(__file__).parent.parent / "tests/data/wikiticker.first500.ndjson"
PERFORMANCE = Path(__file__).parent.parent / "docs/performance.md"
PIPELINE_EVENTS = 500_000
BATCH_CONNECTIONS = 32
GOAL_TRACK = 0.7
"""Of the null server's requests a second."""
LOOK_S = (0.05, 0.5)
"""Least and most time between two looks at how many rows are there."""
STORED = b"SELECT count() FROM events WHERE tenant = {tenant:String}"
VISIBLE = b"SELECT count() FROM events FINAL WHERE tenant = {tenant:String}"


def median(measure: Callable[[], float], rounds: int) -> float:
    """Return the median of some rounds."""
    return statistics.median(measure() for _ in range(rounds))


@dataclass(frozen=True, slots=True)
class Bodies:
    """Request bodies made of real events, one a line in a file."""

    single: Path
    batch: Path
    batch_text: list[bytes]


def make_bodies(folder: Path) -> Bodies:
    """Write the request bodies of the benchmark into a folder."""
    lines = SAMPLE.read_bytes().splitlines()
    single, batch = folder / "single.ndjson", folder / "batch.ndjson"
    single.write_bytes(b"\n".join(lines) + b"\n")
    bodies = [b'{"events":[' + b",".join(lines) + b"]}"]
    batch.write_bytes(b"\n".join(bodies) + b"\n")
    return Bodies(single, batch, bodies)


def edge(folder: Path, bodies: Bodies, rounds: int) -> list[Row]:
    """Measure one gateway process alone: worker and warehouse do not run."""
    null_port, port = free_port(), free_port()
    env = {
        "SLUICE_DATA_DIR": str(folder / "edge"),
        "SLUICE_PORT": str(port),
        "SLUICE_QUEUE_MAX_BYTES": str(8 * 1024**3),
    }
    key = orjson.loads(command(["tenant", "add", "bench", "--json"], env))["api_key"]
    null_url = f"http://127.0.0.1:{null_port}/api/ingestion/track"
    url = f"http://127.0.0.1:{port}/api/ingestion/track"
    server, load = {SERVER_CORE}, {LOAD_CORE}
    words = ["loadtest.peers.null_server", "--port", str(null_port)]
    with (
        running(words, ready_port=null_port, cores=server) as null_server,
        running(["sluice.cli", "gateway"], env=env, cores=server) as gateway,
    ):
        nulls: list[dict[str, float]] = []
        tracks: list[dict[str, float]] = []
        halves: list[dict[str, float]] = []
        null_halves: list[dict[str, float]] = []
        asked_halves: list[dict[str, float]] = []
        null_asked: list[dict[str, float]] = []
        singles = requests_of(url, key, bodies.single)
        for _ in range(rounds):
            for target, process, seen in ((null_url, null_server, nulls), (url, gateway, tracks)):
                before = cpu_s(process.pid)
                figures = send(target, singles, cores=load, seconds=5)
                used = cpu_s(process.pid) - before
                seen.append(figures | {"cpu_us": used / figures["requests"] * 1e6})
            half = tracks[-1]["requests_per_s"] / 2
            asked = GOAL_TRACK * nulls[-1]["requests_per_s"] / 2
            for target, rate, seen in (
                (null_url, asked, null_asked),
                (url, asked, asked_halves),
                (null_url, half, null_halves),
                (url, half, halves),
            ):
                seen.append(send(target, singles, cores=load, seconds=5, rate=rate))
        lone = median(
            lambda: send(url, singles, cores=load, connections=1, count=3000)["p50_ms"], rounds
        )
        # Compression and commits run in threads beside the parser, so here the process has the
        # whole machine, as it has when a person starts it.
        for process in (gateway, null_server):
            pin(process.pid, set(range(os.cpu_count() or 1)))
        plain, gzipped = _batch_requests(url + "/batch", key, bodies)
        parse_url = f"http://127.0.0.1:{null_port}/parse"
        batches: list[dict[str, float]] = []
        zipped: list[dict[str, float]] = []
        parsed: list[dict[str, float]] = []
        for _ in range(rounds):
            for target, process, requests, seen in (
                (parse_url, null_server, requests_of(parse_url, key, bodies.batch), parsed),
                (url, gateway, plain, batches),
                (url, gateway, gzipped, zipped),
            ):
                before = cpu_s(process.pid)
                figures = send(
                    target, requests, cores=load, connections=BATCH_CONNECTIONS, seconds=5
                )
                used = cpu_s(process.pid) - before
                seen.append(figures | {"cpu_us": used / figures["requests"] / 500 * 1e6})
        memory = peak_memory_mb(gateway.pid)
    loads = median(lambda: events_per_s(bodies.batch_text[0], 500), rounds)
    track, null = _medians(tracks), _medians(nulls)
    batch, gzip_batch = _medians(batches), _medians(zipped)
    half_load, asked_load = _medians(halves), _medians(asked_halves)
    events, gzip_events = batch["requests_per_s"] * 500, gzip_batch["requests_per_s"] * 500
    parse = _medians(parsed)
    return [
        Row(
            "`track`, 64 connections, every answer after its fsync",
            f"{track['requests_per_s']:,.0f} requests/s (p99 {track['p99_ms']:.1f} ms)",
            f"null server {null['requests_per_s']:,.0f}",
            f"{track['requests_per_s'] / null['requests_per_s']:.2f}",
            f"{GOAL_TRACK:.2f}",
        ),
        Row(
            "processor time of that, a request",
            f"{track['cpu_us']:.0f} µs",
            f"null server {null['cpu_us']:.0f} µs",
            f"{null['cpu_us'] / track['cpu_us']:.2f}",
            "",
        ),
        Row(
            f"`track` at half of the load that is asked for ({GOAL_TRACK} of the null server), p99",
            f"{asked_load['p99_ms']:.1f} ms (p50 {asked_load['p50_ms']:.1f} ms)",
            f"null server {_medians(null_asked)['p99_ms']:.1f} ms",
            "",
            "5 ms",
        ),
        Row(
            "`track` at half of the load that is reached, p99",
            f"{half_load['p99_ms']:.1f} ms (p50 {half_load['p50_ms']:.1f} ms)",
            f"null server {_medians(null_halves)['p99_ms']:.1f} ms",
            "",
            "5 ms",
        ),
        Row("a lone request's durable answer, p50", f"{lone:.2f} ms", "", "", "2 ms"),
        Row(
            f"batch of 500, {BATCH_CONNECTIONS} connections",
            f"{events:,.0f} events/s",
            f"`orjson.loads` alone {loads:,.0f}",
            f"{events / loads:.2f}",
            "0.60 and 400,000 events/s a core",
        ),
        Row(
            "the same batch beside a server that parses it and keeps nothing",
            f"{events:,.0f} events/s",
            f"aiohttp with `orjson.loads` {parse['requests_per_s'] * 500:,.0f}",
            f"{events / 500 / parse['requests_per_s']:.2f}",
            "",
        ),
        Row(
            "processor time of that, an event",
            f"{batch['cpu_us']:.2f} µs",
            f"aiohttp with `orjson.loads` {parse['cpu_us']:.2f} µs",
            f"{parse['cpu_us'] / batch['cpu_us']:.2f}",
            "2.50 µs",
        ),
        Row(
            "the same batch as gzip",
            f"{gzip_events:,.0f} events/s",
            f"plain {events:,.0f}",
            f"{gzip_events / events:.2f}",
            "0.80",
        ),
        Row("gateway alone, peak memory", f"{memory:.0f} MB", "", "", "120 MB"),
    ]


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def _batch_requests(url: str, key: str, bodies: Bodies) -> tuple[list[Request], list[Request]]:
    """Return the requests of a batch, plain and as gzip (level 6, what most clients use)."""
    plain = requests_of(url, key, bodies.batch)
    headers = {"Authorization": f"ApiKey {key}", "Content-Encoding": "gzip"}
    path = urlsplit(url).path
    zipped = [
        Request("post", build_request(path, gzip.compress(body, 6), headers))
        for body in bodies.batch_text
    ]
    return plain, zipped


def pipeline(folder: Path, bodies: Bodies, rounds: int) -> list[Row]:
    """Measure the whole road: sent until visible, beside the direct insert of the same rows."""
    port = free_port()
    data_dir = folder / "pipeline"
    env = {
        "SLUICE_DATA_DIR": str(data_dir),
        "SLUICE_WAREHOUSE_PORT": str(free_port()),
        "SLUICE_WORKER_PORT": str(free_port()),
    }
    words = ["sluice.cli", "run", "--port", str(port)]
    with running(words, env=env, log=folder / "run.log") as process:
        pipelines, directs = [], []
        for number in range(rounds):
            tenant = f"bench-{number}"
            key = orjson.loads(command(["tenant", "add", tenant, "--json"], env))["api_key"]
            track = f"http://127.0.0.1:{port}/api/ingestion/track"
            pipelines.append(
                asyncio.run(sent_until_visible(track, key, data_dir, tenant, bodies.batch))
            )
            directs.append(
                asyncio.run(rows_per_s(warehouse_url(data_dir), tenant, PIPELINE_EVENTS))
            )
        memory = {name: peak_memory_mb(pid) for name, pid in children(process.pid).items()}
        key = orjson.loads(command(["tenant", "add", "fresh", "--json"], env))["api_key"]
        token = command(["token", "fresh"], env).decode().strip()
        fresh = asyncio.run(
            measure_freshness(
                f"http://127.0.0.1:{port}", key, token, warehouse_url(data_dir), "fresh"
            )
        )
    sent, direct = statistics.median(pipelines), statistics.median(directs)
    return [
        Row(
            "pipeline: sent until visible in ClickHouse",
            f"{sent:,.0f} events/s",
            f"direct insert {direct:,.0f}",
            f"{sent / direct:.2f}",
            "0.60",
        ),
        Row(
            f"freshness at {RATE_PER_S:,} events/s: 202 to visible in ClickHouse, p99",
            f"{fresh.visible_p99_s:.2f} s (p50 {fresh.visible_p50_s:.2f} s)",
            "",
            "",
            "1 s",
        ),
        Row(
            f"freshness at {RATE_PER_S:,} events/s: 202 to visible in stats, worst",
            f"{fresh.stats_max_s:.2f} s (p50 {fresh.stats_p50_s:.2f} s)",
            "",
            "",
            "3 s",
        ),
        Row(
            "gateway under that load, peak memory", f"{memory['gateway']:.0f} MB", "", "", "120 MB"
        ),
        Row("worker under that load, peak memory", f"{memory['worker']:.0f} MB", "", "", "200 MB"),
        Row(
            "warehouse under that load, peak memory",
            f"{memory['warehouse']:.0f} MB",
            "",
            "",
            "stated",
        ),
    ]


def warehouse_url(data_dir: Path) -> str:
    """Return the address of the embedded warehouse, with user and password."""
    return (data_dir / "warehouse.url").read_text().strip()


async def sent_until_visible(
    url: str, key: str, data_dir: Path, tenant: str, batches: Path, events: int = PIPELINE_EVENTS
) -> float:
    """Send events in batches of 500; return how many a second went through to ClickHouse."""
    start = time.perf_counter()
    sending = asyncio.to_thread(
        drive, url + "/batch", key, batches, cores=set(range(os.cpu_count() or 1)),
        connections=8, count=events // 500, seconds=120,
    )  # fmt: skip
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sending)
        seen = 0
        async with asyncio.timeout(180):
            while seen < events:
                await asyncio.sleep(look_again_s(seen, events, time.perf_counter() - start))
                # FINAL merges all rows for each look: twenty of them a second took a third of the
                # warehouse's time. So it is asked for only once there may be enough.
                seen = await _count(session, warehouse_url(data_dir), tenant, STORED)
                if seen >= events:
                    seen = await _count(session, warehouse_url(data_dir), tenant, VISIBLE)
        took = time.perf_counter() - start
        await task
    return events / took


def look_again_s(seen: int, events: int, took_s: float) -> float:
    """Return when to count again: each look costs the warehouse what an insert of 500 rows does.

    Where all may be there soon it is every 0.05 s, so that the figure is hardly late.
    """
    left_s = took_s * (events - seen) / seen if seen else LOOK_S[1]
    return min(LOOK_S[1], max(LOOK_S[0], left_s / 2))


async def _count(session: aiohttp.ClientSession, url: str, tenant: str, query: bytes) -> int:
    parts = urlsplit(url)
    async with session.post(
        f"http://{parts.hostname}:{parts.port}/",
        params={"param_tenant": tenant, "database": parts.path.strip("/")},
        data=query,
        headers={
            "Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")
        },
    ) as answer:
        answer.raise_for_status()
        return int(await answer.text())


def main() -> int:
    """Measure, print the table, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["edge", "pipeline"])
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        folder = Path(name)
        bodies = make_bodies(folder)
        rows: list[Row] = []
        if options.only != "pipeline":
            rows += edge(folder, bodies, options.rounds)
            rows += shopify.measure(folder, options.rounds)
        if options.only != "edge":
            rows += pipeline(folder, bodies, options.rounds)
    text = f"{measured_on()}\n{ratios(rows)}"
    print(text)
    if options.write:
        keep(PERFORMANCE, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
