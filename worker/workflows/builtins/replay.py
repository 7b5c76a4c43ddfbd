"""``replay``: stored events or dead letters to a destination again, as ``sluice replay`` does.

How far it is stands in the run's own state, so that any worker can go on: a call of the step sends
some seconds' worth, waits until nothing of it is in the lot any more, writes the outcomes down, and
only then says how far it is. A worker that dies in between leaves a part to be sent again, with the
same ``insert_id``, which Amplitude counts once; its lot is thrown away.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sluice.core.errors import ConfigError
from sluice.core.event import format_ts
from sluice.core.outcomes import Fate
from sluice.core.times import parse_moment
from sluice.tenants import TenantsFile
from worker.amplitude_client import AmplitudeClient
from worker.core.replays import Asked, Count, Plan, Reached, Reasons
from worker.erased_lots import RUNS
from worker.lot import LotError
from worker.replay import Parts, Replay
from worker.replay_files import BUSY, ReplayFiles
from worker.replay_pages import ReplayPages
from worker.rollups import Rollups
from worker.workflows.builtin import Again, Builtin, BuiltinStep, Context, StepError, StoppedError
from worker.workflows.stoppable import stoppable

CALL_S: Final = 5.0
"""About how long a call sends before what it reached is written down."""
PAGE_S: Final = 0.5
GIVE_UP_AFTER_S: Final = 600.0
STOPS_WITHIN_S: Final = 1.5
"""How long what is on its way may take after a stop, so that its outcome is known."""


def _asked(context: Context) -> Asked:
    """Return what is to be sent; a window that ends when the run began, at the latest.

    Raises:
        StepError: There is nothing to be sent from or to.
    """
    run, inputs = context.run, context.inputs
    now = datetime.fromtimestamp(context.started_at, UTC)
    if run.range_from is None or run.range_to is None:
        message = "a replay needs a range."
        raise StepError(message, rule="range")
    since = parse_moment(run.range_from, now=now, name="range_from")
    until = min(parse_moment(run.range_to, now=now, name="range_to"), now)
    if since >= until:
        message = "the range is empty, or lies in the future."
        raise StepError(message, rule="range")
    tenant = context.tools.tenants.directory.by_slug.get(run.tenant)
    if run.run_mode == "full" and (tenant is None or tenant.amplitude is None):
        message = (
            f"the tenant forwards nothing to Amplitude: `sluice tenant set {run.tenant}"
            " amplitude.api_key=…` first."
        )
        raise StepError(message, rule="destination")
    event_type = inputs.get("event_type")
    return Asked(
        tenant=run.tenant,
        destination=inputs["destination"],
        since=format_ts(since),
        until=format_ts(until),
        event_types=(event_type,) if event_type else (),
        dead_letters=bool(inputs.get("dead_letters")),
    )


async def count(context: Context) -> Mapping[str, Any]:
    """Count what would be sent, by what became of it so far."""
    asked = _asked(context)
    pages = ReplayPages(context.tools.warehouse, asked)
    plan = await stoppable(context.stop, pages.plan(asked.since, asked.until))
    return {
        "since": f"{asked.since}Z",
        "until": f"{asked.until}Z",
        "matching": plan.matching,
        "before": {
            "never_forwarded": plan.of(""),
            **{fate.value: plan.of(fate.value) for fate in Fate},
        },
        "counted_again": plan.forgotten,
        "hours": sorted(plan.hours),
    }


async def rollups(context: Context) -> Mapping[str, Any]:
    """Recompute the rollups of the range's hours, where the mode is ``refresh``."""
    if context.run.run_mode != "refresh":
        return {"recomputed": 0}
    hours = [
        datetime.fromtimestamp(hour, UTC).strftime("%Y-%m-%dT%H")
        for hour in context.outputs["count"]["hours"]
    ]
    await stoppable(context.stop, _recompute(context, hours))
    return {"recomputed": len(hours)}


async def _recompute(context: Context, hours: list[str]) -> None:
    kept = Rollups(context.tools.warehouse)
    await kept.touch([(context.run.tenant, hour) for hour in hours])
    await kept.recompute()


