"""What a scenario is made of: plain data that ``loadtest.run`` acts on.

A scenario is one file in ``loadtest/scenarios/`` with a ``SCENARIO``, and its name in
``loadtest/scenarios/__init__.py``. Its ``steps`` say what is sent, in what order; how it is sent,
watched and written down is none of its business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Final

from loadtest.plan import Phase, Plan, Request, Slow, build_request, with_key

TRACK: Final = "/api/ingestion/track"
BATCH: Final = "/api/ingestion/track/batch"
STATS: Final = "/api/ingestion/stats"
ALL_PARTS: Final = ("warehouse", "worker", "gateway")
BATCH_EVENTS: Final = 500
TURNS: Final = 5
"""How often two loads that are compared take turns: the machine's own mood changes in seconds."""


@dataclass(frozen=True, slots=True)
class TenantKey:
    """A tenant that events are sent for."""

    slug: str
    api_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a run was asked for, and what it has."""

    url: str
    tenants: list[TenantKey]
    token: str
    """That reads stats of the first tenant; empty if there is none."""
    shopify_secret: str
    logs: Mapping[str, list[bytes]]
    """Real events by the name of their log, one JSON object each."""
    seconds: float | None = None
    rate: float | None = None
    connections: int | None = None
    events: int | None = None

    def seconds_or(self, default: float) -> float:
        """Return how long it should take."""
        return default if self.seconds is None else self.seconds

    def rate_or(self, default: float) -> float:
        """Return how many requests a second are wanted."""
        return default if self.rate is None else self.rate

    def events_or(self, default: int) -> int:
        """Return how many events are wanted."""
        return default if self.events is None else self.events

    @property
    def api_key(self) -> str:
        """The key of the first tenant."""
        return self.tenants[0].api_key

    @property
    def lines(self) -> list[bytes]:
        """Events of the first log."""
        return self.logs["wikiticker"]

    def tracks(self) -> list[Request]:
        """Return single events of the first log and tenant."""
        return with_key(TRACK, self.lines, self.api_key)

    def batches(self, size: int = BATCH_EVENTS) -> list[Request]:
        """Return one batch of events of the first log and tenant."""
        body = batch_body(islice(cycle(self.lines), size))
        return with_key(BATCH, [body], self.api_key, kind="batch", events=size)

    def reads(self) -> list[Request]:
        """Return a request for the stats of the first tenant."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return [Request("stats", build_request(STATS, b"", headers, method="GET"), 0)]

    def plan(
        self,
        requests: list[Request],
        *phases: Phase,
        connections: int = 64,
        slow: Slow | None = None,
        idle_connections: int = 0,
    ) -> Plan:
        """Return a plan for the server of this run."""
        return Plan(
            url=self.url,
            requests=requests,
            phases=list(phases),
            connections=self.connections or connections,
            is_random=True,
            slow=slow,
            idle_connections=idle_connections,
        )


def batch_body(lines: "islice[bytes] | list[bytes]") -> bytes:
    """Return the body of a batch."""
    return b'{"events":[' + b",".join(lines) + b"]}"


@dataclass(frozen=True, slots=True)
class Load:
    """Send a plan."""

    plan: Plan
    is_measured: bool = True
    """False for a warm-up or a filling: it is in no figure."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a part of Sluice, so that a backlog builds up."""

    part: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Start a part again and send a plan, until nothing is left that waits."""

    part: str
    plan: Plan
    """What arrives meanwhile; it ends with its time, however far the part is."""
    within_s: float = 3_600.0


@dataclass(frozen=True, slots=True)
class Settle:
    """Wait, for a bounded time, until nothing of what was sent is still being worked on."""


Step = Load | Stop | CatchUp | Settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of load."""

    about: str
    """One line for ``sluice-loadtest list``."""
    steps: Callable[[Inputs], list[Step]]
    tenants: int = 1
    parts: tuple[str, ...] = ALL_PARTS
    settings: Mapping[str, str] = field(default_factory=dict)
    """More settings of the Sluice that the run starts for itself."""
    needs_own: bool = False
    """Whether it stops parts of Sluice, so that it cannot run against another one."""
    needs_token: bool = False
    takes_rate: bool = True
    """Whether a rate can be asked for; False where only ceilings are looked for."""


def warm_up(inputs: Inputs, requests: list[Request], rate: float) -> Load:
    """Return a second of load before what is measured.

    Args:
        inputs: Of the run.
        requests: Sent in turn.
        rate: Requests a second of what is measured, which the warm-up keeps to: who loads a server
            of their own at 50 a second does not want it at its ceiling before. 0: what is measured
            looks for the ceiling itself, and so does the warm-up.
    """
    phase = Phase(name="warm-up", seconds=1.0, rate=rate)
    return Load(inputs.plan(requests, phase), is_measured=False)


def ceiling_and_half(inputs: Inputs, requests: list[Request], connections: int = 64) -> list[Step]:
    """Return a closed loop that finds the ceiling, then an open one at half of it."""
    half = inputs.seconds_or(20.0) / 2
    if inputs.rate is not None:
        paced = Phase(name="open", seconds=half * 2, rate=inputs.rate)
        return [
            warm_up(inputs, requests, inputs.rate),
            Load(inputs.plan(requests, paced, connections=connections)),
        ]
    phases = (
        Phase(name="ceiling", seconds=half),
        Phase(name="half", seconds=half, share=0.5),
    )
    return [
        warm_up(inputs, requests, 0),
        Load(inputs.plan(requests, *phases, connections=connections)),
    ]


def beside(inputs: Inputs, *, slow: Slow | None = None, idle_connections: int = 0) -> list[Step]:
    """Return the usual load, alone and beside clients that only hold something, in turns.

    Slow clients come in a phase of its own: that many that connect at once are another question.
    """
    seconds, rate = inputs.seconds_or(30) / (2 * TURNS), inputs.rate_or(500)
    requests = inputs.tracks()
    alone = Phase(name="without", seconds=seconds, rate=rate)
    both = [Phase(name="with", seconds=seconds, rate=rate)]
    if slow is not None:
        both.insert(0, Phase(name="arriving", seconds=slow.within_s, rate=rate))
    turn = [
        Load(inputs.plan(requests, alone)),
        Load(inputs.plan(requests, *both, slow=slow, idle_connections=idle_connections)),
    ]
    return [warm_up(inputs, requests, rate), *(turn * TURNS)]
