"""``sluice replay``: exactly what was asked for, once, however often it is killed."""

import asyncio
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import orjson
import pytest

from sluice.core.errors import ConfigError
from sluice.core.event import Event, format_ts
from sluice.core.outcomes import Fate, Outcome
from sluice.tenants import TenantsFile
from sluice.warehouse.migrate import migrate
from tests.support.amplitude import AmplitudeProject
from tests.support.command import Ran, sluice
from tests.support.poll import poll_until
from tests.support.stack import environment
from tests.support.worker_rig import Place, Rig
from worker.core.letters import Letter, letter_of_row
from worker.core.replays import Asked, Reached
from worker.encoding import frames
from worker.lot import Lot
from worker.replay_files import ReplayFiles

TENANT = "shop"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Shop:
    """A tenant whose events are stored, and its project at the simulator."""

    rig: Rig
    amplitude: AmplitudeProject
    since: datetime

    @property
    def settings(self) -> dict[str, str]:
        return {
            "DATA_DIR": str(self.rig.settings.data_dir),
            "WAREHOUSE_URL": self.rig.settings.warehouse_url.get_secret_value(),
            "AMPLITUDE_URL": self.amplitude.url,
            "AMPLITUDE_THROTTLE_WAIT_S": "0.3",
        }

    @property
    def words(self) -> list[str]:
        """A replay of one hour."""
        until = self.since + HOUR
        return [
            *("replay", "--tenant", TENANT, "--destination", "amplitude", "--yes"),
            *("--since", self.since.isoformat(), "--until", until.isoformat()),
        ]

    @property
    def files(self) -> list[Path]:
        return sorted((self.rig.settings.data_dir / "replays").glob("*"))

    async def replay(self, *more: str) -> Ran:
        return await sluice(*self.words, *more, settings=self.settings)

    async def store(self, count: int, start: datetime, **fields: str) -> list[Event]:
        """Store events that were received within the next hour from then on."""
        events = [
            event_at(start + HOUR * number / count, user_id=f"user-{number % 97}", **fields)
            for number in range(count)
        ]
        await self.insert("events", events, list(Event.__struct_fields__))
        touched = [{"tenant": TENANT, "hour": format_ts(start)[:19]}]
        await self.insert("touched_hours", touched, ["tenant", "hour"])
        return events

    async def insert(self, table: str, rows: Sequence[object], columns: list[str]) -> None:
        await self.rig.warehouse.insert_rows(table, frames(rows), columns=columns)

    async def refuse_once(self, events: Sequence[Event], reason: str = "of old") -> None:
        """Note that the destination refused these events."""
        letters = [
            letter_of_row(
                msgspec.json.encode(event),
                reason=reason,
                envelope_id="",
                attempt=1,
                destination="amplitude",
            )
            for event in events
        ]
        await self.insert("dead_letters", letters, list(Letter.__struct_fields__))
        await self.note(events, Fate.DEAD)

    async def note(self, events: Sequence[Event], fate: Fate) -> None:
        at = format_ts(datetime.now(UTC) - MINUTE)
        rows = [
            Outcome(TENANT, one.event_id, "amplitude", fate, "", "", at, one.received_at)
            for one in events
        ]
        await self.insert("outcomes", rows, list(Outcome.__struct_fields__))

    async def letters(self) -> dict[str, str]:
        """Return the reason of each letter by its event."""
        rows = await self.rig.rows(
            "SELECT JSONExtractString(row, 'event_id'), reason FROM dead_letters FINAL"
        )
        found = dict(rows)
        assert len(found) == len(rows), "one letter for each event"
        return found

    async def totals(self) -> tuple[int, int, object]:
        """Return what the totals say, and how many rows there are."""
        stats = await self.rig.stats(tenant=TENANT)
        return stats.total_events, await self.rig.count("events"), stats.timeseries

    async def outcomes(self) -> dict[str, int]:
        rows = await self.rig.rows("SELECT outcome, count() FROM outcomes FINAL GROUP BY outcome")
        return dict(rows)

    async def taken(self) -> list[str]:
        return [event["insert_id"] for event in await self.amplitude.taken()]

    async def received(self) -> int:
        return int((await self.amplitude.counters())["received"])

    async def requests(self) -> object:
        return (await self.amplitude.counters())["requests"]


