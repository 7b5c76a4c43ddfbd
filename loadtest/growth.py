"""``python -m loadtest.growth``: does the cost of an event grow? ``--write`` keeps the answer.

Measured is the processor time of one gateway, all threads together, while it accepts events durably
on the local queue: by events in a request, by tenants, by bytes of a payload. Every round goes
through all points once, so that a slow minute of the machine is in all of them. A line is fitted to
the logarithms of each round, and the rounds give the slope's standard error.

The slope says how cost grows: 1 is in proportion, 0 not at all. A fixed cost beside one that grows
with the square would still fit a gentle line, so the last two points have a slope of their own.
"""

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from loadtest.bench import PERFORMANCE
from loadtest.broker_rig import add_tenant, parts_environment, url_of
from loadtest.loglog import Point, loglog
from loadtest.options import logs
from loadtest.plan import Phase, Plan, Request, build_request
from loadtest.processes import LOAD_CORE, SERVER_CORE, cpu_s, generate, pin, running
from loadtest.report import keep, measured_on, say, table
from loadtest.results import accepted_events, trend
from loadtest.rig import add_tenants
from loadtest.scenario import TRACK, Inputs, TenantKey
from loadtest.scenarios.huge_payloads import sized

IMAGES: Final = PERFORMANCE.parent / "images"
SIZES: Final = (1, 2, 5, 10, 50, 100, 500)
TENANTS: Final = (1, 10, 100, 1_000, 10_000)
BYTES: Final = (200, 1_000, 4_000, 16_000, 64_000)
SECONDS: Final = 0.6
"""Of load for one point of one round."""
ROUNDS: Final = 5
CONNECTIONS: Final = 16
ERRORS: Final = 2.0
"""Standard errors that a slope may be above its bound: chance alone does that."""
NOISE: Final = 0.03
"""A slope this small is none: seven percent from one end of the tenants to the other are 0.008."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One thing to measure."""

    x: int
    gateway: int
    """Tenants of the gateway that is asked."""
    requests: list[Request]


@dataclass(frozen=True, slots=True)
class Series:
    """One question: how does the cost grow with this?"""

    key: str
    about: str
    bound: float
    """The slope that it may have: 1 in proportion, 0 not at all."""
    dots: list[Dot]


class Gateways:
    """A gateway for each number of tenants; those that nobody asks cost no time."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.url: dict[int, str] = {}
        self.pid: dict[int, int] = {}
        self.tenants: dict[int, list[TenantKey]] = {}
        for count in TENANTS:
            data_dir = folder / str(count)
            env = parts_environment(data_dir)
            first = TenantKey("load", add_tenant(env, "load"))
            self.tenants[count] = [first, *add_tenants(data_dir / "tenants.toml", count - 1)]
            log = folder / f"{count}.log"
            process = stack.enter_context(running(["sluice.cli", "gateway"], env=env, log=log))
            pin(process.pid, {SERVER_CORE})
            self.url[count], self.pid[count] = url_of(env), process.pid

    def inputs(self, count: int) -> Inputs:
        """Return what requests to one of them are made of."""
        return Inputs(
            url=self.url[count],
            tenants=self.tenants[count],
            token="",
            shopify_secret="",
            logs=logs(),
        )

    def cost_us(self, dot: Dot, seconds: float) -> float:
        """Return the processor time of one request, in microseconds.

        Raises:
            RuntimeError: Not every answer was 2xx.
        """
        pid = self.pid[dot.gateway]
        phase = Phase(name="load", seconds=seconds)
        plan = Plan(
            url=self.url[dot.gateway],
            requests=dot.requests,
            phases=[phase],
            connections=CONNECTIONS,
        )
        before = cpu_s(pid)
        seen = generate(plan, cores={LOAD_CORE})
        used = cpu_s(pid) - before
        if set(seen.statuses) != {"202"}:
            message = f"not every answer was 202: {seen.statuses}"
            raise RuntimeError(message)
        return used * 1e6 / (accepted_events(seen) / dot.requests[0].events)


def taking_turns(inputs: Inputs) -> list[Request]:
    """Return requests of all tenants in turn, all on the same way through the gateway.

    A connection that says the same again is served faster. With many tenants on few connections
    none does, so the header keeps the few tenants from it, too.
    """
    lines = inputs.lines
    headers = {"X-Request-Id": "growth"}
    return [
        Request(
            "track",
            build_request(TRACK, line, headers | {"Authorization": f"ApiKey {tenant.api_key}"}),
        )
        for tenant, line in zip(
            islice(cycle(inputs.tenants), max(len(lines), len(inputs.tenants))),
            cycle(lines),
            strict=False,
        )
    ]


def all_series(gateways: Gateways) -> list[Series]:
    """Return all that is asked."""
    one = gateways.inputs(1)
    return [
        Series(
            "events",
            "a request, by its events",
            1.0,
            [Dot(size, 1, one.batches(size)) for size in SIZES],
        ),
        Series(
            "tenants-file",
            "an event of one tenant, by tenants there are",
            0.0,
            [Dot(count, count, gateways.inputs(count).tracks()) for count in TENANTS],
        ),
        Series(
            "tenants-in-turn",
            "an event, by tenants that send in turn",
            0.0,
            [Dot(count, count, taking_turns(gateways.inputs(count))) for count in TENANTS],
        ),
        Series(
            "bytes",
            "an event, by bytes of its payload",
            1.0,
            [Dot(size, 1, sized(one, size)) for size in BYTES],
        ),
    ]


@dataclass(frozen=True, slots=True)
class Slope:
    """How a cost grows, as a power, with its standard error over the rounds."""

    value: float
    error: float

    def is_within(self, bound: float) -> bool:
        """Whether it is not above a bound by more than chance and noise explain."""
        return self.value - ERRORS * self.error <= bound + NOISE


def slope_of(xs: Sequence[float], rounds: Sequence[Sequence[float]]) -> Slope:
    """Return the slope of a line through the logarithms; each round has a cost for each x."""
    logs = [math.log(x) for x in xs]
    slopes = [trend(logs, [math.log(cost) for cost in costs])[0] for costs in rounds]
    if len(xs) == 2:  # two points are a line already
        slopes = [math.log(costs[1] / costs[0]) / (logs[1] - logs[0]) for costs in rounds]
    error = statistics.stdev(slopes) / math.sqrt(len(slopes)) if len(slopes) > 1 else math.inf
    return Slope(statistics.median(slopes), error)


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured for one series, round by round."""

    series: Series
    rounds: list[list[float]]

    @property
    def xs(self) -> list[float]:
        """What the cost may grow with."""
        return [float(dot.x) for dot in self.series.dots]

    @property
    def whole(self) -> Slope:
        """The slope over all points."""
        return slope_of(self.xs, self.rounds)

    @property
    def end(self) -> Slope:
        """The slope between the last two."""
        return slope_of(self.xs[-2:], [costs[-2:] for costs in self.rounds])

    @property
    def is_good(self) -> bool:
        """Whether it grows no faster than it may."""
        bound = self.series.bound
        return self.whole.is_within(bound) and self.end.is_within(bound)

    def medians(self) -> list[float]:
        """Return the cost at each point."""
        return [statistics.median(costs) for costs in zip(*self.rounds, strict=True)]

    def points(self, per: Sequence[float]) -> list[Point]:
        """Return what is plotted: the cost at each point, divided."""
        return [
            Point(x, statistics.median(costs) / by, min(costs) / by, max(costs) / by)
            for x, costs, by in zip(self.xs, zip(*self.rounds, strict=True), per, strict=True)
        ]


