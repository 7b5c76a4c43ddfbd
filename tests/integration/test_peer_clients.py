"""Unmodified client libraries of Segment and Amplitude, sent here by their address alone."""

import os

import orjson
import pytest

from tests.peers.clients import PEERS, Peer, library_ids, send
from tests.support.segops import Row, Segops
from tests.support.unsteady import Fault, Unsteady

COUNT = 500
BUSY = Fault(503, b'{"code":503,"message":"busy","error":"busy"}', {"Retry-After": "1"})
ANSWER_LOST = Fault(
    503, b'{"code":503,"message":"lost","error":"lost"}', {"Retry-After": "1"}, is_passed_on=True
)


def check_row(row: Row, source: str) -> None:
    payload = orjson.loads(row.payload)
    assert row.event_type == "Order Completed"
    assert row.source == source
    assert row.user_id == f"user-{payload['n'] % 7}"
    assert (payload["total"], payload["é"]) == (89.95, "😀")
    assert b"89.95" in row.payload.encode()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
async def test_library_loses_and_doubles_nothing_when_answers_are_503_or_lost(
    api: Segops, peer: Peer
) -> None:
    """The first request is refused; of the third only the answer is, so that it comes twice."""
    if not peer.is_installed and os.environ.get("CI") != "true":
        pytest.skip(f"{peer.name} is not installed; `make test` does that where Node is")
    async with Unsteady(api.url, {0: BUSY, 2: ANSWER_LOST}) as way:
        report = await send(peer, way.url, api.api_key, COUNT)
    assert report.failed == {}
    assert len(report.ids) == COUNT
    rows = await api.rows_when(COUNT)
    known = library_ids(peer, report, api.slug, rows)
    assert {known.get(row.event_id) for row in rows} == report.ids
    assert {orjson.loads(row.payload)["n"] for row in rows} == set(range(COUNT))
    for row in rows:
        check_row(row, peer.source)