def event_at(at: datetime, *, event_type: str = "page_viewed", user_id: str = "u") -> Event:
    text = format_ts(at)
    payload = msgspec.Raw(b'{"path": "/a\\/b", "price": 1.50}')
    return Event(TENANT, str(uuid.uuid4()), user_id, "", event_type, text, text, "batch", payload)


def ids(*groups: Sequence[Event]) -> list[str]:
    return sorted(event.event_id for group in groups for event in group)


@pytest.fixture
async def shop(place: Place, amplitude: AmplitudeProject) -> AsyncIterator[Shop]:
    async with place.rig() as rig:
        await migrate(rig.warehouse)
        tenants = TenantsFile(rig.settings.tenants_path)
        tenants.add_tenant(TENANT)
        tenants.set_value(TENANT, "amplitude.api_key", amplitude.api_key)
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        yield Shop(rig, amplitude, now - 3 * HOUR)


async def test_replay_sends_exactly_the_events_of_the_hour_and_changes_no_total(shop: Shop) -> None:
    await shop.store(50, shop.since - HOUR)
    inside = await shop.store(200, shop.since)
    after = await shop.store(50, shop.since + HOUR)
    assert after[0].received_at == format_ts(shop.since + HOUR), "the hour's end is not in it"
    await shop.insert("events", inside[:20], list(Event.__struct_fields__))
    await store_later_copy(shop, inside[0])
    before = await shop.totals()
    assert before[0] == 300

    ran = await shop.replay()

    assert ran.status == 0, ran
    assert "shop: 200 events received from" in ran.stdout
    assert "200 never forwarded" in ran.stdout
    assert "delivered 200, filtered 0, refused 0, waiting 0" in ran.stdout
    assert sorted(await shop.taken()) == ids(inside)
    assert await shop.received() == 200
    assert await shop.outcomes() == {"delivered": 200}
    assert await shop.totals() == before
    assert shop.files == []
    received_at = {event.event_id: event.received_at for event in inside}
    last: dict[str, str] = {}
    for one in await shop.amplitude.taken():
        assert last.get(one["user_id"], "") < received_at[one["insert_id"]], "each user's in order"
        last[one["user_id"]] = received_at[one["insert_id"]]


async def store_later_copy(shop: Shop, first: Event) -> None:
    """Store an event again in a later minute of its hour, as the worker notes such a copy."""
    received_at = format_ts(shop.since + 10 * MINUTE)
    copy = msgspec.structs.replace(first, received_at=received_at, event_type="copied")
    await shop.insert("events", [copy], list(Event.__struct_fields__))
    row = {
        "tenant": TENANT,
        "hour": format_ts(shop.since)[:19],
        "event_type": "copied",
        "event_id": first.event_id,
        "received_at": received_at,
    }
    await shop.insert("event_duplicates", [row], list(row))


async def test_dry_run_and_a_question_nobody_answers_send_nothing(shop: Shop) -> None:
    events = await shop.store(30, shop.since)
    await shop.note(events[:10], Fate.DELIVERED)
    await shop.refuse_once(events[10:15])
    ran = await shop.replay("--dry-run", "--json")
    assert ran.status == 0
    assert ran.json["matching"] == 30
    before = {"delivered": 10, "parked": 0, "dead": 5, "filtered": 0, "never_forwarded": 15}
    assert ran.json["before"] == before
    assert ran.json["sent"] is False
    words = [word for word in shop.words if word != "--yes"]
    asked = await sluice(*words, settings=shop.settings)
    assert asked.status == 2
    assert "nobody can be asked here: say --yes" in asked.error
    assert await shop.requests() == {}
    assert shop.files == []


@pytest.mark.long(35)
async def test_replay_that_is_killed_three_times_sends_exactly_the_hour_without_starting_over(
    shop: Shop,
) -> None:
    await shop.store(500, shop.since - HOUR)
    inside = await shop.store(14_000, shop.since)
    reached: list[int] = []
    words = [*shop.words, "--rate", "1500"]
    for _ in range(3):
        at = max(reached, default=0)
        reached.append(await replay_until_stopped(shop, words, beyond=at, within_s=1.0))

    ran = await sluice(*words, settings=shop.settings)

    assert ran.status == 0, ran
    assert reached == sorted(set(reached)), "each run went on from where the last one was"
    assert f"{reached[-1]:,} read so far; it goes on there" in ran.stdout
    assert sorted(await shop.taken()) == ids(inside)
    # Of what was under way when it was killed, a page at most, some went twice.
    assert await shop.received() <= 14_000 + 3 * 3_000
    assert await shop.outcomes() == {"delivered": 14_000}
    assert shop.files == []


