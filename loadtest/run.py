"""Runs a scenario: starts what it needs, sends, watches, and puts the result together."""

import os
import platform
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from msgspec import structs

from loadtest.options import (
    Options,
    check_answers,
    check_options,
    check_plans,
    check_target,
    cores_of,
    logs,
)
from loadtest.plan import Plan, PlanError, share
from loadtest.processes import Generator, generate
from loadtest.report import commit, processor, say
from loadtest.results import (
    Machine,
    Result,
    Round,
    Target,
    accepted_events,
    add_counts,
    load_figures,
    process_figures,
    shifted,
)
from loadtest.rig import SHOPIFY_SECRET, Own, Watch
from loadtest.scenario import CatchUp, Inputs, Load, Scenario, Settle, Step, Stop, TenantKey
from loadtest.seen import Seen, merge

LIBRARIES: Final = ("aiohttp", "uvloop", "msgspec", "chdb", "clickhouse-connect", "hdrhistogram")
LOOK_EVERY_S: Final = 0.2
FRESH_S: Final = 2.0
"""A backlog of so many seconds of arrivals is none: what is on its way is always a bit behind."""
STORED_WITHIN_S: Final = 120.0
"""How long after a catching up the last that was accepted may take."""
SHRUNK_WITHIN_S: Final = 25.0
"""How long an empty queue may take until its file shrinks; a small one stays as it is."""


