"""``reconcile``: does everything that was accepted add up (``docs/ledger.md``)?

Steps: ``count`` reads each term by hour, ``amplitude`` asks Amplitude for its own counts,
``export`` loads what Amplitude holds of the hours and types that differ, ``name`` names every
difference, and ``rollups`` recomputes those that were wrong unless the run's mode is ``source``.
Nothing else is ever written: what is missing is for people to judge.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import msgspec

from sluice.core.amplitude import AmplitudeConfig
from sluice.core.errors import SluiceError
from worker.amplitude_reads import AmplitudeReadError, AmplitudeReads, LaterError, Wanted
from worker.core.reconciling import (
    SETTLED_AFTER,
    SHOWN,
    Difference,
    Differences,
    Span,
    hour_span,
    hour_text,
    span_of,
    summary,
)
from worker.reconcile_amplitude import (
    DESTINATION,
    MAX_EXPORT_HOURS,
    MAX_TYPES,
    AmplitudeCheck,
    Delivered,
    different_hours,
    exported_until,
)
from worker.reconcile_counts import (
    SLICE_EVENTS,
    balance_of,
    began_at,
    fates_of,
    stale_hours,
)
from worker.reconcile_names import Names
from worker.rollups import Rollups
from worker.workflows.builtin import Again, Builtin, BuiltinStep, Context, StepError
from worker.workflows.stoppable import stoppable

FILE: Final = "differences.ndjson"
CALL_S: Final = 30.0
"""About how long one call of a step works before what it reached is written down."""
PATIENCE_S: Final = 3600.0
"""How long Amplitude may give no answer before the run ends without its counts."""
COST_WINDOW_S: Final = 300.0
MAX_COST: Final = 900
"""Of the 1,000 that Amplitude allows in five minutes: others ask, too."""
REPAIRS: Final = ("refresh", "full")
"""The modes in which wrong rollups are recomputed; what else is wrong nobody repairs by itself."""
SUBSCRIPTIONS: Final = ("warehouse", DESTINATION)

_encode: Final = msgspec.json.Encoder().encode


def _span(context: Context) -> Span:
    run = context.run
    try:
        return span_of(run.range_from, run.range_to, started_at=context.started_at)
    except ValueError as error:
        raise StepError(f"{error}.", rule="range") from error


def _config(context: Context) -> AmplitudeConfig | None:
    tenant = context.tools.tenants.directory.by_slug.get(context.run.tenant)
    return tenant.amplitude if tenant else None


async def count(context: Context) -> Mapping[str, Any]:
    """Read every term."""
    return await stoppable(context.stop, _count(context))


async def _count(context: Context) -> Mapping[str, Any]:
    warehouse, tenant, span = context.tools.warehouse, context.run.tenant, _span(context)
    now = datetime.now(UTC)
    began = await began_at(warehouse)
    totals = dict.fromkeys(("accepted", "stored", "duplicates", "dead", "erased", "envelopes"), 0)
    difference, unequal, unknown = 0, [], 0
    fates: dict[str, int] = {}
    silent: list[int] = []
    stored_of: dict[str, int] = {}
    for day in _parts(span):
        balance = await balance_of(warehouse, tenant, day, began=began, now=now)
        for name in totals:
            totals[name] += balance.total(name)
        difference += balance.total("difference")
        unequal += [terms.hour for terms in balance.unequal]
        unknown += sum(terms.accepted is None for terms in balance.hours.values())
        stored = balance.total("stored")
        stored_of[day.texts["since"]] = stored
        said, quiet = await fates_of(warehouse, tenant, DESTINATION, day, stored=stored)
        silent += quiet
        for fate, events in said.items():
            fates[fate] = fates.get(fate, 0) + events
    ledger: dict[str, Any] = {**totals, "difference": difference, "hours_unknown": unknown}
    if unknown:
        ledger["accepted"] = None if unknown == len(span.hours) else ledger["accepted"]
        ledger["began_at"] = hour_text(began)
    return {
        "since": hour_text(span.hours[0]),
        "until": hour_text(int(span.until.timestamp())),
        "ledger": ledger,
        "destinations": {DESTINATION: _destination(context, fates, silent)},
        "unequal_hours": unequal,
        "silent_hours": silent,
        "stored_of": stored_of,
        "late": await _late(context, span, now),
    }


def _parts(span: Span) -> list[Span]:
    """Return a window day by day, so that no statement reads more."""
    return [Span(max(span.since, day.since), min(span.until, day.until)) for day in span.days]


def _destination(
    context: Context, fates: Mapping[str, int], silent: Sequence[int]
) -> dict[str, Any]:
    return {
        "forwards": _config(context) is not None,
        **{fate: fates.get(fate, 0) for fate in ("delivered", "parked", "dead", "filtered")},
        "without_outcome": fates.get("", 0),
        "not_forwarded": fates.get("silent", 0),
        "hours_not_forwarded": len(silent),
    }


async def _late(context: Context, span: Span, now: datetime) -> list[str]:
    """Return why the numbers may still change, in sentences."""
    notes: list[str] = []
    if span.until + SETTLED_AFTER > now:
        notes.append("the time is not over")
    for subscription in SUBSCRIPTIONS:
        try:
            backlog = await context.tools.queue.backlog(subscription)
        except SluiceError:
            notes.append(f"the queue does not say what waits for {subscription}")
            continue
        oldest = now.timestamp() - backlog.oldest_age_s
        if backlog.messages and oldest < span.until.timestamp() + SETTLED_AFTER.total_seconds():
            wait = "1 event waits" if backlog.events == 1 else f"{backlog.events:,} events wait"
            notes.append(f"{wait} for {subscription} in the queue")
    return notes


async def ask_amplitude(context: Context) -> Mapping[str, Any] | Again:
    """Compare hours and types with Amplitude's own counts."""
    config = _config(context)
    if config is None:
        return {"asked": False, "reason": "the tenant forwards nothing to Amplitude"}
    if not config.secret_key:
        return {"asked": False, "reason": "amplitude.secret_key is not set"}
    return await stoppable(context.stop, _ask(context, config))


