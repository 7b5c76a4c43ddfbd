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


@dataclass(frozen=True, slots=True)
class Log:
    """A slice of a real log and what it must add up to."""

    name: str
    users: int
    types: dict[str, int]
    digest: str
    """The first digits of the file's SHA-256."""

    @property
    def path(self) -> Path:
        """Where it is."""
        return DATA / f"{self.name}.ndjson"


LOGS: Final = (
    Log(
        "wikiticker.even500",
        304,
        {
            "article_edited": 384,
            "category_edited": 3,
            "file_edited": 1,
            "other_page_edited": 37,
            "page_created": 31,
            "project_page_edited": 13,
            "talk_edited": 6,
            "template_edited": 1,
            "user_page_edited": 14,
            "user_talk_edited": 10,
        },
        "39a978b3805f8331",
    ),
    Log(
        "online_retail.even500",
        422,
        {"order_cancelled": 96, "order_placed": 404},
        "923b780956692595",
    ),
    Log(
        "bay_area_bike_share.even500",
        300,
        {"trip_ended": 250, "trip_started": 250},
        "66dd4cdd612cf986",
    ),
)


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


async def assert_exact(api: Segops, log: Log, lines: list[bytes]) -> None:
    """Check stats, rows and every row's content, once the warehouse has all."""
    rows = await api.rows_when(len(lines))
    assert Counter(map(as_read, rows)) == Counter(map(as_stored, lines))

    async def counted() -> Any:
        stats = await api.stats("?window=7d")
        return stats if stats["total_events"] >= len(lines) else None

    stats = await poll_until(counted, within_s=VISIBLE_WITHIN_S, what="stats show all events")
    assert stats["total_events"] == len(lines)
    assert stats["unique_users"] == log.users
    assert {one["event_type"]: one["count"] for one in stats["event_types"]} == log.types


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
async def test_totals_are_exact_when_a_log_is_sent_three_times(
    api: Segops, neighbour: Segops, log: Log
) -> None:
    content = log.path.read_bytes()
    assert sha256(content).hexdigest().startswith(log.digest)
    lines = content.splitlines()
    said = await send(api, log.path)
    assert (said["queued"], said["skipped"], said["problem"]) == (len(lines), 0, None)
    await assert_exact(api, log, lines)
    again = await send(api, log.path)
    assert (again["queued"], again["skipped"]) == (len(lines), 0)
    await send_with_the_same_ids(api, lines)
    # The sentinel comes after all copies, so once it is counted they have been judged.
    sentinel = {"user_id": lines_user(lines), "event_type": "the_sentinel"}
    assert_counted(await api.batch([sentinel]), queued=1, skipped=0)
    await api.rows_when(len(lines) + 1)

    async def counted() -> Any:
        stats = await api.stats()
        return stats if stats["total_events"] > len(lines) else None

    stats = await poll_until(counted, within_s=VISIBLE_WITHIN_S, what="stats show the sentinel")
    assert (stats["total_events"], stats["unique_users"]) == (len(lines) + 1, log.users)
    assert await neighbour.rows() == []
    assert (await neighbour.stats())["total_events"] == 0


def lines_user(lines: list[bytes]) -> str:
    """Return a user that the log knows already."""
    return msgspec.json.decode(lines[0], type=Line).user_id
