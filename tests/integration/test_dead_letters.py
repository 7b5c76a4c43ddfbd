"""Dead letters by pages, and the table of error types, as the console reads them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from msgspec import structs

from sluice.core.errors import ERRORS, ErrorType
from sluice.warehouse.client import Warehouse
from tests.support.credentials import TokenMaker
from tests.support.gateway import running_gateway
from tests.support.segops import Segops, assert_refused
from tests.support.shared import SharedParts
from worker.core.letters import Letter, letter_of_row
from worker.encoding import frames

LETTERS = "/api/ingestion/dead-letters"
ERROR_TYPES = "/api/ingestion/error-types"


@pytest.fixture
async def warehouse(shared: SharedParts) -> AsyncIterator[Warehouse]:
    """The warehouse of the running stack, as the worker writes to it."""
    async with Warehouse(shared.files) as opened:
        yield opened


def letter(tenant: str, name: str, destination: str = "amplitude", **fields: object) -> Letter:
    """Return the letter of an event of that type."""
    row = {
        "tenant": tenant,
        "event_id": str(uuid4()),
        "event_type": name,
        "received_at": "2026-04-25T13:30:02.000001",
        "source": "track",
        "payload": {"secret": "hush"},
        **fields,
    }
    said = {"reason": f"no {name}", "envelope_id": str(uuid4())}
    return letter_of_row(orjson.dumps(row), attempt=1, destination=destination, **said)


async def bury(warehouse: Warehouse, *letters: Letter) -> None:
    """Write letters, each in an insert of its own so that each has its own time."""
    for one in letters:
        columns = list(Letter.__struct_fields__)
        await warehouse.insert_rows("dead_letters", frames([one]), columns=columns)


async def page(api: Segops, query: str = "") -> Any:
    """Return one page."""
    answer = await api.get(LETTERS + query)
    assert answer.status == 200, answer
    return answer.json


def names(found: Any) -> list[str]:
    """Return the event types of a page."""
    return [one["event_type"] for one in found["dead_letters"]]


async def test_tenant_sees_its_dead_letters_and_nobody_elses(
    api: Segops, shared: SharedParts, warehouse: Warehouse
) -> None:
    assert await page(api) == {"dead_letters": [], "total": 0, "next_token": None}
    async with shared.new_client() as other:
        await bury(warehouse, letter(other.slug, "theirs"), letter(api.slug, "ours"))
        assert names(await page(other)) == ["theirs"]
        found = await page(api)
    [one] = found["dead_letters"]
    assert (found["total"], found["next_token"]) == (1, None)
    assert one.pop("event_id")
    assert one.pop("dead_at").endswith("Z")
    assert one == {
        "destination": "amplitude",
        "event_type": "ours",
        "reason": "destination_rejected",
        "detail": "no ours",
        "received_at": "2026-04-25T13:30:02.000001Z",
        "source": "track",
    }


async def test_pages_stay_right_while_letters_come(api: Segops, warehouse: Warehouse) -> None:
    await bury(warehouse, *(letter(api.slug, f"n-{number}") for number in range(5)))
    first = await page(api, "?limit=2")
    assert (names(first), first["total"]) == (["n-4", "n-3"], 5)
    await bury(warehouse, letter(api.slug, "new"), letter(api.slug, "other", "warehouse"))
    second = await page(api, f"?limit=2&next_token={first['next_token']}")
    assert names(second) == ["n-2", "n-1"]
    third = await page(api, f"?limit=2&next_token={second['next_token']}")
    assert (names(third), third["next_token"]) == (["n-0"], None)
    assert names(await page(api, "?destination=warehouse")) == ["other"]
    assert names(await page(api, "?destination=amplitude&limit=1")) == ["new"]
    assert len((await page(api, "?limit=100000"))["dead_letters"]) == 7


async def test_letters_written_in_one_moment_are_each_on_one_page(
    api: Segops, warehouse: Warehouse
) -> None:
    letters = [letter(api.slug, f"n-{number}") for number in range(25)]
    columns = list(Letter.__struct_fields__)
    await warehouse.insert_rows("dead_letters", frames(letters), columns=columns)
    seen: list[str] = []
    token: str | None = ""
    while token is not None:
        found = await page(api, f"?limit=4&next_token={token}")
        seen += names(found)
        token = found["next_token"]
    assert sorted(seen) == sorted(f"n-{number}" for number in range(25))


async def test_token_of_another_tenant_shows_nothing_of_it(
    api: Segops, shared: SharedParts, warehouse: Warehouse
) -> None:
    async with shared.new_client() as other:
        await bury(warehouse, *(letter(other.slug, f"n-{number}") for number in range(3)))
        token = (await page(other, "?limit=1"))["next_token"]
    assert await page(api, f"?limit=1&next_token={token}") == {
        "dead_letters": [],
        "total": 0,
        "next_token": None,
    }


async def test_letter_of_a_row_that_cannot_be_read_is_shown_as_far_as_it_goes(
    api: Segops, warehouse: Warehouse
) -> None:
    odd = letter(api.slug, "x" * 300, received_at="soon", source=7, event_id="e" * 5_000)
    broken = structs.replace(odd, letter_id=str(uuid4()), row="\\xff{")
    await bury(warehouse, odd, broken)
    worse, one = (await page(api))["dead_letters"]
    assert (one["received_at"], one["source"]) == ("", "7")
    assert (len(one["event_type"]), len(one["event_id"])) == (200, 128)
    assert (worse["event_id"], worse["event_type"], worse["received_at"]) == ("", "", "")


async def test_dead_letters_are_refused_like_every_read(client: Segops, sign: TokenMaker) -> None:
    assert_refused(await client.ask("GET", LETTERS), 401, "auth_missing")
    runs_only = sign({"tenant": client.slug, "scope": "runs", "exp": 4_000_000_000})
    assert_refused(await client.get(LETTERS, token=runs_only), 403, "scope_denied")
    assert_refused(await client.get(f"{LETTERS}?limit=0"), 400, "limit_invalid", field="limit")
    for query, field in (("destination=A%27", "destination"), ("next_token=x", "next_token")):
        answer = await client.get(f"{LETTERS}?{query}")
        assert_refused(answer, 400, "parameter_invalid", field=field)
    bearer = {"Authorization": f"Bearer {client.read_token}"}
    head = await client.ask("HEAD", LETTERS + "/", headers=bearer)
    assert (head.status, head.body) == (200, b"")
    assert (await client.ask("DELETE", LETTERS, headers=bearer)).status == 405


async def test_dead_letters_are_unavailable_when_the_warehouse_is_away(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.ask("GET", LETTERS, gateway.bearer())
        assert_refused(answer, 503, "warehouse_unavailable")


async def test_anybody_may_read_what_error_types_mean(client: Segops) -> None:
    answer = await client.ask("GET", ERROR_TYPES)
    assert answer.status == 200
    found = {one["type"]: one for one in answer.json["error_types"]}
    assert set(found) == {name.value for name in ErrorType}
    for name, spec in ERRORS.items():
        one = found[name]
        assert (one["meaning"], one["remedy"]) == (spec.meaning, spec.remedy)
        assert (one["who"], one["stage"], one["status"]) == (spec.actor, spec.stage, spec.status)
    assert found["user_id_missing"]["title"] == "User ID missing"
    assert found["json_invalid"]["title"] == "JSON invalid"
    head = await client.ask("HEAD", ERROR_TYPES + "/")
    assert (head.status, head.body) == (200, b"")
    assert (await client.ask("POST", ERROR_TYPES)).status == 405
