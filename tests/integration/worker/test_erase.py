"""The built-in ``erase``: a person is gone everywhere, and everybody else is still there."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from sluice.core.event import Event
from sluice.tenants import TenantsFile
from tests.support.builtin_steps import Steps, new_run, tools_of
from tests.support.worker_rig import TENANT, Place, Rig, hours_ago, make_event
from worker.workflows.builtins.erase import BUILTIN

QUICK = {"erase_settle_s": 0.05, "erase_backlog_wait_s": 0.5}
NORA = "nora@example.com"
NEIGHBOURS = (
    "nora@example.co",
    "nora@example.com.au",
    "Nora@example.com",
    "xnora@example.com",
    " nora@example.com",
    "nora@exаmple.com",  # noqa: RUF001 - a Cyrillic letter is the point
    "no\u0301ra@example.com",
    "nóra@example.com",
)


@pytest.fixture
async def rig(place: Place) -> AsyncIterator[Rig]:
    async with place.rig(**QUICK) as opened:
        tenants = TenantsFile(opened.settings.tenants_path)
        tenants.add_tenant(TENANT)
        tenants.add_tenant("other")
        yield opened


def erasing(rig: Rig, *user_ids: str, times: int = 1, **shopify: Any) -> Steps:
    inputs: dict[str, Any] = {"user_ids": list(user_ids)} if user_ids else {}
    if shopify:
        inputs["shopify"] = shopify
    return Steps(BUILTIN, tools_of(rig), new_run("erase"), inputs, times=times)


def identified(user_id: str, **more: Any) -> Event:
    return make_event(
        event_type="context_identified", user_id=user_id, payload=b'{"name":"x"}', **more
    )


async def users_of(rig: Rig, table: str = "events") -> dict[tuple[str, str], int]:
    rows = await rig.rows(f"SELECT tenant, user_id, count() FROM {table} GROUP BY ALL")  # noqa: S608
    return {(tenant, user): count for tenant, user, count in rows}


async def test_person_is_gone_from_every_table_and_neighbours_are_untouched(rig: Rig) -> None:
    destination = rig.destination()
    of_nora = [
        make_event(user_id=NORA, received_at=hours_ago(3), client_id="a-1"),
        make_event(user_id=NORA, received_at=hours_ago(2)),
        identified(NORA, received_at=hours_ago(1)),
    ]
    others = [make_event(user_id=user, received_at=hours_ago(2)) for user in NEIGHBOURS]
    others += [identified(user, received_at=hours_ago(2)) for user in NEIGHBOURS]
    others += [make_event(user_id=NORA, tenant="other", received_at=hours_ago(2))]
    await rig.deliver(destination, *of_nora, *others)
    before = await rig.stats("24h")
    certificate = await erasing(rig, NORA).all()
    assert await users_of(rig) == {(TENANT, user): 2 for user in NEIGHBOURS} | {("other", NORA): 1}
    traits = await users_of(rig, "users")
    assert traits == {(TENANT, user): 1 for user in NEIGHBOURS}
    assert await rig.rows("SELECT count() FROM event_keys") == [(0,)]
    after = await rig.stats("24h")
    assert (before.total_events, after.total_events) == (19, 16)
    deleted = {one["place"]: one["deleted"] for one in certificate["places"]}
    assert deleted == {
        "clickhouse.events": 3,
        "clickhouse.event_keys": 1,
        "clickhouse.event_duplicates": 0,
        "clickhouse.outcomes": 0,
        "clickhouse.user_traits": 2,
        "clickhouse.errors": 0,
        "clickhouse.dead_letters": 0,
    }
    assert {one["remaining"] for one in certificate["places"]} == {0}
    assert NORA not in msgspec.json.encode(certificate).decode()
