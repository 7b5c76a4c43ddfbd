"""What Prometheus reads of a running Sluice: valid, complete, and equal to what Sluice answers."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sluice.meters import REGISTRY
from sluice.telemetry import processes_of
from tests.support.poll import poll_until
from tests.support.prometheus import complaints, running_prometheus
from tests.support.segops import EVENT, VISIBLE_WITHIN_S, Segops, assert_counted
from tests.support.shared import SharedParts
from tests.support.stack import Stack, running_stack

DATA: Final = Path(__file__).parent.parent / "data" / "wikiticker.first500.ndjson"
TENANT: Final = "demo"
EVENTS: Final = 500
SKIPPED: Final = 3
RECEIPTS: Final = 10
SEEN_WITHIN_S: Final = 20
REQUESTS: Final = "sluice_http_request_duration_seconds_count"
NEEDS_MORE: Final = (
    "sluice_spool_",  # Pub/Sub as the queue
    "sluice_runs_",  # a run
    "sluice_amplitude_held_requests",  # a project that Amplitude refuses or throttles
    "sluice_trace_",  # a collector
    "sluice_events_normalised",  # a payload that needs repair
    "sluice_events_sessions_opened",  # a public key
    "sluice_destination_erased_events",  # an erasure
)
"""Metrics of which ordinary traffic leaves no sample."""


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[tuple[Stack, Segops]]:
    """A Sluice of the test's own, its forwarding on, and the client of its only tenant."""
    with running_stack(tmp_path / "sluice", {}, "--simulate-amplitude") as owned:
        stack = owned.stack
        key = re.search(r"^  (sk_\S+)$", stack.output, re.MULTILINE)
        assert key is not None
        client = Segops(
            stack.url,
            SharedParts(stack).warehouse_url,
            slug=TENANT,
            api_key=key[1],
            read_token=stack.read_token(TENANT),
        )
        async with client as api:
            yield stack, api


async def send_twice(api: Segops) -> None:
    """Send each event of a real log twice under the same name, and a few that are refused."""
    lines = [orjson.loads(line) for line in DATA.read_bytes().splitlines()]
    assert len(lines) == EVENTS
    for number, line in enumerate(lines):
        line["event_id"] = f"edit-{number}"
    for _ in range(2):
        for start in range(0, EVENTS, 100):
            answer = await api.batch(lines[start : start + 100])
            assert_counted(answer, queued=100, skipped=0)
    nameless = {"event_type": "page_viewed"}
    assert_counted(await api.batch([EVENT, *[nameless] * SKIPPED]), queued=1, skipped=SKIPPED)
    assert (await api.ask("GET", "/nothing/here")).status == 404


async def test_prometheus_has_the_figures_that_stats_errors_and_receipts_have(
    busy: tuple[Stack, Segops], tmp_path: Path
) -> None:
    stack, api = busy
    targets = {
        "gateway": f"127.0.0.1:{stack.port}",
        "worker": f"127.0.0.1:{stack.worker_port}",
    }
    async with running_prometheus(tmp_path / "prometheus", targets) as prometheus:
        await send_twice(api)

        async def answers() -> tuple[int, int] | None:
            stats, errors = await api.stats(), await api.errors()
            refused = sum(one["occurrences"] for one in errors["results"])
            is_whole = stats["total_events"] > EVENTS and refused >= SKIPPED
            return (stats["total_events"], refused) if is_whole else None

        total, refused = await poll_until(
            answers, within_s=VISIBLE_WITHIN_S, what="stats and errors show all"
        )
        expected = {
            'sum(up{job=~"gateway|worker"})': 2,
            f'sum(sluice_events_accepted_total{{tenant="{TENANT}"}})': 2 * EVENTS + 1,
            'sum(sluice_warehouse_inserted_rows_total{kind="events"})': total,
            "sum(sluice_warehouse_duplicates_total)": EVENTS,
            'sum(sluice_events_rejected_total{error_type="user_id_missing"})': refused,
            'sum(sluice_destination_outcomes_total{outcome="delivered"})': 2 * EVENTS + 1,
            "sum(sluice_queue_backlog_events{job='worker'})": 0,
            f'sum({REQUESTS}{{route="track_batch",status="202"}})': 11,
            f'sum({REQUESTS}{{route="unmatched"}})': 1,
            "sum(sluice_destination_failures_total)": 0,
        }
        found: dict[str, float | None] = {}

        async def is_equal() -> bool:
            found.update({query: await prometheus.ask(query) for query in expected})
            return found == expected

        try:
            await poll_until(is_equal, within_s=SEEN_WITHIN_S, every_s=0.5)
        except TimeoutError:
            assert found == expected
        receipts = [
            (await api.get(f"/api/ingestion/events/edit-{number}")).json
            for number in range(0, EVENTS, EVENTS // RECEIPTS)
        ]
        assert [(one["state"], one["duplicates"]) for one in receipts] == [
            ("delivered", 1)
        ] * RECEIPTS
    await check_texts(stack)


async def check_texts(stack: Stack) -> None:
    """Both processes list every metric, well-formed, and each has samples of its own."""
    async with aiohttp.ClientSession() as session:
        for process, url in (("gateway", stack.url), ("worker", stack.worker_url)):
            async with session.get(f"{url}/metrics") as answer:
                assert answer.content_type == "text/plain"
                text = await answer.text()
            assert complaints(text) == []
            families = {one.name: one.samples for one in text_string_to_metric_families(text)}
            declared = {one.name for one in REGISTRY.collect()}
            assert declared <= families.keys(), process
            ours = {name for name in declared if name.startswith("sluice_")}
            empty = {
                name
                for name in ours
                if process in processes_of(name)
                and not name.startswith(NEEDS_MORE)
                and not families[name]
            }
            assert empty == set(), process