async def _ask(context: Context, config: AmplitudeConfig) -> Mapping[str, Any] | Again:
    check = _check_of(context)
    delivered = await check.delivered(config, stored=context.outputs["count"]["ledger"]["stored"])
    questions = [(name, part) for name in delivered.names[:MAX_TYPES] for part in check.ranges()]
    memory: dict[str, Any] = {"done": 0, "types": {}, "different": {}, **context.memory}
    try:
        async with aiohttp.ClientSession() as session:
            reads = AmplitudeReads(session, config, context.tools.settings.amplitude_url)
            began = time.monotonic()
            for name, (first, last) in questions[memory["done"] :]:
                cost = (last - first).days + 1
                wait_s = _spend(memory, cost)
                if wait_s or time.monotonic() - began > CALL_S:
                    return Again(after_s=wait_s, memory=memory)
                theirs = await reads.hourly(name, first, last)
                _compare(memory, delivered, name, (first, last), theirs)
                memory["done"] += 1
                memory.pop("failing_since", None)
    except LaterError as error:
        since = memory.setdefault("failing_since", time.time())
        if time.time() - since <= PATIENCE_S:
            return Again(after_s=error.after_s, memory=memory)
        return {"asked": False, "reason": str(error)}
    except AmplitudeReadError as error:
        return {"asked": False, "reason": str(error)}
    types = memory["types"]
    doubtful = None if context.inputs.get("compare_all") else _doubtful_hours(context)
    return {
        "asked": True,
        "days": [day.since.strftime("%Y-%m-%d") for day in check.days.days],
        "delivered": sum(ours for ours, _ in types.values()),
        "counted": sum(theirs for _, theirs in types.values()),
        "types": {name: {"delivered": a, "counted": b} for name, (a, b) in types.items()},
        "types_not_asked": max(0, len(delivered.names) - MAX_TYPES),
        "different": with_doubtful(memory["different"], delivered, doubtful),
        "numbers_differ": memory["different"],
    }


