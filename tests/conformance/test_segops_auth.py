"""Cases 68 to 74, 86 and 87: credentials."""

import time

import orjson

from tests.support.credentials import Credentials, TokenMaker
from tests.support.poll import poll_until
from tests.support.raw_http import exchange, request_bytes
from tests.support.segops import (
    BATCH,
    ERRORS,
    EVENT,
    STATS,
    TRACK,
    Answer,
    Segops,
    assert_queued,
    assert_refused,
)


def assert_unauthorized(answer: Answer, *schemes: str, error_type: str | None = None) -> None:
    """Check a 401, which says what the route takes."""
    assert_refused(answer, 401, error_type)
    for scheme in schemes:
        assert scheme in answer.headers["WWW-Authenticate"]


async def test_case_068_track_without_authorization_is_401(client: Segops) -> None:
    for path in (TRACK, BATCH):
        answer = await client.post(path, EVENT, headers={"Authorization": None})
        assert_unauthorized(answer, "ApiKey", "Bearer", error_type="auth_missing")


async def test_case_069_malformed_and_unknown_credentials_are_401(api: Segops) -> None:
    for value in (
        "ApiKey",
        "ApiKey ",
        "Basic dXNlcjpwYXNz",
        "ApiKey wrong",
        "ApiKey sk_live_" + "x" * 5_000,
        f"ApiKey {api.api_key}x",
        f"ApiKey {api.api_key[:-1]}",
        "ApiKey mk_live_abc",
        api.api_key,
        "Bearer",
        "Bearer x.y.z",
        f"Bearer {api.api_key}",
        f"ApiKey {api.read_token}",
    ):
        answer = await api.track(EVENT, Authorization=value)
        assert_unauthorized(answer, "ApiKey", "Bearer")
        assert api.api_key.encode() not in answer.body


async def test_case_070_scheme_is_matched_in_any_case(client: Segops) -> None:
    for value in (f"apikey {client.api_key}", f"APIKEY   {client.api_key}"):
        assert_queued(await client.track(EVENT, Authorization=value))


async def test_second_authorization_header_is_401(client: Segops) -> None:
    """Section 2.3: a second Authorization header is 401."""
    body = orjson.dumps(EVENT)
    headers = [("Authorization", f"ApiKey {client.api_key}")] * 2
    answer = await exchange(
        client.url,
        request_bytes(TRACK, headers=[*headers, ("Content-Length", str(len(body)))], body=body),
    )
    assert answer is not None
    assert_unauthorized(answer, "ApiKey", "Bearer", error_type="auth_malformed")


async def test_key_in_query_string_or_body_is_not_read(client: Segops) -> None:
    """Section 2.3: keys in the query string or body are never read."""
    answer = await client.post(
        f"{TRACK}?api_key={client.api_key}",
        {**EVENT, "api_key": client.api_key},
        headers={"Authorization": None},
    )
    assert_unauthorized(answer, error_type="auth_missing")


async def test_case_071_revoked_key_is_401(api: Segops, credentials: Credentials) -> None:
    old, new = api.api_key, credentials.rotate(api.slug)
    credentials.revoke(api.slug, old)

    async def is_revoked() -> bool:
        return (await api.track(EVENT)).status == 401

    await poll_until(is_revoked, what="the revoked key answers 401")
    assert_unauthorized(await api.track(EVENT), "ApiKey", error_type="api_key_unknown")
    assert_queued(await api.track(EVENT, Authorization=f"ApiKey {new}"))


async def test_case_072_old_key_works_while_two_are_live(
    api: Segops, credentials: Credentials
) -> None:
    new = credentials.rotate(api.slug)

    async def is_live() -> bool:
        return (await api.track(EVENT, Authorization=f"ApiKey {new}")).status == 202

    await poll_until(is_live, what="the new key is taken")
    assert_queued(await api.track(EVENT))


async def test_case_073_public_key_may_not_write(api: Segops, credentials: Credentials) -> None:
    public = credentials.add_public(api.slug)

    async def answer_when_known() -> Answer | None:
        answer = await api.track(EVENT, Authorization=f"ApiKey {public}")
        return answer if answer.status != 401 else None

    answer = await poll_until(answer_when_known, what="the public key is known")
    assert_refused(answer, 403, "key_type_not_allowed")


async def test_disabled_tenant_is_403_for_writing_and_reading(
    api: Segops, credentials: Credentials
) -> None:
    """Section 10, tenant_disabled."""
    credentials.set_value(api.slug, "enabled", "false")

    async def is_off() -> bool:
        return (await api.track(EVENT)).status == 403

    await poll_until(is_off, what="the tenant is switched off")
    assert_refused(await api.track(EVENT), 403, "tenant_disabled")
    assert_refused(await api.get(STATS), 403, "tenant_disabled")


async def test_case_074_read_token_may_not_write(client: Segops) -> None:
    for path in (TRACK, BATCH):
        answer = await client.post(
            path, EVENT, headers={"Authorization": f"Bearer {client.read_token}"}
        )
        assert_refused(answer, 403, "scope_denied")


async def test_case_086_expired_token_is_401(client: Segops, sign: TokenMaker) -> None:
    expired = sign({"tenant": client.slug, "exp": int(time.time()) - 31})
    answer = await client.track(EVENT, Authorization=f"Bearer {expired}")
    assert_unauthorized(answer, "Bearer", error_type="token_expired")
    for path in (STATS, ERRORS):
        answer = await client.get(path, token=expired)
        assert_unauthorized(answer, "Bearer", error_type="token_expired")
    within_leeway = sign({"tenant": client.slug, "exp": int(time.time()) - 5})
    assert (await client.get(STATS, token=within_leeway)).status == 200


async def test_case_087_stats_take_a_read_token_only(client: Segops, sign: TokenMaker) -> None:
    session_token = sign(
        {
            "iss": "sluice",
            "aud": "sluice-ingest",
            "tenant": client.slug,
            "uid": "user-123",
            "scope": "ingest",
            "exp": int(time.time()) + 900,
        }
    )
    for path in (STATS, ERRORS):
        assert_refused(await client.get(path, token=session_token), 403, "scope_denied")
        for headers in ({"Authorization": f"ApiKey {client.api_key}"}, {}):
            answer = await client.ask("GET", path, headers=headers)
            assert_unauthorized(answer, "Bearer")
            assert "ApiKey" not in answer.headers["WWW-Authenticate"]


async def test_token_must_be_signed_expire_and_name_a_tenant(
    client: Segops, sign: TokenMaker
) -> None:
    """Section 2.3, read JWT."""
    soon = int(time.time()) + 600
    good = {"tenant": client.slug, "exp": soon}
    assert (await client.get(STATS, token=sign(good))).status == 200
    for bad in (
        sign({"tenant": client.slug}),
        sign(good, algorithm="HS512"),
        sign(good, secret="another secret of thirty-two bytes"),
        sign(good, algorithm="none"),
        sign({**good, "exp": "soon"}),
    ):
        assert_unauthorized(
            await client.get(STATS, token=bad), "Bearer", error_type="token_invalid"
        )
    for odd in ({"exp": soon}, {"exp": soon, "tenant": "no-such"}, {"exp": soon, "tenant": [1]}):
        assert_refused(await client.get(STATS, token=sign(odd)), 403)
