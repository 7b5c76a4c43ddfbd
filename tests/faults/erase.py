"""Erases one person among a million rows, and looks for what is left.

``python -m tests.faults.erase`` prints figures, and what is wrong.

Rows are inserted in many parts that nobody merges, a tenth of the person's twice; events of the
person wait in the queue; neighbours have ids that are nearly the same. Then a worker runs the steps
while another one stores what waits.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import uvloop

from sluice.core.envelope import encode, seal
from sluice.core.event import Event
from sluice.tenants import TenantsFile
from tests.support.builtin_steps import Steps, new_run, tools_of
from tests.support.warehouse import warehouse_process
from tests.support.worker_rig import TENANT, Place, Rig, hours_ago, make_event
from worker.encoding import frames
from worker.workflows.builtins import data_request
from worker.workflows.builtins.erase import BUILTIN

PERSON: Final = "nora@example.com"
NEIGHBOURS: Final = ("nora@example.co", "Nora@example.com", "nora@exаmple.com", "nora@example.comx")  # noqa: RUF001
HOURS: Final = 20
PART: Final = 25_000


def say(text: str) -> None:
    """Report at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def fill(rig: Rig, rows: int, of_person: int) -> dict[str, int]:
    """Insert events, the person's spread over all parts; return how many each user has."""
    counts: dict[str, int] = {}
    every = rows // of_person
    times = [hours_ago(hour) for hour in range(1, HOURS)]
    for start in range(0, rows, PART):
        part: list[Event] = []
        for number in range(start, min(start + PART, rows)):
            user = f"user-{number % 5_000}"
            if number % every == 0:
                user = PERSON
            elif number % every == 1:
                user = NEIGHBOURS[number // every % len(NEIGHBOURS)]
            client_id = str(number) if number % 3 == 0 else None
            at = times[number % len(times)]
            part.append(make_event(user_id=user, client_id=client_id, received_at=at))
            counts[user] = counts.get(user, 0) + 1
        await rig.warehouse.insert_rows("events", await asyncio.to_thread(frames, part),
                                        columns=list(Event.__struct_fields__))  # fmt: skip
        named = [
            {
                "tenant": one.tenant,
                "event_id": one.event_id,
                "event_type": one.event_type,
                "received_at": one.received_at,
            }
            for one in part
            if one.event_id[14] == "5"
        ]
        await rig.warehouse.insert_rows("event_keys", frames(named), columns=list(named[0]))
        twice = [one for one in part if one.user_id == PERSON][::10]
        if twice:
            await rig.warehouse.insert_rows(
                "events", frames(twice), columns=list(Event.__struct_fields__)
            )
    return counts


async def trial(folder: Path, url: str, rows: int, of_person: int) -> list[str]:
    """Return what was wrong; print the figures."""
    problems: list[str] = []

    def check(what: str, found: object, wanted: object) -> None:
        if found != wanted:
            problems.append(f"{what}: {found!r} instead of {wanted!r}")

    place = Place(folder, url)
    async with place.rig(erase_settle_s=2.5, erase_backlog_wait_s=5) as rig:
        TenantsFile(rig.settings.tenants_path).add_tenant(TENANT)
        await rig.deliver(rig.destination(), make_event(user_id="somebody", tenant="other"))
        never = "ALTER TABLE events MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1"
        await rig.warehouse.command(never)
        began = time.monotonic()
        counts = await fill(rig, rows, of_person)
        parts = await rig.rows(
            "SELECT count() FROM system.parts WHERE database = currentDatabase()"
            " AND table = 'events' AND active"
        )
        say(
            f"{rows:,} events in {parts[0][0]} parts, {counts[PERSON]:,} of the person:"
            f" {time.monotonic() - began:.1f} s"
        )
        tools = tools_of(rig)
        asked = Steps(data_request.BUILTIN, tools, new_run("data-request"), {"user_id": PERSON})
        began = time.monotonic()
        given = await asked.all()
        say(
            f"data-request: {given['records']['events']:,} events,"
            f" {given['files'][0]['size_bytes']:,} bytes, {time.monotonic() - began:.1f} s"
        )
        check("events given out", given["records"]["events"], counts[PERSON])
        waiting = [make_event(user_id=PERSON) for _ in range(500)]
        for envelope_rows in encode("events", waiting):
            await rig.queue.publish("events", [seal(envelope_rows, envelope_id="w")])
        steps = Steps(BUILTIN, tools, new_run("erase"), {"user_ids": [PERSON]})
        for step in BUILTIN.steps:
            began = time.monotonic()
            await steps.one(step.id)
            say(f"  {step.id}: {time.monotonic() - began:.1f} s")
            if step.id == "rollups":
                async with rig.worker():
                    await rig.publish(make_event(user_id=PERSON, event_type="new"))
                    await rig.drained()
        certificate = steps.outputs["certify"]
        deleted = {one["place"].partition(".")[2]: one["deleted"] for one in certificate["places"]}
        say(f"  certificate: {deleted}, rollups {certificate['rollups']}")
        named = sum(number % 3 == 0 for number in range(0, rows, rows // of_person))
        check("events deleted", deleted["events"], counts[PERSON])
        check("keys deleted", deleted["event_keys"], named)
        check("remaining", {one["remaining"] for one in certificate["places"]}, {0})
        left = await rig.rows("SELECT user_id, count() FROM events WHERE tenant = 'acme'"
                              " GROUP BY user_id")  # fmt: skip
        check("who is left", dict(left), {**counts, PERSON: 1})
        newest = await rig.rows(
            "SELECT DISTINCT event_type FROM events WHERE user_id = 'nora@example.com'"
        )
        check("what the person has", newest, [("new",)])
        stats = await rig.stats("24h")
        check("total", stats.total_events, rows - counts[PERSON] + 1)
        gone = await rig.rows("SELECT uniqExact(event_id) FROM accepted_erased")
        check("noted for the ledger", gone, [(counts[PERSON] + len(waiting),)])
    return problems


def main() -> None:
    """Run it and say what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--person", type=int, default=10_000, help="events of the person")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-erase-") as folder,
        warehouse_process(Path(folder) / "engine") as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        problems = runner.run(trial(Path(folder), url, options.rows, options.person))
    for problem in problems:
        say(f"WRONG: {problem}")
    say("nothing is left and nothing is missing" if not problems else "failed")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
