"""``erase``: deletes people everywhere, and ends with a certificate.

The order, so that nothing comes back and no count is wrong. Every step may be repeated:

1. ``note``: who is erased, as digests with a cut-off, the moment at which the run began. From then
   on workers leave out what was received before it (``worker.erasures``).
2. ``settle``: wait until every worker knows, and no insert from before can still end; then, for a
   while, until the queues hold nothing older than the cut-off.
3. ``aim``: note the ids of the events and count what there is, table by table.
4. ``amplitude``: ask Amplitude to delete the users, while their ids are still known here.
5. ``delete``: mutations, which rewrite also parts that are not merged, until nothing is left.
6. ``rollups``: count the touched hours anew, and delete what was counted before.
7. ``verify``: look again, in every place.
8. ``certify``: write the certificate, and forget the ids.

After ``note`` no statement, state or output names a person.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sluice.core.errors import QueueUnavailableError
from sluice.core.event import format_ts
from sluice.queue.protocol import TOPICS
from sluice.warehouse import erasures, upkeep
from worker.encoding import frames
from worker.rollups import Rollups
from worker.workflows.builtin import (
    Again,
    Builtin,
    BuiltinStep,
    Context,
    StepError,
    StoppedError,
)
from worker.workflows.builtins.amplitude_deletions import MAX_USERS, PAUSE_S, ask_to_delete
from worker.workflows.builtins.reading import column, number, rows
from worker.workflows.core.certificate import certificate_of
from worker.workflows.core.people import People, people_of

Outputs = Mapping[str, Any]

CERTIFICATE: Final = "certificate.json"
LOOK_EVERY_S: Final = 1.0
BACKLOG_EVERY_S: Final = 5.0
MAX_LOOKS: Final = 300
"""After these a deletion that the warehouse reports as failing is given up."""
MAX_ROUNDS: Final = 5
"""How often visitors are looked for who became known meanwhile, and events that came late."""
REQUESTS_AT_ONCE: Final = 60
"""Requests to Amplitude in one call of the step: about a minute."""
TRIES: Final = 10
"""Requests to Amplitude in a row that may fail."""
RETRY_S: Final = 5.0


def _people(context: Context) -> People:
    tenant = context.tools.tenants.directory.by_slug.get(context.run.tenant)
    if tenant is None:
        message = f"There is no tenant {context.run.tenant} any more."
        raise StepError(message, rule="tenant_unknown")
    found = people_of(tenant.slug, context.inputs, shop_domains=tenant.shopify_shop_domains)
    if isinstance(found, str):
        raise StepError(found, rule="person_unknown")
    return found


def _bound(context: Context, noted: Outputs | None = None) -> dict[str, object]:
    """Return the parameters of this run's statements."""
    noted = noted or context.outputs["note"]
    return {
        "tenant": context.run.tenant,
        "run_id": context.run.run_id,
        "cut_off": noted["cut_off"],
        "with_shopify": noted["with_shopify"],
    }


async def _note(context: Context) -> Outputs:
    people = _people(context)
    _refuse_without_secret_key(context)
    warehouse, run = context.tools.warehouse, context.run
    outputs = {
        "cut_off": format_ts(datetime.fromtimestamp(context.started_at, UTC)),
        "people": people.shown,
        "given": len(people.digests),
        "with_shopify": people.has_shopify,
        "with_visitors": not people.is_shop,
    }
    noted = [
        {
            "tenant": run.tenant,
            "run_id": run.run_id,
            "what": what,
            "digest": digest,
            "cut_off": outputs["cut_off"],
        }
        for digest, what in people.digests.items()
    ]
    await warehouse.insert_rows("erasures", frames(noted), columns=list(noted[0]))
    if outputs["with_visitors"]:
        await warehouse.run(erasures.NOTE_VISITORS, **_bound(context, outputs))
    return outputs


def _refuse_without_secret_key(context: Context) -> None:
    """Fail before anything is deleted where Amplitude could not be asked."""
    tenant = context.tools.tenants.directory.by_slug[context.run.tenant]
    if tenant.amplitude is not None and not tenant.amplitude.secret_key:
        message = (
            "Nothing was erased: the tenant forwards to Amplitude, which deletes users only with"
            " the project's secret key. Set it (`sluice tenant set"
            f" {tenant.slug} amplitude.secret_key=…`) and start this workflow again."
        )
        raise StepError(message, rule="amplitude_secret_missing")


