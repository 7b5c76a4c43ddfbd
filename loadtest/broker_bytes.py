"""What is published for 100,000 events, in bytes, messages and requests, and what Google bills."""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from loadtest.broker_rig import (
    HEAP_MB,
    Events,
    add_tenant,
    parts_environment,
    running_parts,
    url_of,
)
from loadtest.emulator import running_emulator
from loadtest.processes import command, drive
from loadtest.publish_meter import BESIDE_BYTES, LEAST_BILLED_BYTES, Count, PublishMeter
from loadtest.pubsub_gate import PubSubGate
from loadtest.report import Row, say, table
from sluice.cost.bill import DESTINATIONS

SINGLE_CONNECTIONS: Final = 64
FAR_S: Final = 0.02
MOST_SHARE: Final = 0.4
USD_PER_TIB: Final = 40.0
TIMES_BILLED: Final = 1 + DESTINATIONS
"""Published once, and delivered once to each destination."""
SHOWN_EVENTS: Final = 100_000
CLIENT_BATCH: Final = 100
"""Messages of one request by the defaults of Google's client library."""
TIB: Final = 1024**4


@dataclass(frozen=True, slots=True)
class Sent:
    """One way of sending, and what it came to."""

    way: str
    count: Count
    events: int

    @property
    def usd(self) -> float:
        """List price of a thousand million such events, before anything that is free."""
        billed = self.count.billed_bytes / self.events * TIMES_BILLED
        return billed * 1e9 / TIB * USD_PER_TIB


def measure_bytes(folder: Path, jar: Path, events: Events) -> list[Sent]:
    """Send the same events in batches and one by one, through one gateway, and count."""
    return asyncio.run(_measure(folder, jar, events))


async def _measure(folder: Path, jar: Path, events: Events) -> list[Sent]:
    async with AsyncExitStack() as stack:
        emulator = stack.enter_context(running_emulator(jar, heap_mb=HEAP_MB))
        meter = PublishMeter()
        gate = PubSubGate(emulator.host, acts={"Publish": meter.publish})
        await stack.enter_async_context(gate)
        env = parts_environment(folder / "bytes", emulator=gate.host)
        log = folder / "bytes.log"
        key = add_tenant(env, "bytes")
        with running_parts(["warehouse"], env, log=log):
            await asyncio.to_thread(command, ["setup"], env)
        # In a thread, start and stop too: the loop serves the meter meanwhile.
        gateway = running_parts(["gateway"], env, log=log)
        await asyncio.to_thread(gateway.__enter__)
        stack.push_async_callback(asyncio.to_thread, gateway.__exit__, None, None, None)
        url = url_of(env)
        words = ["send", str(events.file), "--url", url.removesuffix("/api/ingestion/track")]
        batches = partial(command, [*words, "--api-key", key, "--give-up-after", "30s"], env)
        singles = partial(
            drive, url, key, events.single, cores=set(range(os.cpu_count() or 1)),
            connections=SINGLE_CONNECTIONS, count=len(events.lines), seconds=60,
        )  # fmt: skip
        sent = []
        for way, delay_s, work in (
            ("`sluice send`, batches of 500", 0.0, batches),
            (f"`track`, {SINGLE_CONNECTIONS} clients", 0.0, singles),
            (f"the same, broker {FAR_S * 1e3:.0f} ms away", FAR_S, singles),
        ):
            say(f"bytes: {way}")
            meter.count, meter.delay_s = Count(), delay_s
            await asyncio.to_thread(work)
            sent.append(Sent(way, meter.count, len(events.lines)))
        return sent


def bytes_rows(sent: list[Sent], events: Events) -> list[Row]:
    """Return the lines of the table of ratios."""
    json_bytes = sum(map(len, events.lines)) / len(events.lines)
    rows: list[Row] = []
    for one in sent:
        published = (one.count.data_bytes + one.count.attribute_bytes) / one.events
        rows.append(
            Row(
                f"bytes published for an event, {one.way}",
                f"{published:.0f} bytes",
                f"its JSON {json_bytes:.0f}",
                f"{published / json_bytes:.2f}",
                "stated" if rows else f"{MOST_SHARE:.2f}",
            )
        )
    return rows


def cost_table(sent: list[Sent], events: Events) -> str:
    """Return messages, requests and the bill, as a table in Markdown."""
    size = len(events.lines)
    plain = [
        Sent("one message an event, each in a request of its own", _plain(events, 1), size),
        Sent(
            f"one message an event, {CLIENT_BATCH} in a request", _plain(events, CLIENT_BATCH), size
        ),
    ]
    dearest = plain[0].usd
    lines: list[list[str]] = []
    for one in [*sent, *plain]:
        in_shown = SHOWN_EVENTS / one.events
        lines.append(
            [
                one.way,
                f"{one.count.messages * in_shown:,.0f}",
                f"{one.count.requests * in_shown:,.0f}",
                f"{one.count.billed_bytes / one.events:,.0f}",
                f"{one.usd:.2f}",
                f"{one.usd / dearest:.3f}",
            ]
        )
    head = [f"{SHOWN_EVENTS:,} events as", "messages", "publish requests"]
    return table([*head, "bytes billed for an event", "US$ for 10⁹ events", "ratio"], lines)


def _plain(events: Events, in_a_request: int) -> Count:
    """Return what the same events would be as JSON, each a message without attributes."""
    count = Count(messages=len(events.lines))
    for at in range(0, len(events.lines), in_a_request):
        some = events.lines[at : at + in_a_request]
        size = sum(len(line) + BESIDE_BYTES for line in some)
        count.requests += 1
        count.billed_bytes += max(LEAST_BILLED_BYTES, size)
    return count
