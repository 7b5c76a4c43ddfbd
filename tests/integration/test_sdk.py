"""The official SDKs, unmodified; cases 114 to 117."""

import asyncio
from datetime import UTC, datetime, timedelta

import orjson
import segops
import segops_admin

from tests.support.client_app import ClientApp
from tests.support.poll import poll_until
from tests.support.segops import VISIBLE_WITHIN_S, Segops


def open_client(
    api: Segops, errors: list[BaseException], *, batch: bool = True, batch_size: int = 20
) -> segops.SegOpsClient:
    """Return a client of the SDK, set up as its README shows."""
    return segops.SegOpsClient(
        api.url, api.api_key, batch=batch, batch_size=batch_size, on_error=errors.append
    )


async def test_sdk_tracks_and_identifies_and_all_is_read_back(api: Segops) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        client = open_client(api, errors)
        client.track(user_id="u-1", event_type="order_placed", payload={"total": 89.95, "é": "😀"})
        client.track(segops.Event(user_id="u-1", event_type="page_viewed"))
        client.track(
            {"user_id": "u-2", "event_type": "page_viewed", "occurred_at": "2026-04-25T14:32:00Z"}
        )
        client.identify(user_id="u-1", traits={"plan": "starter", "seats": 3})
        client.shutdown()

    await asyncio.to_thread(use)
    assert errors == []
    rows = await api.rows_when(4)
    assert sorted((row.user_id, row.event_type) for row in rows) == [
        ("u-1", "context_identified"),
        ("u-1", "order_placed"),
        ("u-1", "page_viewed"),
        ("u-2", "page_viewed"),
    ]
    by_type = {row.event_type: row for row in rows if row.user_id == "u-1"}
    assert by_type["order_placed"].payload == r'{"total": 89.95, "\u00e9": "\ud83d\ude00"}'
    sent_at = datetime.fromisoformat(by_type["order_placed"].occurred_at[:26]).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - sent_at) < timedelta(minutes=1)

    async def shown() -> bool:
        return (await api.users()) == {"u-1": {"plan": "starter", "seats": 3}}

    await poll_until(shown, within_s=VISIBLE_WITHIN_S, what="users shows the traits")

    async def counted() -> bool:
        stats = await api.stats()
        return (stats["total_events"], stats["unique_users"]) == (4, 2)

    await poll_until(counted, within_s=VISIBLE_WITHIN_S, what="stats show 4 events of 2 users")


async def test_sdk_sends_single_events_when_batching_is_off(api: Segops) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        with open_client(api, errors, batch=False) as client:
            client.track(user_id="u-1", event_type="page_viewed", payload={"n": float("nan")})
            client.track(user_id="u-1", event_type="page_viewed", payload={"s": "\ud800"})

    await asyncio.to_thread(use)
    assert errors == []
    rows = await api.rows_when(2)
    payloads = [orjson.loads(row.payload) for row in rows]
    assert {"n": None} in payloads
    assert {"s": "\ufffd"} in payloads
    assert {row.source for row in rows} == {"track"}


async def test_case_114_45_tracks_and_shutdown_are_45_events(api: Segops) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        client = open_client(api, errors)
        for n in range(45):
            client.track(user_id=f"u-{n}", event_type="page_viewed", payload={"n": n})
        client.shutdown()

    await asyncio.to_thread(use)
    assert errors == []
    rows = await api.rows_when(45)
    assert {row.user_id for row in rows} == {f"u-{n}" for n in range(45)}


async def test_case_115_public_key_mints_once_and_stamps_its_user(app: ClientApp) -> None:
    await app.set_key(requires_signature="true")
    errors: list[BaseException] = []
    asked: list[segops.UserContext] = []

    def who_is_here() -> segops.UserContext:
        signed = segops.sign_user_id(app.secret, "user-123")
        asked.append(
            segops.UserContext(
                user_id="user-123",
                user_id_sig=str(signed["user_id_sig"]),
                user_id_ts=int(signed["user_id_ts"]),
            )
        )
        return asked[-1]

    def use() -> None:
        client = segops.SegOpsClient(
            app.api.url, app.key, get_user=who_is_here, batch_size=20, on_error=errors.append
        )
        for n in range(45):
            client.track(user_id=f"u-{n}", event_type="page_viewed", payload={"n": n})
        client.identify(user_id="nobody", traits={"plan": "starter"})
        client.shutdown()

    await asyncio.to_thread(use)
    assert errors == []
    assert len(asked) == 1, "one mint for all flushes"
    rows = await app.api.rows_when(46)
    assert {row.user_id for row in rows} == {"user-123"}
    assert {row.source for row in rows} == {"batch"}

    async def shown() -> bool:
        return (await app.api.users()) == {"user-123": {"plan": "starter"}}

    await poll_until(shown, within_s=VISIBLE_WITHIN_S, what="users shows the traits")


async def test_sdk_mints_again_when_its_session_is_no_longer_taken(app: ClientApp) -> None:
    errors: list[BaseException] = []

    def use() -> int:
        minted = 0

        def who_is_here() -> segops.UserContext:
            nonlocal minted
            minted += 1
            return segops.UserContext(anonymous_id="visitor")

        client = segops.SegOpsClient(
            app.api.url, app.key, get_user=who_is_here, batch=False, on_error=errors.append
        )
        client.track(user_id="", event_type="page_viewed")
        # As if it had been kept past its end: the answer is 401, and the SDK asks for another.
        assert client._session is not None
        client._session._token = ended
        client.track(user_id="", event_type="page_viewed")
        client.shutdown()
        return minted

    other = await ClientApp.of(app.api, app.credentials)
    ended = await other.token()
    await other.revoke()
    assert await asyncio.to_thread(use) == 2
    assert errors == []
    rows = await app.api.rows_when(2)
    assert {row.user_id for row in rows} == {"anon_visitor"}


async def test_case_116_batch_of_600_is_one_400_that_the_sdk_raises(api: Segops) -> None:
    """A documented limit: the SDK has no upper bound, the API takes 500."""
    errors: list[BaseException] = []

    def use() -> None:
        client = open_client(api, errors, batch_size=600)
        for n in range(600):
            client.track(user_id=f"u-{n}", event_type="page_viewed")
        client.shutdown()

    await asyncio.to_thread(use)
    (error,) = errors
    assert "HTTP 400" in str(error)
    assert "500" in str(error)
    await api.assert_stored_only([])


async def test_case_117_admin_sdk_parses_health(client: Segops) -> None:
    admin = segops_admin.SegOpsAdmin(client.api_key, base_url=f"{client.url}/api")

    def is_well() -> object:
        return admin.http.request("GET", "/ingestion/health/")

    health = await asyncio.to_thread(is_well)
    assert health == {"pubsub_topic": "ok", "worker": "ok", "clickhouse": "ok"}


async def test_admin_sdk_may_not_read_stats_with_a_secret_key(client: Segops) -> None:
    """Section 2.3: a leaked ingest key must not read."""
    admin = segops_admin.SegOpsAdmin(client.api_key, base_url=f"{client.url}/api", max_retries=0)

    def read() -> int:
        try:
            admin.http.request("GET", "/ingestion/stats/")
        except segops_admin.SegOpsApiError as error:
            return int(error.status)
        return 200

    assert await asyncio.to_thread(read) == 401
