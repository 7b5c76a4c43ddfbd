"""Client apps at a gateway of their own: limits, logs, several gateways, another issuer."""

from pathlib import Path

import orjson

from sluice.tenants import TenantsFile
from tests.support.client_app import SESSION, ClientApp
from tests.support.edge import running
from tests.support.gateway import BATCH, EVENT, TENANT, TRACK, Gateway, running_gateway, stored_rows
from tests.support.poll import poll_until
from tests.support.raw_http import request_bytes
from tests.support.segops import TRACK as TRACK_PATH
from tests.support.segops import Answer, Segops, assert_queued, assert_refused
from tests.support.shared import SharedParts


async def post(gateway: Gateway, target: str, credential: str, body: bytes) -> Answer:
    headers = [("Authorization", credential), ("Content-Length", str(len(body)))]
    return await gateway.send(request_bytes(target, headers=headers, body=body))


async def public_key(gateway: Gateway) -> str:
    """Add a public key, and wait until the gateway knows it."""
    key = TenantsFile(gateway.settings.tenants_path).add_key(TENANT, kind="public")

    async def is_known() -> bool:
        return (await post(gateway, SESSION, f"ApiKey {key}", b"{}")).status != 401

    await poll_until(is_known, what="the gateway knows the public key")
    return key


async def session(gateway: Gateway, key: str, body: bytes = b"{}") -> str:
    answer = await post(gateway, SESSION, f"ApiKey {key}", body)
    assert answer.status == 200, answer
    return f"Bearer {answer.json['token']}"


def batch_of(count: int) -> bytes:
    return b'{"events":[' + b",".join([EVENT] * count) + b"]}"


async def test_key_over_its_limit_gets_429_and_its_neighbour_does_not(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, port=0) as gateway:
        file = TenantsFile(gateway.settings.tenants_path)
        quiet = file.add_tenant("quiet")
        file.set_value(TENANT, "key_events_per_s", "5")
        await public_key(gateway)  # what was written before it is known then
        loud = f"ApiKey {gateway.api_key}"
        sent = [await post(gateway, TRACK, loud, EVENT) for _ in range(200)]
        limited = [answer for answer in sent if answer.status == 429]
        assert {answer.status for answer in sent} == {202, 429}
        assert len(limited) >= 50
        assert_refused(limited[0], 429, "rate_limited")
        assert 1 <= int(limited[0].headers["Retry-After"]) <= 30
        assert b"5 events a second" in limited[0].body
        for _ in range(50):
            assert_queued(await post(gateway, TRACK, f"ApiKey {quiet}", EVENT))


async def test_batch_counts_its_events_and_an_oversized_one_is_not_refused_for_ever(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, port=0) as gateway:
        TenantsFile(gateway.settings.tenants_path).set_value(TENANT, "key_events_per_s", "2")
        await public_key(gateway)
        key = f"ApiKey {gateway.api_key}"
        assert (await post(gateway, BATCH, key, batch_of(500))).status == 202
        refused = await post(gateway, BATCH, key, batch_of(1))
        assert_refused(refused, 429, "rate_limited")
        # 490 below its burst of 10, so that is what it takes at 2 a second; a little has passed.
        assert 240 <= int(refused.headers["Retry-After"]) <= 246
    assert len((await stored_rows(gateway.settings))["events"]) == 500


async def test_bad_bodies_count_for_the_limit_too(tmp_path: Path) -> None:
    """Else a client over its limit could go on for ever with what is refused anyway."""
    async with running_gateway(tmp_path, port=0) as gateway:
        file = TenantsFile(gateway.settings.tenants_path)
        file.set_value(TENANT, "key_events_per_s", "1")
        await public_key(gateway)  # what was written before it is known then
        key = f"ApiKey {gateway.api_key}"
        bad = [(TRACK, b"{}"), (TRACK, b""), (BATCH, b"{}"), (BATCH, b'{"events":[]}')]
        for target, body in bad:
            assert (await post(gateway, target, key, body)).status == 400
        answers = [await post(gateway, TRACK, key, b"{}") for _ in range(20)]
        assert_refused(answers[-1], 429, "rate_limited")