def measure(rounds: int, seconds: float) -> list[Found]:
    """Measure everything, round by round; the first round only warms up."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-growth-")))
        gateways = Gateways(folder, stack)
        found = [Found(series, []) for series in all_series(gateways)]
        for number in range(rounds + 1):
            say(f"round {number} of {rounds}")
            for each in found:
                costs = [gateways.cost_us(dot, seconds) for dot in each.series.dots]
                if number:
                    each.rounds.append(costs)
    return found


def verdict(found: Sequence[Found]) -> str:
    """Return the last word."""
    bad = [each.series.about for each in found if not each.is_good]
    if bad:
        return f"**Grows faster than it should:** {'; '.join(bad)}.\n"
    return "**Nothing grows faster than linearly, and nothing grows with tenants.**\n"


def report(found: Sequence[Found]) -> str:
    """Return the section of the page."""
    lines = []
    for each in found:
        medians = each.medians()
        lines.append(
            [
                each.series.about,
                ", ".join(f"{x:,.0f}: {us:,.0f}" for x, us in zip(each.xs, medians, strict=True)),
                f"{each.whole.value:.2f} ± {each.whole.error:.2f}",
                f"{each.end.value:.2f} ± {each.end.error:.2f}",
                f"{each.series.bound:g}",
            ]
        )
    head = ["processor time of", "µs", "slope", "at the end", "may be"]
    return f"{measured_on()}\n{table(head, lines)}\n{verdict(found)}"


def plots(found: Sequence[Found]) -> dict[str, str]:
    """Return the plots by the names of their files."""
    by_key = {each.series.key: each for each in found}
    events, payloads = by_key["events"], by_key["bytes"]
    flat = [1.0] * len(TENANTS)
    return {
        "growth-events.svg": loglog(
            "Processor time of an event, µs, by events in a request",
            "events in a request",
            {"batch": events.points(events.xs)},
        ),
        "growth-tenants.svg": loglog(
            "Processor time of an event, µs, by tenants",
            "tenants",
            {
                "one of them sends": by_key["tenants-file"].points(flat),
                "all send in turn": by_key["tenants-in-turn"].points(flat),
            },
        ),
        "growth-bytes.svg": loglog(
            "Processor time of a KB of payload, µs, by bytes of the payload",
            "bytes",
            {"track": payloads.points([x / 1_000 for x in payloads.xs])},
        ),
    }


def main() -> int:
    """Measure, print the table, and keep it with its plots if asked to; 1: something grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md")
    options = parser.parse_args()
    found = measure(options.rounds, options.seconds)
    text = report(found)
    print(text)
    if options.write:
        keep(PERFORMANCE, text, mark="growth")
        for name, svg in plots(found).items():
            (IMAGES / name).write_text(svg)
    return 0 if all(each.is_good for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