def _doubtful_hours(context: Context) -> frozenset[int]:
    return frozenset(context.outputs["count"]["unequal_hours"])


def with_doubtful(
    different: Mapping[str, Sequence[int]], delivered: Delivered, doubtful: frozenset[int] | None
) -> dict[str, list[int]]:
    """Return the hours to compare event by event, by name, also where numbers agree by chance.

    What is missing here and what is missing there make equal numbers, so that an hour that is wrong
    in the warehouse is always compared. None stands for all hours.
    """
    found = {name: set(hours) for name, hours in different.items()}
    for name in delivered.names[:MAX_TYPES]:
        hours = delivered.counts[name].keys()
        found.setdefault(name, set()).update(hours if doubtful is None else doubtful & hours)
    return {name: sorted(hours) for name, hours in found.items() if hours}


def _check_of(context: Context) -> AmplitudeCheck:
    run = context.run
    return AmplitudeCheck(context.tools.warehouse, run.tenant, run.run_id, _span(context))


def _spend(memory: dict[str, Any], cost: int) -> float:
    """Note the cost of a question; return how long it has to wait if it is too much now."""
    now = time.time()
    if now - memory.get("window_at", 0.0) >= COST_WINDOW_S:
        memory["window_at"], memory["spent"] = now, 0
    if memory["spent"] + cost > MAX_COST:
        return float(memory["window_at"] + COST_WINDOW_S - now)
    memory["spent"] += cost
    return 0.0


def _compare(
    memory: dict[str, Any],
    delivered: Delivered,
    name: str,
    days: tuple[datetime, datetime],
    theirs: Mapping[int, int],
) -> None:
    first, end = days[0].timestamp(), days[1].timestamp() + 86_400
    ours = {hour: events for hour, events in delivered.counts[name].items() if first <= hour < end}
    before = memory["types"].get(name, (0, 0))
    memory["types"][name] = (before[0] + sum(ours.values()), before[1] + sum(theirs.values()))
    hours = different_hours(ours, theirs)
    if hours:
        memory["different"][name] = [*memory["different"].get(name, []), *hours]


async def load_exports(context: Context) -> Mapping[str, Any] | Again:
    """Load what Amplitude holds of the hours and types that differ."""
    config = _config(context)
    different = context.outputs["amplitude"].get("different")
    if not different or config is None:
        return {"hours": 0, "loaded": 0}
    return await stoppable(context.stop, _load(context, config, different))


async def _load(
    context: Context, config: AmplitudeConfig, different: Mapping[str, Sequence[int]]
) -> Mapping[str, Any] | Again:
    check, settings = _check_of(context), context.tools.settings
    names = {(hour, name) for name, hours in different.items() for hour in hours}
    delivered = await check.delivered(config, stored=context.outputs["count"]["ledger"]["stored"])
    hours = await check.upload_hours(_pairs(different, delivered))
    until = exported_until(settings.amplitude_export_delay_s)
    asked = [hour for hour in hours if hour < until][:MAX_EXPORT_HOURS]
    memory: dict[str, Any] = {"done": 0, "loaded": 0, "until": until, **context.memory}
    result = {
        "hours": len(asked),
        "hours_not_ready": sum(hour >= until for hour in hours),
        "until": memory["until"],
    }
    try:
        async with aiohttp.ClientSession() as session:
            reads = AmplitudeReads(session, config, settings.amplitude_url)
            began = time.monotonic()
            for hour in asked[memory["done"] :]:
                if time.monotonic() - began > CALL_S:
                    return Again(after_s=0, memory=memory)
                memory["loaded"] += await check.load(
                    reads,
                    hour,
                    Wanted(names),
                    settings.run_files_path,
                    max_bytes=settings.run_file_max_bytes,
                )
                memory["done"] += 1
                memory.pop("failing_since", None)
    except LaterError as error:
        since = memory.setdefault("failing_since", time.time())
        if time.time() - since <= PATIENCE_S:
            return Again(after_s=error.after_s, memory=memory)
        return {**result, "loaded": memory["loaded"], "problem": str(error)}
    except AmplitudeReadError as error:
        return {**result, "loaded": memory["loaded"], "problem": str(error)}
    return {**result, "loaded": memory["loaded"]}