async def send(context: Context) -> Mapping[str, Any] | Again:
    """Send some more; say how far it is once nothing of it waits on this worker's disk."""
    counted = context.outputs["count"]
    shown = {name: value for name, value in counted.items() if name != "hours"}
    shown["rollups_recomputed"] = context.outputs["rollups"]["recomputed"]
    if context.run.run_mode != "full" or not counted["matching"]:
        return {**shown, **_result(Reasons()), "sent": False}
    asked = _asked(context)
    reached = _reached(context, asked)
    reasons = Reasons(
        {(one["reason"], one["detail"]): one["events"] for one in context.memory.get("why", ())}
    )
    try:
        is_done = await _send_some(context, asked, reached, reasons)
    except ConfigError as error:
        if str(error) == BUSY:  # somebody looks whether the lot is anybody's
            return Again(after_s=1.0, memory=context.memory)
        raise StepError(str(error), rule="destination") from error
    except LotError as error:  # a full disk, as a rule
        raise StepError(str(error), attribution="platform", rule="disk") from error
    if not is_done:
        why = reasons.as_json()
        return Again(after_s=0, memory={"reached": msgspec.to_builtins(reached), "why": why})
    return {**shown, **_result(reasons, reached), "sent": True}


def _reached(context: Context, asked: Asked) -> Reached:
    before = context.memory.get("reached")
    if before is not None:
        return msgspec.convert(before, Reached)
    return Reached(
        asked=asked,
        since=asked.since,
        until=asked.until,
        started_at=format_ts(datetime.fromtimestamp(context.started_at, UTC)),
        after_at=asked.since,
    )


def _result(reasons: Reasons, reached: Reached | None = None) -> dict[str, Any]:
    return {
        "read": reached.read if reached else 0,
        "delivered": reached.delivered if reached else 0,
        "filtered": reached.filtered if reached else 0,
        "refused": reached.refused if reached else 0,
        "refused_because": reasons.as_json(),
    }


async def _send_some(context: Context, asked: Asked, reached: Reached, reasons: Reasons) -> bool:
    """Send for a while; return whether that was the rest."""
    settings = context.tools.settings
    folder = settings.replays_path / RUNS
    files = ReplayFiles(folder, asked, name=context.run.run_id)
    await asyncio.to_thread(ReplayFiles.throw_away, folder)  # what workers left that died in a call
    began = time.monotonic()
    plan = Plan([Count(hour, "", 0, 0) for hour in context.outputs["count"]["hours"]])
    async with AmplitudeClient(settings.amplitude_url) as client:
        parts = Parts(
            settings=settings,
            tenants=TenantsFile(settings.tenants_path),
            warehouse=context.tools.warehouse,
            client=client,
            files=files,
        )
        replaying = Replay(
            parts,
            reached,
            rate=context.inputs.get("rate", 1_000),
            give_up_after_s=GIVE_UP_AFTER_S,
            page_s=PAGE_S,
            is_enough=lambda: time.monotonic() - began > CALL_S,
            stop=context.stop,
        )
        late = asyncio.Event()
        await stoppable(late, _until_late(replaying, plan, context.stop, late))
    await asyncio.to_thread(files.remove)
    for (reason, detail), events in replaying.refused.counts.items():
        reasons.add(reason, detail, events)
    if context.stop.is_set():
        message = "the run was stopped"
        raise StoppedError(message)
    if replaying.problem:
        is_key = "amplitude.api_key" in replaying.problem
        what = "1 event was" if reached.delivered == 1 else f"{reached.delivered:,} events were"
        raise StepError(
            f"{replaying.problem}; {what} delivered before.",
            attribution="customer" if is_key else "platform",
            rule="destination",
        )
    return not replaying.is_cut


async def _until_late(
    replaying: Replay, plan: Plan, stop: asyncio.Event, late: asyncio.Event
) -> None:
    """Run it; say when it takes too long after a stop."""
    loop = asyncio.get_running_loop()

    async def watch() -> None:
        await stop.wait()
        loop.call_later(STOPS_WITHIN_S, late.set)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(), name="watch")
        await replaying.run(plan)
        watching.cancel()


BUILTIN: Final = Builtin(
    type="replay",
    steps=(
        BuiltinStep(id="count", do=count, timeout_s=600),
        BuiltinStep(id="rollups", do=rollups, timeout_s=600),
        BuiltinStep(id="send", do=send, timeout_s=1800),
    ),
)
