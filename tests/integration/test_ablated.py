"""A gateway that lacks a design decision is slower, and keeps its promise all the same."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.app import SWITCH_INTERVAL_S
from gateway.publisher import Publisher
from loadtest.ablated import DECISIONS, PYTHON_SWITCH_S, taken_away
from loadtest.ablation import ALL
from sluice.core.envelope import Rows
from sluice.queue.file import WritableFile
from sluice.queue.local import LocalQueue
from sluice.telemetry import HTTP_FAST_PATH
from tests.support.gateway import BATCH, EVENT, running_gateway, stored_rows
from tests.support.raw_http import connect, read_answer

OWN_THRESHOLD = 701


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Restore what a gateway sets for the whole process."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    gc.set_threshold(OWN_THRESHOLD)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


@pytest.mark.parametrize("names", [(), *((name,) for name in DECISIONS), ALL], ids="-".join)
async def test_gateway_keeps_what_it_accepted_when_a_decision_is_taken_away(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    before = HTTP_FAST_PATH.value()
    with taken_away(names):
        async with running_gateway(tmp_path) as served, connect(served.url) as (reader, writer):
            requests = [served.track_bytes()] * 4
            requests.append(
                served.track_bytes(b'{"events":[%b,%b]}' % (EVENT, EVENT), target=BATCH)
            )
            answers = []
            for request in requests:
                writer.write(request)
                answer = await read_answer(reader)
                assert answer is not None
                answers.append(answer)
            is_spared = gc.get_threshold()[0] != OWN_THRESHOLD
            interval = sys.getswitchinterval()
            settings = served.settings
    assert [answer.status for answer in answers] == [202] * 5
    rows = (await stored_rows(settings))["events"]
    assert [orjson.loads(row)["user_id"] for row in rows] == ["u-1"] * 6
    assert len({orjson.loads(row)["event_id"] for row in rows}) == 6
    assert (HTTP_FAST_PATH.value() > before) == ("fast-path" not in names)
    assert ("Server" in answers[0].headers) == ("slim-reply" in names)
    assert is_spared == ("gc" not in names)
    assert interval == pytest.approx(PYTHON_SWITCH_S if "switch" in names else SWITCH_INTERVAL_S)


async def test_each_request_is_a_transaction_when_group_commit_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions: list[int] = []
    begin = WritableFile.transaction

    def counted(file: WritableFile, *, size: int) -> AbstractContextManager[Any]:
        transactions.append(size)
        return begin(file, size=size)

    async def commits() -> int:
        stop = asyncio.Event()
        async with (
            LocalQueue(tmp_path / "queue.sqlite") as queue,
            Publisher(queue, max_pending_bytes=2**20, timeout_s=5.0) as publisher,
            asyncio.TaskGroup() as tasks,
        ):
            transactions.clear()
            for _ in range(5):
                publisher.offer([Rows("events", 1, b"{}\n")], lambda _outcome: None)
            tasks.create_task(publisher.run(stop))
            stop.set()
        return len(transactions)

    monkeypatch.setattr(WritableFile, "transaction", counted)
    assert await commits() == 1
    with taken_away(["group-commit"]):
        assert await commits() == 5