def _pairs(different: Mapping[str, Sequence[int]], delivered: Delivered) -> list[tuple[int, str]]:
    """Return hours and types, as stored, that differ."""
    return [
        (hour, event_type)
        for name, hours in different.items()
        for event_type in delivered.types.get(name, [name])
        for hour in hours
    ]


async def name_differences(context: Context) -> Mapping[str, Any]:
    """Name every difference, write the file, and say the result."""
    return await stoppable(context.stop, _name(context))


async def _name(context: Context) -> Mapping[str, Any]:
    tools, run, span = context.tools, context.run, _span(context)
    counted, asked = context.outputs["count"], context.outputs["amplitude"]
    found = Differences()
    names = Names(tools.warehouse, run.tenant, found)
    began, now = await began_at(tools.warehouse), datetime.now(UTC)
    for hour in counted["unequal_hours"]:
        part = hour_span(hour)
        balance = await balance_of(tools.warehouse, run.tenant, part, began=began, now=now)
        await names.hour(balance.of(hour))
    silent = frozenset(counted["silent_hours"])
    for day in _parts(span):
        slices = 1 + counted["stored_of"].get(day.texts["since"], 0) // SLICE_EVENTS
        await names.outcomes_without_event(day, DESTINATION, slices=slices)
        if counted["destinations"][DESTINATION]["without_outcome"]:
            await names.without_outcome(day, DESTINATION, silent=silent)
    stale = await stale_hours(tools.warehouse, run.tenant, span)
    wrong = await names.rollups(span, stale)
    notes = list(counted["late"])
    if stale:
        notes.append(f"{len(stale)} hours are about to be rolled up")
    notes += await _name_at_amplitude(context, found)
    await _write(context, found)
    ledger = counted["ledger"]
    outputs: dict[str, Any] = {
        "is_balanced": not found.total and not ledger["difference"],
        "is_final": not counted["late"] and not stale,
        "since": counted["since"],
        "until": counted["until"],
        "ledger": ledger,
        "destinations": counted["destinations"],
        "amplitude": {
            name: asked[name] for name in asked if name not in {"different", "numbers_differ"}
        },
        "rollups": {"wrong_hours": [hour_text(hour) for hour in wrong]},
        "difference_counts": found.counts,
        "differences": [msgspec.to_builtins(one) for one in found.named[:SHOWN]],
        "differences_file": FILE if found.named else None,
        "notes": [
            *notes,
            *_unknown(ledger, counted["destinations"][DESTINATION]),
            *_not_compared(asked, counted["destinations"][DESTINATION]),
        ],
    }
    return {"summary": summary(tenant=run.tenant, span=span, outputs=outputs), **outputs}


def _not_compared(asked: Mapping[str, Any], destination: Mapping[str, Any]) -> list[str]:
    """Say how many events Amplitude files under another time, or not as events at all."""
    if not asked["asked"] or destination["delivered"] <= asked["delivered"]:
        return []
    left = destination["delivered"] - asked["delivered"]
    return [
        f"{left:,} of {destination['delivered']:,} delivered events were not looked for at"
        " Amplitude: they happened outside of the range, or are no events there"
    ]