def run(options: Options, scenario: Scenario) -> Result:
    """Run a scenario as often as asked for.

    Raises:
        PlanError: It cannot run like this.
    """
    check_target(options, scenario)
    check_options(options, scenario)
    check_plans(options, scenario)
    check_answers(options)
    server, load = cores_of(options)
    rounds = []
    started_at = datetime.now(UTC)
    for number in range(options.rounds):
        say(f"{options.scenario}: round {number + 1} of {options.rounds}")
        rounds.append(_Round(options, scenario, server, load).run())
    own = not options.against
    target = Target(
        url="" if own else options.against,
        is_own=own,
        backend=options.backend if own else "",
        parts=list(options.parts or scenario.parts) if own else [],
        server_cores=sorted(server) if own else [],
        load_cores=sorted(load),
        generators=options.generators or len(load),
    )
    return Result(
        scenario=options.scenario,
        started_at=started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=commit(),
        versions={"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        machine=machine(),
        target=target,
        options={
            "seconds": options.seconds,
            "rate": options.rate,
            "connections": options.connections,
            "events": options.events,
        },
        rounds=rounds,
    )


class _Round:
    """One time through the steps."""

    def __init__(
        self, options: Options, scenario: Scenario, server: set[int], load: set[int]
    ) -> None:
        self._options = options
        self._scenario = scenario
        self._server = server
        self._load = load
        self._generators = options.generators or len(load)
        self._own: Own | None = None
        self._watch = Watch({})
        self._round = Round({}, [], [], {}, {}, [], [])
        self._repeated: dict[str, list[float]] = {}
        self._accepted = 0
        self._elapsed = 0

    def run(self) -> Round:
        """Go through the steps."""
        with ExitStack() as stack:
            inputs = self._inputs(stack)
            watch = self._watch = Watch(self._own.pids if self._own else {})
            steps = self._scenario.steps(inputs)
            while steps and isinstance(steps[0], Load) and not steps[0].is_measured:
                self._take(steps.pop(0))
            if self._own:
                self._own.settle()
            self._accepted = 0
            with watch.going_on():
                for step in steps:
                    self._take(step)
                if self._own:
                    self._own.settle()
            sluice = self._own.sluice_pids if self._own else {}
            self._round.samples = watch.samples
            self._round.figures |= process_figures(watch.samples, self._accepted, sluice=sluice)
        return self._round

    def _inputs(self, stack: ExitStack) -> Inputs:
        options = self._options
        if options.against:
            url = options.against
            tenants = [TenantKey(options.tenant, key) for key in options.api_keys]
            token, secret = options.token, options.shopify_secret
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-load-")))
            scenario = self._scenario
            if options.parts:
                scenario = replace(scenario, parts=options.parts)
            self._own = stack.enter_context(
                Own(folder, scenario, cores=self._server, backend=options.backend)
            )
            url, tenants, token = self._own.url, self._own.tenants, self._own.token
            secret = SHOPIFY_SECRET
        return Inputs(
            url=url,
            tenants=tenants,
            token=token,
            shopify_secret=secret,
            logs=logs(),
            seconds=options.seconds,
            rate=options.rate,
            connections=options.connections,
            events=options.events,
        )

    def _take(self, step: Step) -> None:
        match step:
            case Load(plan, is_measured):
                plan = self._allowed(plan)
                seen = generate(plan, cores=self._load, generators=self._generators)
                self._accepted += accepted_events(seen)
                if is_measured:
                    self._note(seen, plan)
            case Stop(part) if self._own:
                self._own.stop(part)
            case Settle() if self._own:
                self._own.settle()
            case CatchUp() if self._own:
                self._catch_up(self._own, step)
            case Settle():
                time.sleep(2)  # another server's processes cannot be watched
            case _:
                message = f"{step!r} needs an own Sluice"
                raise PlanError(message)

    def _allowed(self, plan: Plan) -> Plan:
        return structs.replace(plan, may_leave_this_machine=self._options.owns_host)

    def _note(self, seen: Seen, plan: Plan) -> None:
        open_loops = {phase.name for phase in plan.phases if phase.is_open}
        for name, value in load_figures(seen, open_loops).items():
            # Of phases that take turns within a round the median counts.
            every = self._repeated.setdefault(name, [])
            every.append(value)
            self._round.figures[name] = statistics.median(every)
        self._round.groups += seen.groups
        self._round.seconds += shifted(seen.seconds, self._elapsed)
        self._round.marks += shifted(seen.marks, self._elapsed)
        self._elapsed += 1 + max((second.at for second in seen.seconds), default=0)
        add_counts(self._round.statuses, seen.statuses)
        add_counts(self._round.slow_statuses, seen.slow_statuses)

    def _catch_up(self, own: Own, step: CatchUp) -> None:
        """Watch how a part that was away does its backlog, while more arrives."""
        backlog = self._accepted
        before, queue_mb = own.stored_events(), own.queue_mb()
        own.start(step.part)
        began = time.monotonic()
        generators = [
            Generator(part, cores=self._load) for part in share(step.plan, self._generators)
        ]
        rate = sum(phase.rate for phase in step.plan.phases) * step.plan.requests[0].events
        seconds = sum(phase.seconds for phase in step.plan.phases)
        stored, took = 0, 0.0
        while took < step.within_s:
            time.sleep(LOOK_EVERY_S)
            took = time.monotonic() - began
            stored = own.stored_events() - before
            if backlog + rate * min(took, seconds) - stored <= rate * FRESH_S:
                break
        ended_at = time.monotonic()
        seen = merge([generator.result() for generator in generators])
        self._accepted += accepted_events(seen)
        self._note(seen, step.plan)
        visible = self._wait_until_stored(own, before)
        deadline = time.monotonic() + SHRUNK_WITHIN_S
        while own.queue_mb() > queue_mb / 2 and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        self._round.figures |= {
            "catch_up/began_at_s": began - self._watch.started_at,
            "catch_up/ended_at_s": ended_at - self._watch.started_at,
            "catch_up/backlog_events": backlog,
            "catch_up/accepted_events": self._accepted,
            "catch_up/visible_events": visible,
            "catch_up/queue_file_mb": queue_mb,
            "catch_up/queue_file_after_mb": own.queue_mb(),
            "catch_up/events_per_s": stored / took,
            "catch_up/took_s": took,
            "catch_up/arrivals_s": seconds,
            "catch_up/over_arrivals": stored / took / rate if rate else 0.0,
        }

    def _wait_until_stored(self, own: Own, before: int) -> int:
        """Wait, for a bounded time, for all that was accepted; return how much of it is there."""
        deadline = time.monotonic() + STORED_WITHIN_S
        while True:
            own.settle()
            visible = own.visible_events() - before
            if visible == self._accepted or time.monotonic() >= deadline:
                return visible


def machine() -> Machine:
    """Return what this machine is."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processor=processor(),
        cores=os.cpu_count() or 1,
        memory_mb=pages * size // 1024**2,
        system=f"{platform.system()} {platform.release()}",
    )
