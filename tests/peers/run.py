"""``python -m tests.peers.run``: the real clients at full number, and what each does on an error.

It starts a Sluice of its own. First every library sends 10,000 events, of which the first request
is refused with 503 and the answer to the third is lost; they are read back and compared. Then each
library meets one error as its first answer, which gives the table of docs/migrate.md.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from gateway import sources
from gateway.core.source import Refused
from sluice.core.errors import ErrorType, Rejected
from tests.peers.clients import PEERS, Peer, library_ids, send
from tests.support.poll import poll_until
from tests.support.segops import VISIBLE_WITHIN_S, Segops
from tests.support.shared import SharedParts
from tests.support.stack import running_stack
from tests.support.unsteady import Fault, Unsteady

RETRY_AFTER_S: Final = 2
FEW: Final = 40
ERRORS: Final = {
    400: ErrorType.JSON_INVALID,
    413: ErrorType.BODY_TOO_LARGE,
    429: None,
    503: ErrorType.OVERLOADED,
}
SLOW_DOWN: Final = b'{"success":false,"code":429,"message":"Slow down.","error":"Slow down."}'


def fault(peer: Peer, status: int, *, is_passed_on: bool = False) -> Fault:
    """Return what Sluice answers with this status in the library's own dialect."""
    error_type = ERRORS[status]
    if error_type is None:
        return Fault(status, SLOW_DOWN, {"Retry-After": str(RETRY_AFTER_S)})
    source = next(one for one in map(sources.load, sources.NAMES) if one.name == peer.source)
    refused = Refused(rejected=Rejected(error_type, "A test."), retry_after_s=RETRY_AFTER_S)
    answer = source.refused(refused)
    return Fault(answer.status, answer.body, dict(answer.headers), is_passed_on)


async def send_and_compare(api: Segops, peer: Peer, count: int) -> str:
    """Return a line that says what was sent and what was read back."""
    faults = {0: fault(peer, 503), 2: fault(peer, 503, is_passed_on=True)}
    started = time.monotonic()
    async with Unsteady(api.url, faults) as way:
        report = await send(peer, way.url, api.api_key, count)
        requests = len(way.arrivals)
    took_s = time.monotonic() - started
    rows = await api.rows_when(count)
    known = library_ids(peer, report, api.slug, rows)
    found = {known.get(row.event_id) for row in rows}
    is_exact = found == report.ids and not report.failed
    return (
        f"| {peer.name} | {count:,} | {requests} | {took_s:.1f} s | {len(rows):,} |"
        f" {len(found & report.ids):,} | {'yes' if is_exact else 'NO'} |"
    )


async def stored(api: Segops) -> int:
    """Return how many events are stored, once what was sent before is."""
    last = await api.track({"user_id": "the-last", "event_type": "page_viewed"})
    assert last.status == 202, last

    async def seen() -> int:
        rows = await api.rows()
        return len(rows) if any(row.user_id == "the-last" for row in rows) else 0

    return await poll_until(seen, within_s=VISIBLE_WITHIN_S) - 1


async def meet(api: Segops, peer: Peer, status: int) -> str:
    """Return a cell: what the library does after one such answer."""
    async with Unsteady(api.url, {0: fault(peer, status)}) as way:
        report = await send(peer, way.url, api.api_key, FEW)
        arrivals = way.arrivals
    kept = await stored(api)
    said = ", ".join(f"{code}: {number}" for code, number in report.failed.items()) or "nothing"
    when = ", ".join(f"{at - arrivals[0]:.1f}" for at in arrivals)
    return f"{kept} of {FEW} stored; reported {said}; requests at {when} s"


async def main(count: int, *, with_errors: bool) -> int:
    """Print both tables; 1 if a library is not installed."""
    missing = [peer.name for peer in PEERS if not peer.is_installed]
    if missing:
        print(f"not installed: {', '.join(missing)}; `make test` installs them where Node is")
        return 1
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as owned:
        shared = SharedParts(owned.stack)
        print("| library | events | requests | took | stored | with the client's id | exact |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for peer in PEERS:
            async with shared.new_client() as api:
                print(await send_and_compare(api, peer, count), flush=True)
        for peer in PEERS if with_errors else ():
            for status in ERRORS:
                async with shared.new_client() as api:
                    print(f"{peer.name}: {status}: {await meet(api, peer, status)}", flush=True)
            async with shared.new_client() as api, Unsteady(api.url, {}) as way:
                report = await send(peer, way.url, "sk_live_unknown", FEW)
                said = dict(report.failed) or "nothing"
                print(f"{peer.name}: unknown key: reported {said}; {len(way.arrivals)} requests")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--without-errors", action="store_true")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.count, with_errors=not given.without_errors)))
