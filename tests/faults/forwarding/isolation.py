"""``python -m tests.faults.forwarding.isolation``: who feels it when forwarding is in trouble?

In turns, so that the machine's moods meet both sides:

* How long until an event is visible in ClickHouse, while Amplitude is well and while none of its
  answers comes (``hang``).
* How many events a second of one tenant reach Amplitude, while another tenant's key is taken and
  while it is revoked. Both tenants' events wait in the queue when the worker starts.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
import uvloop

from loadtest.freshness import Freshness, measure_freshness
from loadtest.report import table
from sluice.core.envelope import encode, seal
from sluice.core.event import Candidate, Event, format_ts, stamp
from sluice.core.tokens import mint_read_token
from sluice.queue import open_queue
from sluice.settings import load_settings
from tests.faults.forwarding.plan import SLICES, read_lines
from tests.faults.forwarding.stack import ForwardingStack, end_in_order, forwarding_stack
from tests.faults.traffic import client_session
from tests.support.poll import poll_until

TOKEN_TTL_S: Final = 7_200
KNOWN_WITHIN_S: Final = 20
DRAINED_WITHIN_S: Final = 300
LOOK_EVERY_S: Final = 0.02
USERS: Final = 1_000
AT_ONCE: Final = 1_000
"""Events of one envelope."""
HANG_S: Final = 600
"""Longer than it lasts: what ends it is the end of the fault."""


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Measure both, and print a table."""
    end_in_order()
    async with client_session() as session, forwarding_stack(folder, session) as stack:
        await stack.simulate(any_key=True, eps_threshold=None)
        rows: list[Sequence[str]] = []
        if "hang" not in options.leave_out:
            rows += await _hang(stack, options.rounds, options.seconds)
        if "revoked" not in options.leave_out:
            rows += await _revoked(stack, options.rounds, options.events)
    print(table(["what", "well", "in trouble", "ratio", "goal"], rows))  # noqa: T201


async def _hang(stack: ForwardingStack, rounds: int, seconds: float) -> Sequence[Sequence[str]]:
    well: list[Freshness] = []
    hanging: list[Freshness] = []
    await stack.worker.start()
    await _freshness(stack, 5.0)  # the first statements after a start are slower
    for number in range(rounds):
        well.append(await _freshness(stack, seconds))
        await stack.simulate(fault="hang", seconds=HANG_S)
        hanging.append(await _freshness(stack, seconds))
        waiting = await stack.status()
        await stack.simulate(clear_faults=True)
        say(
            f"round {number + 1}: p99 {well[-1].visible_p99_s:.2f} s,"
            f" hanging {hanging[-1].visible_p99_s:.2f} s with"
            f" {waiting['parked_events'] + waiting['backlog_events'] if waiting else '?'} events"
            " that wait"
        )
        await _drained(stack)
    await stack.worker.stop()
    return [
        _row(f"visible in ClickHouse, p{name}, s", before, during, "at most 1.2")
        for name, before, during in (
            ("50", [one.visible_p50_s for one in well], [one.visible_p50_s for one in hanging]),
            ("99", [one.visible_p99_s for one in well], [one.visible_p99_s for one in hanging]),
        )
    ]


async def _freshness(stack: ForwardingStack, seconds: float) -> Freshness:
    """Measure with a tenant of its own, which forwards."""
    slug = f"t-{uuid.uuid4().hex[:8]}"
    key = stack.add_tenant(slug, f"key-{slug}")
    now = datetime.now(UTC)
    secret = (stack.data_dir / "jwt.secret").read_text().strip()
    token = mint_read_token(slug, secret=secret, now=now, ttl_s=TOKEN_TTL_S)

    async def is_known() -> bool:
        url = f"{stack.gateway_url}/api/ingestion/stats"
        async with stack.session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status == 200

    await poll_until(is_known, within_s=KNOWN_WITHIN_S, what="the gateway knows the tenant")
    return await measure_freshness(
        stack.gateway_url, key, token, stack.warehouse_url, slug, seconds=seconds
    )