async def _settle(context: Context) -> Outputs | Again:
    tools, memory, bound = context.tools, dict(context.memory), _bound(context)
    now = time.time()
    wait_s = tools.settings.erase_settle_s
    if not memory:
        known = await number(tools.warehouse, erasures.NOTED_DIGESTS, **bound)
        return Again(after_s=wait_s, memory={"until": now + wait_s, "known": known, "round": 1})
    if now < memory["until"]:
        return Again(after_s=memory["until"] - now, memory=memory)
    if "backlog_until" not in memory:
        # Events that were stored meanwhile may have said whose a visitor is.
        if context.outputs["note"]["with_visitors"]:
            await tools.warehouse.run(erasures.NOTE_VISITORS, **bound)
        known = await number(tools.warehouse, erasures.NOTED_DIGESTS, **bound)
        if known > memory["known"] and memory["round"] < MAX_ROUNDS:
            again = {"until": now + wait_s, "known": known, "round": memory["round"] + 1}
            return Again(after_s=wait_s, memory=again)
        memory["known"] = known
        memory["backlog_until"] = now + tools.settings.erase_backlog_wait_s
    older = await _older_messages(context)
    if any(older.values()) and now < memory["backlog_until"]:
        return Again(after_s=BACKLOG_EVERY_S, memory=memory)
    return {
        "visitors": memory["known"] - context.outputs["note"]["given"],
        "shared_visitors": await number(tools.warehouse, erasures.SHARED_VISITORS, **bound),
        "older_messages": older,
    }


async def _older_messages(context: Context) -> dict[str, bool | None]:
    """Say of each subscription whether messages from before the cut-off wait; None: unknown."""
    older: dict[str, bool | None] = {}
    for subscription in TOPICS["events"]:
        try:
            backlog = await context.tools.queue.backlog(subscription)
        except QueueUnavailableError:
            older[subscription] = None
            continue
        oldest_at = time.time() - backlog.oldest_age_s
        older[subscription] = backlog.messages > 0 and oldest_at <= context.started_at
    return older


async def _aim(context: Context) -> Outputs:
    await _take_aim(context)
    outputs: dict[str, Any] = {"counts": await _counts(context)}
    if not context.outputs["note"]["with_visitors"]:  # a whole shop is erased
        found = await number(context.tools.warehouse, erasures.SHOPLESS, **_bound(context))
        outputs["shopless"] = found
    return outputs


async def _take_aim(context: Context) -> None:
    await context.tools.warehouse.run(erasures.AIM, **_bound(context))
    await context.tools.warehouse.run(erasures.NOTE_GONE, **_bound(context))


async def _counts(context: Context) -> dict[str, int]:
    warehouse, bound = context.tools.warehouse, _bound(context)
    return {
        table: await number(warehouse, query, **bound) for table, query in erasures.COUNTS.items()
    }


_NOBODY_ASKED: Final[Mapping[str, Any]] = {
    "after": "",
    "given": 0,
    "asked": 0,
    "unknown": 0,
    "days": [],
    "failures": 0,
}


async def _amplitude(context: Context) -> Outputs | Again:
    tools, run = context.tools, context.run
    tenant = tools.tenants.directory.by_slug.get(run.tenant)
    if tenant is None or tenant.amplitude is None:
        return {"state": "not configured"}
    _refuse_without_secret_key(context)
    memory: dict[str, Any] = {**_NOBODY_ASKED, **context.memory}
    given = _people(context).user_ids
    for _ in range(REQUESTS_AT_ONCE):
        if context.stop.is_set():
            raise StoppedError
        users, reached = await _next_users(context, given, memory)
        if not reached:
            return {
                "state": "asked",
                "users": memory["asked"],
                "unknown_there": memory["unknown"],
                "days": memory["days"],
            }
        if not users:
            memory |= reached
            continue
        asked = await ask_to_delete(tenant.amplitude, users, base_url=tools.settings.amplitude_url)
        if asked.status in {400, 401, 403, 404}:
            message = (
                f"Amplitude refused to delete users ({asked.status}), and nothing was deleted in"
                " the warehouse: check amplitude.api_key, amplitude.secret_key and"
                " amplitude.region, and start this workflow again."
            )
            raise StepError(message, rule="amplitude_refused")
        if asked.status != 200:
            memory["failures"] += 1
            if memory["failures"] > TRIES:
                message = f"Amplitude did not take the request to delete users ({asked.status})."
                raise StepError(message, attribution="platform", rule="amplitude_unavailable")
            return Again(after_s=max(asked.retry_after_s, RETRY_S), memory=memory)
        memory |= reached
        memory["failures"] = 0
        memory["asked"] += len(users)
        memory["unknown"] += asked.unknown
        memory["days"] = sorted({*memory["days"], *asked.days})
        await asyncio.sleep(PAUSE_S)
    return Again(after_s=PAUSE_S, memory=memory)