async def replay_until_stopped(
    shop: Shop,
    words: Sequence[str],
    *,
    beyond: int,
    number: signal.Signals = signal.SIGKILL,
    within_s: float = 0,
) -> int:
    """Run it until it got further, stop it at some moment after; return how far it was."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluice.cli", *words),
        env=environment(shop.settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    def read() -> int:
        files = [file for file in shop.files if file.suffix == ".json"]
        return int(orjson.loads(files[0].read_bytes())["read"]) if files else 0

    await poll_until(lambda: read() > beyond, within_s=30, what="it got further")
    await asyncio.sleep(within_s * random.random())  # noqa: S311 - guards nothing
    process.send_signal(number)
    assert await process.wait() == (-number if number == signal.SIGKILL else 1)
    return read()


async def test_replay_that_is_asked_to_stop_goes_on_later(shop: Shop) -> None:
    events = await shop.store(500, shop.since)
    reached = [
        await replay_until_stopped(shop, [*shop.words, "--rate", "100"], number=number, beyond=at)
        for number, at in ((signal.SIGTERM, 0), (signal.SIGINT, 200))
    ]
    assert reached == [200, 400]
    ran = await shop.replay()
    assert ran.status == 0
    assert "delivered 500, filtered 0, refused 0, waiting 0" in ran.stdout
    assert sorted(await shop.taken()) == ids(events)


async def test_replay_of_some_event_types_leaves_the_others(shop: Shop) -> None:
    await shop.store(10, shop.since)
    wanted = await shop.store(10, shop.since, event_type='it\'s "odd"\\')
    other = await shop.store(5, shop.since, event_type="order_placed")
    ran = await shop.replay("--event-type", 'it\'s "odd"\\', "--event-type", "order_placed")
    assert ran.status == 0, ran
    assert sorted(await shop.taken()) == ids(wanted, other)


async def test_dead_letters_leave_as_they_are_delivered_and_stay_where_refused_again(
    shop: Shop,
) -> None:
    await shop.store(20, shop.since)
    good = await shop.store(10, shop.since)
    bad = await shop.store(2, shop.since, event_type="bad")
    elsewhen = await shop.store(3, shop.since + HOUR)
    await shop.refuse_once([*good, *bad, *elsewhen])
    await shop.amplitude.set(bad_field={"field": "event_type", "event_types": ["bad"]})

    ran = await shop.replay("--dead-letters", "--json")

    assert ran.status == 1, "something was refused again"
    assert (ran.json["delivered"], ran.json["refused"]) == (10, 2)
    assert sorted(await shop.taken()) == ids(good)
    letters = await shop.letters()
    assert sorted(letters) == ids(bad, elsewhen)
    assert {letters[one.event_id] for one in elsewhen} == {"of old"}
    assert all(letters[one.event_id].startswith("Amplitude answered 400") for one in bad)
    assert await shop.outcomes() == {"delivered": 10, "dead": 5}

    await shop.amplitude.set(bad_field=None)
    assert (await shop.replay("--dead-letters")).status == 0
    assert sorted(await shop.letters()) == ids(elsewhen)


async def test_letter_also_leaves_when_its_event_is_delivered_with_all_others(shop: Shop) -> None:
    events = await shop.store(10, shop.since)
    await shop.refuse_once(events[:4])
    await shop.amplitude.set(bad_field={"field": "user_id", "user_ids": ["user-0"]})
    ran = await shop.replay()
    assert ran.status == 1
    assert "1 rejected: Amplitude answered 400" in ran.stdout
    assert sorted(await shop.letters()) == [events[0].event_id]


async def test_what_was_delivered_once_stays_so_when_it_is_refused_or_filtered_now(
    shop: Shop,
) -> None:
    events = await shop.store(4, shop.since)
    dropped = await shop.store(3, shop.since, event_type="noise")
    await shop.note([*events, *dropped[:2]], Fate.DELIVERED)
    tenants = TenantsFile(shop.rig.settings.tenants_path)
    tenants.set_value(TENANT, "amplitude.drop", "noise")
    await shop.amplitude.set(bad_field={"field": "user_id", "user_ids": ["user-0"]})
    ran = await shop.replay("--json")
    assert ran.status == 1
    assert (ran.json["delivered"], ran.json["filtered"], ran.json["refused"]) == (3, 3, 1)
    assert await shop.outcomes() == {"delivered": 6, "filtered": 1}
    assert await shop.letters() == {}


async def test_throttled_users_wait_in_place_and_all_is_delivered(shop: Shop) -> None:
    events = await shop.store(400, shop.since)
    users = [f"user-{number}" for number in range(10)]
    await shop.amplitude.set(throttle={"user_ids": users, "for_s": 0.8})
    ran = await shop.replay("--json")
    assert ran.status == 0, ran
    assert sorted(await shop.taken()) == ids(events)
    assert await shop.outcomes() == {"delivered": 400}


async def test_users_over_their_quota_are_named_and_wait_for_the_same_command(shop: Shop) -> None:
    events = await shop.store(97 * 2, shop.since)
    await shop.amplitude.set(over_quota={"user_ids": {"user-3": 500_001}})
    ran = await shop.replay("--json")
    assert ran.status == 1
    assert (ran.json["delivered"], ran.json["waiting"]) == (192, 2)
    assert ran.json["problem"] == "2 events wait (1 user: daily_quota)"
    await shop.amplitude.set(release=True)
    again = await shop.replay("--json")
    assert again.status == 0, again
    assert (again.json["delivered"], again.json["waiting"]) == (194, 0)
    assert sorted(await shop.taken()) == ids(events)
    assert await shop.received() == len(events)


async def test_refused_key_stops_it_and_the_same_command_goes_on_once_it_is_mended(
    shop: Shop,
) -> None:
    events = await shop.store(100, shop.since)
    await shop.amplitude.set(revoked=True)
    ran = await shop.replay()
    assert ran.status == 1
    assert "Not everything was sent: Amplitude answered 400: Invalid API key: `sluice" in ran.stderr
    assert shop.amplitude.api_key not in ran.stdout + ran.stderr
    await shop.amplitude.set(revoked=False)
    assert (await shop.replay()).status == 0
    assert sorted(await shop.taken()) == ids(events)
    assert shop.files == []


async def test_amplitude_that_fails_for_a_while_loses_nothing(shop: Shop) -> None:
    events = await shop.store(300, shop.since)
    await shop.amplitude.set(fault="503", times=8)
    assert (await shop.replay()).status == 0
    assert sorted(await shop.taken()) == ids(events)


async def test_amplitude_that_is_away_ends_it_after_the_time_given(shop: Shop) -> None:
    await shop.store(10, shop.since)
    shop.amplitude.url = "http://127.0.0.1:9"
    ran = await shop.replay("--give-up-after", "1s")
    assert ran.status == 1
    assert "nothing could be delivered for 1 s (unavailable: Amplitude could not be" in ran.stderr


async def test_same_replay_does_not_run_twice_at_once(shop: Shop) -> None:
    await shop.store(10, shop.since)
    asked = Asked(
        tenant=TENANT,
        destination="amplitude",
        since=shop.since.isoformat(),
        until=(shop.since + HOUR).isoformat(),
        event_types=(),
        dead_letters=False,
    )
    files = ReplayFiles(shop.rig.settings.replays_path, asked)
    lot = Lot(files.lot_path, max_bytes=2**20)
    assert await lot.open(asyncio.Event())
    for words in ([], ["--restart"]):
        ran = await shop.replay(*words)
        assert ran.status == 2
        assert "another process runs this very replay" in ran.error
    await lot.close()
    assert await shop.requests() == {}
    assert (await shop.replay("--restart")).status == 0


async def test_progress_of_another_replay_is_not_gone_on_with(tmp_path: Path) -> None:
    asked = Asked(
        tenant=TENANT,
        destination="amplitude",
        since="7d",
        until="now",
        event_types=(),
        dead_letters=False,
    )
    other = msgspec.structs.replace(asked, tenant="other")
    at = "2026-01-01T00:00:00.000000"
    reached = Reached(asked=other, since=at, until=at, started_at=at, after_at=at)
    await ReplayFiles(tmp_path, asked).save(reached)
    with pytest.raises(ConfigError, match="of another replay: --restart"):
        ReplayFiles(tmp_path, asked).load()