async def _revoked(stack: ForwardingStack, rounds: int, events: int) -> Sequence[Sequence[str]]:
    rates: dict[bool, list[float]] = {False: [], True: []}
    stack.add_tenant("steady", "key-steady")
    stack.add_tenant("other", "key-other")
    lines = [line for path in SLICES for line in read_lines(path)]
    taken = 0
    for number in range(2 * rounds):
        is_revoked = bool(number % 2)
        await stack.simulate(api_key="key-other", revoked=is_revoked)
        await _publish(stack, lines, events)
        taken += events
        await stack.worker.start()
        rates[is_revoked].append(await _rate(stack, events, taken))
        await stack.simulate(api_key="key-other", revoked=False)
        await _drained(stack)
        await stack.worker.stop()
        say(f"revoked {is_revoked}: {rates[is_revoked][-1]:,.0f} events/s of the other tenant")
    what = "forwarded of a tenant beside another, events/s"
    return [_row(what, rates[False], rates[True], f"at least {1 / 1.2:.2f}")]


async def _publish(stack: ForwardingStack, lines: Sequence[bytes], count: int) -> None:
    """Put as many events of both tenants into the queue, mixed."""
    received_at = format_ts(datetime.now(UTC))
    given = [orjson.loads(line) for line in lines]

    def event(tenant: str, number: int) -> Event:
        one = given[number % len(given)]
        text = str(uuid.uuid4())
        return stamp(
            Candidate(
                user_id=f"user-{number % USERS}",
                event_type=one["event_type"],
                occurred_at=received_at,
                payload=orjson.dumps(one["payload"]),
            ),
            tenant=tenant,
            source="batch",
            received_at=received_at,
            new_id=f"{text[:14]}7{text[15:]}",
        )

    async with open_queue(load_settings(data_dir=stack.data_dir)) as queue:
        for first in range(0, count, AT_ONCE):
            for tenant in ("steady", "other"):
                events = [event(tenant, first + number) for number in range(AT_ONCE)]
                envelopes = [
                    seal(rows, envelope_id=str(uuid.uuid4())) for rows in encode("events", events)
                ]
                await queue.publish("events", envelopes)


async def _rate(stack: ForwardingStack, events: int, until: int) -> float:
    """Return events a second of the steady tenant, from the first that Amplitude takes on."""

    async def stored() -> int:
        async with stack.session.get(f"{stack.simulator_url}/_sim") as answer:
            projects = (await answer.json())["projects"]
        return int(projects.get("key-steady", {}).get("stored", 0))

    async def begins() -> int:
        count = await stored()
        return count if count > until - events else 0

    first = await poll_until(begins, within_s=DRAINED_WITHIN_S, every_s=LOOK_EVERY_S)
    started = time.monotonic()

    async def is_done() -> bool:
        return await stored() >= until

    await poll_until(is_done, within_s=DRAINED_WITHIN_S, every_s=LOOK_EVERY_S)
    return (until - first) / (time.monotonic() - started)


async def _drained(stack: ForwardingStack) -> None:
    async def is_drained() -> bool:
        status = await stack.status()
        return status is not None and not status["backlog_events"] and not status["parked_events"]

    await poll_until(is_drained, within_s=DRAINED_WITHIN_S, every_s=0.25, what="all is forwarded")


def _row(what: str, well: Sequence[float], trouble: Sequence[float], goal: str) -> Sequence[str]:
    first, second = statistics.median(well), statistics.median(trouble)
    return [what, f"{first:,.4g}", f"{second:,.4g}", f"{second / first:.2f}", goal]


def say(text: str) -> None:
    """Print how far it is."""
    print(text, flush=True)  # noqa: T201 - the report of a command


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="of each hang")
    parser.add_argument("--events", type=int, default=30_000, help="of each tenant and round")
    parser.add_argument("--leave-out", action="append", default=[], choices=["hang", "revoked"])
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-isolation-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(measure(options, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