async def _next_users(
    context: Context, given: Sequence[str], memory: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Return whom to ask for next, and how far that is (a number or a digest); empty at the end."""
    start = memory["given"]
    if start < len(given):
        users = list(given[start : start + MAX_USERS])
        return users, {"given": start + len(users)}
    found = await rows(
        context.tools.warehouse,
        erasures.USERS_ALONE,
        **_bound(context),
        after=memory["after"],
        limit=MAX_USERS,
    )
    if not found:
        return [], {}
    known = set(given)
    users = [row["found"] for row in found if row["found"] not in known]
    return users, {"after": found[-1]["digest"]}


async def _delete(context: Context) -> Outputs | Again:
    tools, bound = context.tools, _bound(context)
    if await _delete_from(context, list(erasures.PLACES)):
        return Again(after_s=LOOK_EVERY_S, memory={"looks": context.memory.get("looks", 0) + 1})
    run_ids = await column(tools.warehouse, erasures.FILES_OF_RUNS, **bound)
    for run_id in run_ids:
        await tools.files.remove(context.run.tenant, run_id)
    return {"run_files": len(run_ids)}


async def _delete_from(context: Context, tables: Sequence[str], **more: object) -> bool:
    """Order what is still there to be deleted, unless that is under way; say whether any is left.

    Raises:
        StepError: The warehouse cannot delete.
    """
    warehouse, bound = context.tools.warehouse, {**_bound(context), **more}
    found = await rows(warehouse, erasures.MUTATIONS, run_id=context.run.run_id)
    under_way = {row["table"]: row["latest_fail_reason"] for row in found}
    is_left = bool(under_way.keys() & set(tables))
    for table in tables:
        if under_way.get(table) and context.memory.get("looks", 0) > MAX_LOOKS:
            message = f"The warehouse cannot mutate {table}: {under_way[table][:300]}"
            raise StepError(message, attribution="platform", rule="deletion_failed")
        if table not in under_way and await number(warehouse, erasures.STORED[table], **bound):
            is_left = True
            await warehouse.run(erasures.DELETES[table], **bound)
    return is_left


async def _rollups(context: Context) -> Outputs | Again:
    memory = dict(context.memory)
    if await _renew_rollups(context, memory):
        return Again(after_s=LOOK_EVERY_S, memory=memory)
    at = datetime.fromisoformat(memory["computed_at"])
    return {"hours": memory["hours"], "recomputed_at": f"{format_ts(at.replace(tzinfo=UTC))}Z"}


async def _renew_rollups(context: Context, memory: dict[str, Any]) -> bool:
    """Count the touched hours anew, once, and delete the counts from before until none is left."""
    if "computed_at" not in memory:
        [(now,)] = await context.tools.warehouse.fetch(upkeep.NOW)
        memory |= {"computed_at": now, "hours": await _recompute(context)}
    return await _delete_from(context, list(erasures.OLD_COUNTS), computed_at=memory["computed_at"])


async def _recompute(context: Context) -> int:
    warehouse = context.tools.warehouse
    hours = await column(warehouse, erasures.HOURS, **_bound(context))
    kept = Rollups(warehouse)
    await kept.touch([(context.run.tenant, hour) for hour in hours])
    return await kept.recompute()


async def _verify(context: Context) -> Outputs | Again:
    """Look again; what came in spite of everything is deleted too, and counted as late."""
    tools, bound = context.tools, _bound(context)
    memory: dict[str, Any] = {"rounds": 0, "late": {}, **context.memory}
    counts = await _counts(context)
    if any(counts.values()):
        if not await rows(tools.warehouse, erasures.MUTATIONS, run_id=context.run.run_id):
            memory["rounds"] += 1
            memory.pop("computed_at", None)
            if memory["rounds"] > MAX_ROUNDS:
                message = "Events from before the cut-off come again and again: is a worker old?"
                raise StepError(message, attribution="platform", rule="not_erased")
            late = memory["late"]
            memory["late"] = {table: late.get(table, 0) + counts[table] for table in counts}
            await _take_aim(context)
            await _delete_from(context, list(erasures.PLACES))
        return Again(after_s=LOOK_EVERY_S, memory=memory)
    if memory["rounds"] and await _renew_rollups(context, memory):
        return Again(after_s=LOOK_EVERY_S, memory=memory)
    identities = await number(tools.warehouse, erasures.IDENTITIES_LEFT, **bound)
    return {
        "verified_at": f"{format_ts(datetime.now(UTC))}Z",
        "remaining": {**counts, "identities": identities},
        "late": memory["late"],
    }


async def _certify(context: Context) -> Outputs:
    tools, run = context.tools, context.run
    certificate = certificate_of(run, context.outputs)
    text = msgspec.json.format(msgspec.json.encode(certificate), indent=2)
    async with tools.files.writing(run.tenant, run.run_id, CERTIFICATE) as file:
        await file.write(text + b"\n")
    await tools.warehouse.run(erasures.FORGET_AIM, **_bound(context))
    written = {"name": CERTIFICATE, "size_bytes": file.size_bytes, "sha256": file.sha256}
    return {**certificate, "files": [written]}


BUILTIN: Final = Builtin(
    type="erase",
    steps=(
        BuiltinStep(id="note", do=_note),
        BuiltinStep(id="settle", do=_settle),
        BuiltinStep(id="aim", do=_aim),
        BuiltinStep(id="amplitude", do=_amplitude),
        BuiltinStep(id="delete", do=_delete),
        BuiltinStep(id="rollups", do=_rollups),
        BuiltinStep(id="verify", do=_verify),
        BuiltinStep(id="certify", do=_certify),
    ),
)
