"""What a person asked of a run, and what is refused of it before anything starts."""

import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import structs

from loadtest.plan import Plan, PlanError, check, host_and_port, is_loopback
from loadtest.rig import SHOPIFY_SECRET
from loadtest.scenario import CatchUp, Inputs, Load, Scenario, TenantKey

DATA: Final = Path(__file__).parent.parent / "tests/data"
LOGS: Final = {
    "wikiticker": "wikiticker.first500.ndjson",
    "online_retail": "online_retail.even500.ndjson",
    "bay_area_bike_share": "bay_area_bike_share.even500.ndjson",
}
CONNECT_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person asked for."""

    scenario: str
    against: str = ""
    """Address of another server; empty: an own Sluice."""
    api_keys: tuple[str, ...] = ()
    token: str = ""
    shopify_secret: str = SHOPIFY_SECRET
    tenant: str = "load"
    owns_host: bool = False
    """Whether the person said that the other host is theirs to load."""
    backend: str = "local"
    parts: tuple[str, ...] = ()
    seconds: float | None = None
    rate: float | None = None
    connections: int | None = None
    events: int | None = None
    rounds: int = 1
    generators: int = 0
    server_cores: frozenset[int] = frozenset()
    load_cores: frozenset[int] = frozenset()


def cores_of(options: Options) -> tuple[set[int], set[int]]:
    """Return the cores of the server and of the generators.

    Unless told otherwise the last core, of eight or more the last quarter, is the generators'.
    """
    every = sorted(os.sched_getaffinity(0))
    for_load = max(1, len(every) // 4)
    load = set(options.load_cores) or set(every[-for_load:])
    server = set(options.server_cores) or (set(every) - load or set(every))
    return server, load


def check_target(options: Options, scenario: Scenario) -> None:
    """Refuse what cannot or may not be loaded.

    Raises:
        PlanError: Says why.
    """
    if not options.against:
        return
    host, _ = host_and_port(options.against)
    if not is_loopback(host) and not options.owns_host:
        message = f"{host} is not this machine: say --i-own-this-host if you may load it"
        raise PlanError(message)
    if scenario.needs_own:
        message = f"{options.scenario} stops parts of Sluice: leave --against away"
        raise PlanError(message)
    if not options.api_keys:
        message = "--against needs --api-key (or SLUICE_API_KEY)"
        raise PlanError(message)
    if scenario.needs_token and not options.token:
        message = f"{options.scenario} reads stats: --against needs --token (or SLUICE_TOKEN)"
        raise PlanError(message)


def check_options(options: Options, scenario: Scenario) -> None:
    """Refuse numbers that mean nothing, and a rate where none is kept to.

    Raises:
        PlanError: Says which.
    """
    given = {
        "--seconds": options.seconds,
        "--rate": options.rate,
        "--connections": options.connections,
        "--events": options.events,
        "--rounds": options.rounds,
        "--generators": options.generators or None,  # 0: one a core
    }
    for name, value in given.items():
        if value is not None and not 0 < value < math.inf:
            message = f"{name} is {value:g}: it has to be more than 0"
            raise PlanError(message)
    if options.rate is not None and not scenario.takes_rate:
        message = f"{options.scenario} looks for the ceiling, whatever --rate says: leave it away"
        raise PlanError(message)


def check_plans(options: Options, scenario: Scenario) -> None:
    """Refuse a run whose plans are past a bound or send nothing, before it starts anything.

    Raises:
        PlanError: Says which bound, or which phase.
    """
    _, load = cores_of(options)
    generators = options.generators or len(load)
    inputs = Inputs(
        url=options.against or "http://127.0.0.1",
        tenants=[TenantKey("load", "")] * max(scenario.tenants, 1),
        token="",
        shopify_secret=options.shopify_secret,
        logs=logs(),
        seconds=options.seconds,
        rate=options.rate,
        connections=options.connections,
        events=options.events,
    )
    for step in scenario.steps(inputs):
        if isinstance(step, Load | CatchUp):
            check(structs.replace(step.plan, may_leave_this_machine=options.owns_host))
        if isinstance(step, CatchUp) or (isinstance(step, Load) and step.is_measured):
            _check_sends(step.plan, generators)


def _check_sends(plan: Plan, generators: int) -> None:
    for phase in plan.phases:
        due = phase.rate * phase.seconds
        if phase.rate and due < generators:
            message = (
                f"only {due:.2g} requests are due in {phase.seconds:g} s of {phase.name!r}, fewer"
                f" than one a generator ({generators}): take a larger --rate or more --seconds"
            )
            raise PlanError(message)


def check_answers(options: Options) -> None:
    """Refuse a server that nobody is at.

    Raises:
        PlanError: Nothing took a connection in time.
    """
    if not options.against:
        return
    try:
        socket.create_connection(host_and_port(options.against), CONNECT_WITHIN_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"nothing answers at {options.against} ({reason}): is Sluice running there?"
        raise PlanError(message) from error


def logs() -> dict[str, list[bytes]]:
    """Return real events by the name of their log, one JSON object each."""
    return {name: (DATA / file).read_bytes().splitlines() for name, file in LOGS.items()}