async def test_user_over_its_limit_does_not_slow_other_users_of_the_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, port=0) as gateway:
        TenantsFile(gateway.settings.tenants_path).set_value(TENANT, "session_events_per_s", "1")
        key = await public_key(gateway)
        loud = await session(gateway, key, b'{"user_id":"loud"}')
        quiet = await session(gateway, key, b'{"user_id":"quiet"}')
        assert (await post(gateway, BATCH, loud, batch_of(20))).status == 202
        refused = await post(gateway, TRACK, loud, EVENT)
        assert_refused(refused, 429, "rate_limited")
        assert b"This session may send 1 events a second, and 20 at once" in refused.body
        never = await post(gateway, BATCH, quiet, batch_of(21))
        assert_refused(never, 429, "rate_limited")
        assert b"in smaller batches: this one has 21" in never.body
        again = await session(gateway, key, b'{"user_id":"loud"}')
        assert (await post(gateway, TRACK, again, EVENT)).status == 429, "a new token is no way out"
        assert_queued(await post(gateway, TRACK, quiet, EVENT))
        assert_queued(await post(gateway, TRACK, f"ApiKey {gateway.api_key}", EVENT))


async def test_large_batch_of_one_session_leaves_its_key_to_the_others(tmp_path: Path) -> None:
    """It is over its own limit, so it is refused before anything is charged to the key."""
    async with running_gateway(tmp_path, port=0) as gateway:
        file = TenantsFile(gateway.settings.tenants_path)
        file.set_value(TENANT, "session_events_per_s", "1")
        file.set_value(TENANT, "key_events_per_s", "10")
        key = await public_key(gateway)
        loud = await session(gateway, key, b'{"user_id":"loud"}')
        assert_refused(await post(gateway, BATCH, loud, batch_of(500)), 429, "rate_limited")
        quiet = await session(gateway, key, b'{"user_id":"quiet"}')
        assert (await post(gateway, BATCH, quiet, batch_of(20))).status == 202
        assert (await post(gateway, BATCH, loud, batch_of(20))).status == 202


async def test_handshakes_over_the_limit_of_the_key_do_not_silence_open_sessions(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, port=0) as gateway:
        file = TenantsFile(gateway.settings.tenants_path)
        file.set_value(TENANT, "key_events_per_s", "1")
        key = await public_key(gateway)
        answers = [await post(gateway, SESSION, f"ApiKey {key}", b"{}") for _ in range(20)]
        opened = [answer for answer in answers if answer.status == 200]
        limited = [answer for answer in answers if answer.status == 429]
        assert len(opened) + len(limited) == 20
        assert limited
        assert_refused(limited[0], 429, "rate_limited")
        assert int(limited[0].headers["Retry-After"]) == 1
        assert_queued(await post(gateway, TRACK, f"Bearer {opened[-1].json['token']}", EVENT))


async def test_sessions_work_where_read_tokens_come_from_another_issuer(tmp_path: Path) -> None:
    """Also after a restart: the secret is kept in the data dir."""
    async with running_gateway(tmp_path, jwks_url="http://127.0.0.1:1/jwks") as gateway:
        key = await public_key(gateway)
        token = await session(gateway, key)
        assert_queued(await post(gateway, TRACK, token, EVENT))
        stats = await gateway.ask("GET", "/api/ingestion/stats", ("Authorization", token))
        assert_refused(stats, 401, "token_invalid")
    async with running_gateway(tmp_path, jwks_url="http://127.0.0.1:1/jwks") as gateway:
        assert_queued(await post(gateway, TRACK, token, EVENT))


async def test_session_of_one_gateway_is_taken_by_another_and_stands_in_no_log(
    common_app: ClientApp, shared: SharedParts, tmp_path: Path
) -> None:
    settings = {**shared.settings, "LOG_LEVEL": "debug"}
    token = await common_app.token("user-123")
    with running("gateway", data_dir=tmp_path, settings=settings) as other:
        async with shared.common_client(other.url) as there:
            await send_beacons(there, token)
    log = (tmp_path / "gateway.log").read_text()
    assert log
    for part in (*token.split("."), "sk_live_secret", "session_token"):
        assert part not in log


async def send_beacons(there: Segops, token: str) -> None:
    text = {"Content-Type": "text/plain"}
    address = f"{TRACK_PATH}?session_token="
    good = await there.ask(
        "POST", address + token, headers=text, body=orjson.dumps({"event_type": "page_left"})
    )
    assert_queued(good)
    for credential in ("sk_live_secret", f"{token}x"):
        refused = await there.ask("POST", address + credential, headers=text, body=b"{}")
        assert refused.status == 401
    for path in (f"/nope?session_token={token}", f"/api/ingestion/stats/?session_token={token}"):
        assert (await there.ask("GET", path)).status in {401, 404}
