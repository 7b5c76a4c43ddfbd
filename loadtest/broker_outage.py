"""What a client feels when the broker is up, slow, hung or refuses: single events, closed loop."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.broker_proxy import MODES, Mode
from loadtest.broker_rig import (
    HEAP_MB,
    Events,
    add_tenant,
    parts_environment,
    running_parts,
    url_of,
)
from loadtest.emulator import running_emulator
from loadtest.processes import LOAD_CORE, SERVER_CORE, command, drive, pin
from loadtest.report import Row, say, table

CLIENTS: Final = (1, 32, 256)
MEASURE_S: Final = 4.0
WARM_UP_S: Final = 3.0
WARM_UP_CLIENTS: Final = 32
LEAST_SHARE: Final = 0.8
MOST_LONE_MS: Final = 10.0

Felt = dict[tuple[str, int], list[dict[str, float]]]
"""By mode and number of clients: what the load generator said, round after round."""


@dataclass(frozen=True, slots=True)
class Valve:
    """The proxy in front of the emulator, in a process of its own."""

    process: subprocess.Popen[str]
    port: int

    def turn(self, mode: Mode) -> None:
        """Make it behave like this; returns when it does."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(mode + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == mode


@contextmanager
def running_valve(host: str) -> Iterator[Valve]:
    """Run the proxy until the block ends."""
    port = host.rpartition(":")[2]
    words = [sys.executable, "-m", "loadtest.broker_proxy", "--target-port", port]
    with subprocess.Popen(  # noqa: S603 - our own module
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Valve(process, int(process.stdout.readline().split()[1]))
        finally:
            process.kill()


def measure_outage(folder: Path, jar: Path, events: Events, rounds: int) -> Felt:
    """Measure each mode with each number of clients; each round with a gateway and a spool anew.

    One core is the gateway's; the load generator shares the other one with proxy and emulator.
    """
    felt: Felt = {}
    for number in range(rounds):
        say(f"outage: round {number + 1} of {rounds}")
        with ExitStack() as stack:
            emulator = stack.enter_context(running_emulator(jar, heap_mb=HEAP_MB))
            valve = stack.enter_context(running_valve(emulator.host))
            for pid in (emulator.pid, valve.process.pid):
                pin(pid, {LOAD_CORE})
            env = parts_environment(folder / f"outage-{number}", emulator=f"127.0.0.1:{valve.port}")
            key = add_tenant(env, "felt")
            log = folder / "outage.log"
            with running_parts(["warehouse"], env, log=log):
                command(["setup"], env)
            stack.enter_context(running_parts(["gateway"], env, log=log, cores={SERVER_CORE}))
            _drive(env, key, events, WARM_UP_CLIENTS, WARM_UP_S)  # for the emulator's JVM
            for mode in MODES:
                valve.turn(mode)
                _drive(env, key, events, WARM_UP_CLIENTS, WARM_UP_S)
                for clients in CLIENTS:
                    seen = _drive(env, key, events, clients, MEASURE_S)
                    felt.setdefault((mode, clients), []).append(seen)
    return felt


def _drive(
    env: dict[str, str], key: str, events: Events, clients: int, seconds: float
) -> dict[str, float]:
    return drive(
        url_of(env), key, events.single, cores={LOAD_CORE}, connections=clients, seconds=seconds
    )


def _median(felt: Felt, mode: str, clients: int, figure: str) -> float:
    return statistics.median(seen[figure] for seen in felt[mode, clients])


def outage_table(felt: Felt) -> str:
    """Return requests a second, p50 and p99 by mode and clients, as a table in Markdown."""
    heads = [f"{clients} client{'s' if clients > 1 else ''}" for clients in CLIENTS]
    lines = [[mode, *(_cell(felt, mode, clients) for clients in CLIENTS)] for mode in MODES]
    return table(["broker", *heads], lines)


def _cell(felt: Felt, mode: str, clients: int) -> str:
    rate, p50, p99 = (
        _median(felt, mode, clients, figure) for figure in ("requests_per_s", "p50_ms", "p99_ms")
    )
    return f"{rate:,.0f}/s, {p50:.1f} / {p99:.1f} ms"


def outage_rows(felt: Felt) -> list[Row]:
    """Return the lines of the table of ratios."""
    lone = _median(felt, "up", 1, "p50_ms")
    rows = [
        Row(
            "a lone request's durable answer, broker up, p50",
            f"{lone:.2f} ms",
            "",
            "",
            f"{MOST_LONE_MS:.0f} ms",
        )
    ]
    for mode in ("hung", "refusing"):
        for clients in CLIENTS:
            there, up = (_median(felt, one, clients, "requests_per_s") for one in (mode, "up"))
            p50, p50_up = (_median(felt, one, clients, "p50_ms") for one in (mode, "up"))
            rows.append(
                Row(
                    f"broker {mode}, {clients} clients",
                    f"{there:,.0f} requests/s, p50 {p50:.2f} ms",
                    f"up {up:,.0f}, p50 {p50_up:.2f} ms",
                    f"{there / up:.2f}",
                    f"{LEAST_SHARE:.2f}, and the p50 of up",
                )
            )
    return rows
