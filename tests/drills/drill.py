"""One drill: quiet, a fault, the alert, the steps of its runbook, quiet again, and the count."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from tests.drills.site import Site
from tests.faults.broker.trial import Outcome
from tests.support.poll import poll_until

QUIET_S: Final = 5.0
"""For how long the alert must not fire before the fault."""
QUIET_WITHIN_S: Final = 15.0
LOOK_EVERY_S: Final = 0.2

AnySite = TypeVar("AnySite", bound=Site)

Script = Callable[[AnySite], AsyncGenerator[str, None]]
"""Makes the fault and yields what it was; goes on when the alert fires, takes the steps of the
runbook and yields them; goes on when the alert has ended and all that was accepted was counted, and
checks what else the runbook promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill(Generic[AnySite]):
    """What is tried for one alert."""

    alert: str
    script: Script[AnySite]
    open: Callable[[], AbstractAsyncContextManager[AnySite]]
    severity: str = ""
    """Only of this one; empty: of any. What is broken slowly takes hours to be forgotten."""
    fires_within_s: float = 60.0
    clears_within_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a drill went."""

    alert: str
    fault: str
    steps: str
    fired_after_s: float
    cleared_after_s: float
    outcome: Outcome
    others: Sequence[str]
    """Alerts that fired meanwhile, too."""

    @property
    def is_well(self) -> bool:
        """Whether every promise was kept."""
        return self.outcome.holds


class DrillError(Exception):
    """A drill did not go as its runbook says."""


async def run_drill(drill: Drill[Any]) -> Report:
    """Run a drill from the start of its processes to their end.

    Raises:
        DrillError: The alert fired without a fault, not with it, or did not end.
    """
    async with drill.open() as site, site.tasks as tasks:
        traffic = tasks.create_task(site.send_until_told())
        try:
            async with aclosing(drill.script(site)) as script:
                return await _watch(drill, site, script, traffic)
        except BaseException:
            traffic.cancel()
            raise


async def _watch(
    drill: Drill[Any],
    site: Site,
    script: AsyncGenerator[str, None],
    traffic: asyncio.Task[None],
) -> Report:
    others: set[str] = set()

    async def fires() -> bool:
        firing = await site.prometheus.firing()
        others.update(set(firing) - {drill.alert})
        severities = [one["labels"]["severity"] for one in firing.get(drill.alert, [])]
        return drill.severity in severities if drill.severity else bool(severities)

    async def is_silent() -> bool:
        return not await fires()

    # Before the first scrape nothing is up, which some alerts are about.
    await _wait(is_silent, QUIET_WITHIN_S, "all is quiet at first")
    await _stay_quiet(fires, drill.alert)
    others.clear()
    fault = await anext(script)
    started = time.monotonic()
    await _wait(fires, drill.fires_within_s, f"{drill.alert} fires after: {fault}")
    fired_after_s = time.monotonic() - started
    steps = await anext(script)
    mended = time.monotonic()
    await _wait(is_silent, drill.clears_within_s, f"{drill.alert} ends after: {steps}")
    cleared_after_s = time.monotonic() - mended
    outcome = await site.judge(traffic)
    async for _ in script:
        message = f"the drill of {drill.alert} has more than two parts"
        raise DrillError(message)
    if errors := await site.prometheus.rule_errors():
        raise DrillError(errors[0])
    return Report(
        alert=drill.alert,
        fault=fault,
        steps=steps,
        fired_after_s=fired_after_s,
        cleared_after_s=cleared_after_s,
        outcome=outcome,
        others=sorted(others),
    )


async def _stay_quiet(fires: Callable[[], Any], alert: str) -> None:
    until = time.monotonic() + QUIET_S
    while time.monotonic() < until:
        if await fires():
            message = f"{alert} fires although nothing is wrong"
            raise DrillError(message)
        await asyncio.sleep(LOOK_EVERY_S)


async def _wait(condition: Callable[[], Any], within_s: float, what: str) -> None:
    try:
        _: bool = await poll_until(condition, within_s=within_s, every_s=LOOK_EVERY_S, what=what)
    except TimeoutError as error:
        message = f"not within {within_s:g} s: {what}"
        raise DrillError(message) from error
