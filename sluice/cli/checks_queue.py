"""What ``sluice doctor`` looks at in the queue, and in the spool of this data dir."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from sluice.cli.findings import Finding
from sluice.core.errors import SluiceError
from sluice.queue import open_queue, open_spool
from sluice.queue.protocol import TOPICS, Backlog, QueueState
from sluice.settings import MIB, Settings

OLD_BACKLOG_S: Final = 60.0
FULL_SOON: Final = 0.8
"""Of the spool's bound in bytes."""


async def check_queue(settings: Settings, processes: Collection[str]) -> list[Finding]:
    """Return how the queue is: one file, or Pub/Sub with the spool at hand."""
    if settings.pubsub_project is not None:
        from sluice.cli.checks_pubsub import check_pubsub  # here, because it is heavy

        findings = await check_pubsub(settings, settings.pubsub_project, processes)
        return [*findings, await _spool(settings)]
    path = settings.queue_path
    if not path.exists():
        return [Finding("queue", "warn", f"{path} does not exist yet", "`sluice setup` makes it")]
    async with open_queue(settings) as queue:
        findings = [_queue_state(await queue.state(), path)]
        try:
            for name in sorted({name for names in TOPICS.values() for name in names}):
                backlog = await queue.backlog(name)
                findings.append(_backlog(name, backlog))
        except SluiceError as error:
            findings.append(Finding("backlog", "fail", str(error)))
    return findings


def _queue_state(state: QueueState, path: Path) -> Finding:
    shown = f"{_used(state)} used in {path}"
    match state.condition:
        case "unavailable":
            remedy = "mend the disk or restore the file; Sluice goes on by itself"
            return Finding("queue", "fail", state.detail, remedy)
        case "full":
            remedy = "start a worker, or raise SLUICE_QUEUE_MAX_BYTES"
            return Finding("queue", "fail", f"full: {state.detail or shown}", remedy)
        case "degraded":
            return Finding("queue", "warn", state.detail)
        case "ok":
            return Finding("queue", "ok", shown)


def _backlog(subscription: str, backlog: Backlog) -> Finding:
    name = f"backlog of {subscription}"
    shown = f"{backlog.events:,} events, the oldest {backlog.oldest_age_s:.0f} s old"
    if backlog.dead:
        shown += f", {backlog.dead} envelopes put aside"
        return Finding(name, "warn", shown, "the worker's log says why they failed")
    if backlog.oldest_age_s > OLD_BACKLOG_S:
        return Finding(name, "warn", shown, "see that a worker runs and the warehouse answers")
    return Finding(name, "ok", shown)


async def _spool(settings: Settings) -> Finding:
    path = settings.spool_path
    if not path.exists():
        return Finding("spool", "ok", f"{path} does not exist: no gateway has run here yet")
    async with open_spool(settings) as spool:
        state = await spool.state()
        if state.condition == "unavailable":
            remedy = "mend the disk or restore the file; Sluice goes on by itself"
            return Finding("spool", "fail", state.detail, remedy)
        try:
            backlogs = [await spool.backlog(topic) for topic in TOPICS]
        except SluiceError as error:
            return Finding("spool", "fail", str(error))
    return _spool_state(state, backlogs, path)


def _spool_state(state: QueueState, backlogs: list[Backlog], path: Path) -> Finding:
    events = sum(backlog.events for backlog in backlogs)
    age_s = max(backlog.oldest_age_s for backlog in backlogs)
    if not events:
        return Finding("spool", "ok", f"empty, {_used(state)} used in {path}")
    shown = f"{events:,} events, the oldest {age_s:.0f} s old, {_used(state)} used in {path}"
    if state.condition == "full":
        remedy = "mend the way to Pub/Sub, or raise SLUICE_QUEUE_MAX_BYTES: events are refused"
        return Finding("spool", "fail", f"full: {shown}", remedy)
    remedy = "a gateway that runs here drains it when Pub/Sub answers"
    if state.stored_bytes > FULL_SOON * state.max_bytes:
        remedy += "; it is nearly full, and events are refused when it is"
    return Finding("spool", "warn", shown, remedy)


def _used(state: QueueState) -> str:
    return f"{state.stored_bytes / MIB:,.0f} of {state.max_bytes / MIB:,.0f} MiB"
