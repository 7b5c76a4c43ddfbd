"""Which drill belongs to which alert, and with which settings its parts are started."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.drills import on_many_machines as many
from tests.drills import on_one_machine as one
from tests.drills import with_amplitude as amplitude
from tests.drills.drill import Drill, Script
from tests.drills.rules import QUICK, STEADY, Pace
from tests.drills.site import ManyMachines, OneMachine, Settings, many_machines, one_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A drill that has no folder yet."""

    one: Script[OneMachine] | None = None
    many: Script[ManyMachines] | None = None
    settings: Settings = field(default_factory=dict)
    pace: Pace = QUICK
    severity: str = ""
    fires_within_s: float = 60.0
    clears_within_s: float = 120.0


PLANS: Final[Mapping[str, Plan]] = {
    "SluiceRequestsFail": Plan(one=one.queue_locked, pace=STEADY, severity="page"),
    "SluiceRequestsSlow": Plan(one=one.queue_slow, pace=STEADY, severity="page"),
    "SluiceEventsLate": Plan(one=one.late_inserts, severity="page"),
    "SluiceGatewayDown": Plan(one=one.gateway_down),
    "SluiceWorkerDown": Plan(one=one.worker_down),
    "SluiceProcessDown": Plan(many=many.one_gateway_down),
    "SluiceEventLoopLag": Plan(one=one.gateway_starved),
    "SluiceVersionsDiffer": Plan(one=one.versions_differ, fires_within_s=120.0),
    "SluiceConnectionsRefused": Plan(one=one.connections_leak, settings={"MAX_CONNECTIONS": "50"}),
    "SluiceQueueRefuses": Plan(one=one.queue_fills, settings={"QUEUE_MAX_BYTES": "1048576"}),
    "SluiceQueueFillsUp": Plan(one=one.queue_fills, settings={"QUEUE_MAX_BYTES": "1048576"}),
    "SluiceSpoolInUse": Plan(many=many.broker_refuses),
    "SluiceSpoolFillsUp": Plan(many=many.spool_fills, settings={"QUEUE_MAX_BYTES": "1048576"}),
    "SluiceBacklogOld": Plan(one=one.warehouse_hangs),
    "SluiceDestinationUnavailable": Plan(one=one.warehouse_away),
    "SluiceDeadLetters": Plan(one=amplitude.events_refused),
    "SluiceAmplitudeKeyRefused": Plan(one=amplitude.key_refused),
    "SluiceParkedEventsGrow": Plan(
        one=amplitude.project_throttled,
        settings={"AMPLITUDE_THROTTLE_WAIT_S": "1"},
        fires_within_s=120.0,
    ),
    "SluiceRunsFail": Plan(one=amplitude.run_fails),
    "SluiceRejectionsHigh": Plan(one=one.wrong_release),
}
"""By the name of the alert."""


def needs_emulator(names: Sequence[str]) -> bool:
    """Whether a drill of these needs Google's emulator."""
    return any(PLANS[name].many for name in names)


def drills_of(names: Sequence[str], folder: Path, emulator: str) -> Iterator[Drill[Any]]:
    """Yield the drills of these alerts, each with a folder of its own in ``folder``."""
    for name in names:
        plan = PLANS[name]
        own = folder / name
        own.mkdir()
        if plan.one is not None:
            opened = partial(one_machine, own, plan.settings, plan.pace)
            yield _drill(name, plan, plan.one, opened)
        if plan.many is not None:
            on_many = partial(many_machines, own, plan.settings, emulator, plan.pace)
            yield _drill(name, plan, plan.many, on_many)


def _drill(name: str, plan: Plan, script: Script[Any], opened: Any) -> Drill[Any]:
    return Drill(
        alert=name,
        script=script,
        open=opened,
        severity=plan.severity,
        fires_within_s=plan.fires_within_s,
        clears_within_s=plan.clears_within_s,
    )
