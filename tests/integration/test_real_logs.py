"""Real logs through ``sluice send``: exact totals, also when sent again and by another client.

The figures come from where the logs were prepared (``tests/data``); they are not computed here.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import pytest

from tests.support.poll import poll_until
from tests.support.segops import VISIBLE_WITHIN_S, Row, Segops, assert_counted
from tests.support.shared import SharedParts

DATA: Final = Path(__file__).parent.parent / "data"


NAMES: Final = (
    "wikiticker.first500",
    "online_retail.even500",
    "bay_area_bike_share.even500",
)


class Expected(msgspec.Struct):
    """What a log adds up to."""

    events: int
    distinct_user_ids: int
    events_by_type: dict[str, int]
    uncompressed_sha256: str


@dataclass(frozen=True, slots=True)
class Log:
    """A slice of a real log."""

    path: Path
    lines: list[bytes]
    expected: Expected


@pytest.fixture(params=NAMES)
def log(request: pytest.FixtureRequest) -> Log:
    """Each log in turn."""
    path = DATA / f"{request.param}.ndjson"
    expected = msgspec.json.decode(
        (DATA / f"{request.param}.expect.json").read_bytes(), type=Expected
    )
    content = path.read_bytes()
    assert sha256(content).hexdigest() == expected.uncompressed_sha256
    return Log(path, content.splitlines(), expected)


class Line(msgspec.Struct):
    """One line of a log, its payload kept as text."""

    user_id: str
    event_type: str
    occurred_at: str
    payload: msgspec.Raw


@pytest.fixture
async def neighbour(shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of another tenant."""
    async with shared.new_client() as client:
        yield client


async def send(api: Segops, path: Path) -> Any:
    """Run ``sluice send`` on a file and return what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sluice.cli", "send", str(path),
        "--url", api.url, "--api-key", api.api_key, "--json",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed
    return orjson.loads(printed)


async def send_with_the_same_ids(api: Segops, lines: list[bytes]) -> None:
    """Send the log by another client, which names each line as ``sluice send`` says it does."""
    events = []
    for line in lines:
        event_id = f"{sha256(line).hexdigest()[:32]}:1"
        events.append(line[:-1] + f',"event_id":"{event_id}"}}'.encode())
    for start in range(0, len(events), 123):
        part = events[start : start + 123]
        answer = await api.batch(b'{"events":[' + b",".join(part) + b"]}")
        assert_counted(answer, queued=len(part), skipped=0)


def as_stored(line: bytes) -> tuple[str, str, str, str]:
    """Return what a row of this line must hold."""
    event = msgspec.json.decode(line, type=Line)
    moment = datetime.fromisoformat(event.occurred_at).astimezone(UTC)
    return (
        event.user_id,
        event.event_type,
        moment.strftime("%Y-%m-%d %H:%M:%S.%f000"),
        bytes(event.payload).decode(),
    )


def as_read(row: Row) -> tuple[str, str, str, str]:
    """Return the same of a stored row."""
    return (row.user_id, row.event_type, row.occurred_at, row.payload)


async def assert_exact(api: Segops, log: Log, query: str) -> None:
    """Check stats, rows and every row's content, once the warehouse has all."""
    expected = log.expected
    rows = await api.rows_when(expected.events)
    assert Counter(map(as_read, rows)) == Counter(map(as_stored, log.lines))

    async def counted() -> Any:
        stats = await api.stats(query)
        return stats if stats["total_events"] >= expected.events else None

    stats = await poll_until(counted, within_s=VISIBLE_WITHIN_S, what="stats show all events")
    assert stats["total_events"] == expected.events
    assert stats["unique_users"] == expected.distinct_user_ids
    by_type = {one["event_type"]: one["count"] for one in stats["event_types"]}
    assert by_type == expected.events_by_type


async def test_totals_are_exact_when_a_log_is_sent_three_times(
    api: Segops, neighbour: Segops, log: Log
) -> None:
    events = log.expected.events
    said = await send(api, log.path)
    assert (said["queued"], said["skipped"], said["problem"]) == (events, 0, None)
    await assert_exact(api, log, "?window=24h")
    again = await send(api, log.path)
    assert (again["queued"], again["skipped"]) == (events, 0)
    await send_with_the_same_ids(api, log.lines)
    # The sentinel comes after all copies, so once it is counted they have been judged.
    known_user = msgspec.json.decode(log.lines[0], type=Line).user_id
    sentinel = {"user_id": known_user, "event_type": "the_sentinel"}
    assert_counted(await api.batch([sentinel]), queued=1, skipped=0)
    await api.rows_when(events + 1)

    async def counted() -> Any:
        stats = await api.stats("?window=7d")
        return stats if stats["total_events"] > events else None

    stats = await poll_until(counted, within_s=VISIBLE_WITHIN_S, what="stats show the sentinel")
    assert stats["total_events"] == events + 1
    assert stats["unique_users"] == log.expected.distinct_user_ids
    assert await neighbour.rows() == []
    assert (await neighbour.stats())["total_events"] == 0