def _unknown(ledger: Mapping[str, Any], destination: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    if ledger["hours_unknown"]:
        notes.append(
            f"{ledger['hours_unknown']} hours are from before the ledger began"
            f" ({ledger['began_at']}): what was accepted in them is not known"
        )
    if destination["not_forwarded"]:
        notes.append(
            f"{destination['not_forwarded']:,} stored events are of hours in which nothing was"
            " forwarded to Amplitude"
        )
    return notes


async def _name_at_amplitude(context: Context, found: Differences) -> list[str]:
    config, asked = _config(context), context.outputs["amplitude"]
    loaded = context.outputs["export"]
    if not asked["asked"]:
        return [f"Amplitude was not asked: {asked['reason']}"]
    notes: list[str] = []
    if asked["types_not_asked"]:
        notes.append(f"Amplitude was not asked about {asked['types_not_asked']:,} rare types")
    different: Mapping[str, Sequence[int]] = asked["different"]
    if not different or config is None:
        return notes
    check = _check_of(context)
    delivered = await check.delivered(config, stored=context.outputs["count"]["ledger"]["stored"])
    before = found.total
    undecided = await check.name(
        found, _pairs(different, delivered), delivered, exported_until=loaded["until"]
    )
    if undecided:
        until = hour_text(loaded["until"])
        were, them = (
            ("1 event was", "it") if undecided == 1 else (f"{undecided:,} events were", "them")
        )
        notes.append(f"{were} sent after {until}: exports do not hold {them} yet")
    erased = await check.still_there()
    if "problem" in loaded:
        notes.append(f"Amplitude's export could not be read: {loaded['problem']}")
    if found.total == before and not undecided and not erased:
        erased = _add_counts(found, asked, erased=context.outputs["count"]["ledger"]["erased"])
    if erased:
        notes.append(
            f"Amplitude still counts {erased:,} events of people who were erased: it deletes them"
            " within 30 days of being asked"
        )
    await check.forget()
    return notes


def _add_counts(found: Differences, asked: Mapping[str, Any], *, erased: int) -> int:
    """Name the types and hours whose numbers differ where no event explains it.

    Returns:
        How many Amplitude counts more that can be of people who were erased, of whom nothing says
        any more when their events were sent.
    """
    of_erased = 0
    for name, hours in asked["numbers_differ"].items():
        numbers = asked["types"][name]
        more = numbers["counted"] - numbers["delivered"]
        if 0 < more <= erased - of_erased:
            of_erased += more
            continue
        said = f"delivered {numbers['delivered']:,}, counted by Amplitude {numbers['counted']:,}"
        found.add(
            Difference(
                kind="amplitude_count_differs",
                hour=hour_text(hours[0]),
                event_type=name,
                destination=DESTINATION,
                events=max(1, abs(numbers["delivered"] - numbers["counted"])),
                detail=f"{said}, in {len(hours)} hours",
            )
        )
    return of_erased


async def _write(context: Context, found: Differences) -> None:
    if not found.named:
        return
    run = context.run
    async with context.tools.files.writing(run.tenant, run.run_id, FILE) as file:
        for one in found.named:
            await file.write(_encode(one) + b"\n")


async def recompute(context: Context) -> Mapping[str, Any]:
    """Recompute the rollups that were wrong, unless the run only reads."""
    outputs = dict(context.outputs["name"])
    hours = outputs["rollups"]["wrong_hours"]
    recomputed: list[str] = []
    if context.run.run_mode in REPAIRS and hours:
        rollups = Rollups(context.tools.warehouse)
        places = [(context.run.tenant, hour[:13]) for hour in hours]
        await stoppable(context.stop, _recompute(rollups, places))
        recomputed = hours
    outputs["rollups"] = {**outputs["rollups"], "recomputed": recomputed}
    return outputs


async def _recompute(rollups: Rollups, places: Sequence[tuple[str, str]]) -> None:
    await rollups.touch(places)
    await rollups.recompute()


BUILTIN: Final = Builtin(
    type="reconcile",
    steps=(
        BuiltinStep(id="count", do=count, timeout_s=3600),
        BuiltinStep(id="amplitude", do=ask_amplitude),
        BuiltinStep(id="export", do=load_exports, timeout_s=3600),
        BuiltinStep(id="name", do=name_differences, timeout_s=3600),
        BuiltinStep(id="rollups", do=recompute),
    ),
)
