"""Cases 112 and 113: a full queue, and a crash right after a 202."""

import os
from pathlib import Path

from tests.support.edge import running
from tests.support.poll import poll_until
from tests.support.segops import EVENT, HEALTH, Answer, Segops, assert_queued, assert_refused
from tests.support.shared import SharedParts
from tests.support.telemetry import MIB

NOISE_BYTES = 50_000
"""Bytes of noise in an event, which no compression makes fewer."""


async def fill(api: Segops) -> tuple[int, Answer]:
    """Send until the queue takes no more; return how many it took, and the refusal."""
    for accepted in range(200):
        payload = {"noise": os.urandom(NOISE_BYTES).hex()}
        answer = await api.track({**EVENT, "payload": payload})
        if answer.status != 202:
            return accepted, answer
    message = "the queue never became full"
    raise AssertionError(message)


async def test_case_112_full_queue_answers_503_and_stores_nothing(
    api: Segops, shared: SharedParts, tmp_path: Path
) -> None:
    data_dir = tmp_path / "edge"
    settings = {**shared.settings, "QUEUE_MAX_BYTES": str(MIB)}
    with running("gateway", data_dir=data_dir, settings=settings) as edge:
        async with api.at(edge.url) as there:
            accepted, answer = await fill(there)
            assert accepted > 3
            assert_refused(answer, 503, "spool_full")
            assert 1 <= int(answer.headers["Retry-After"]) <= 30

            async def is_said() -> bool:  # health may be a second old
                return bool((await there.ask("GET", HEALTH)).json["pubsub_topic"] == "error")

            await poll_until(is_said)
            with running("worker", data_dir=data_dir, settings=settings):
                await api.rows_when(accepted)

                async def is_taken() -> bool:
                    return (await there.track(EVENT)).status == 202

                await poll_until(is_taken, within_s=30, what="events are taken again")
                await api.rows_when(accepted + 1)


async def test_case_113_event_is_there_after_kill_9(
    api: Segops, shared: SharedParts, tmp_path: Path
) -> None:
    """What was answered 202 is stored, though the gateway was killed and no worker ran then."""
    data_dir = tmp_path / "edge"
    with running("gateway", data_dir=data_dir, settings=shared.settings) as edge:
        async with api.at(edge.url) as there:
            event_id = assert_queued(await there.track(EVENT))
            edge.kill()
    with running("worker", data_dir=data_dir, settings=shared.settings):
        (row,) = await api.rows_when(1)
    assert row.event_id == event_id
