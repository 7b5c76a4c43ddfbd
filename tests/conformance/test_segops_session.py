"""Cases 75 to 89 and section 2.4: public keys, sessions, and what their tokens may do."""

import re
import time
from datetime import datetime, timedelta

import pytest
import segops

from gateway.core.session import Ask, Session, open_session
from sluice.core.tenant import ApiKey, digest_of
from tests.support.client_app import PAGE, ClientApp, claims_of
from tests.support.credentials import TokenMaker
from tests.support.poll import poll_until
from tests.support.segops import (
    BATCH,
    ERRORS,
    EVENT,
    STATS,
    TRACK,
    VISIBLE_WITHIN_S,
    Segops,
    assert_queued,
    assert_refused,
)

EXPIRES_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


async def test_case_075_visitor_s_session_has_a_token_an_end_and_a_uid(
    common_app: ClientApp,
) -> None:
    answer = await common_app.open({"anonymous_id": "anonymous"})
    assert answer.status == 200
    assert sorted(answer.json) == ["expires_at", "token", "uid"]
    assert answer.json["uid"] == "anon_anonymous"
    assert EXPIRES_AT.fullmatch(answer.json["expires_at"])
    ends = datetime.fromisoformat(answer.json["expires_at"])
    left = ends - datetime.now(ends.tzinfo)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    claims = claims_of(answer.json["token"])
    assert sorted(claims) == sorted(
        ("iss", "aud", "tenant", "uid", "kid", "verified", "iat", "exp", "jti")
    )
    assert (claims["iss"], claims["aud"], claims["tenant"], claims["verified"]) == (
        "sluice",
        "sluice-ingest",
        common_app.api.slug,
        False,
    )
    assert digest_of(common_app.key).startswith(str(claims["kid"]))


async def test_case_076_empty_object_opens_a_new_visitor_s_session(common_app: ClientApp) -> None:
    uids = {(await common_app.open({})).json["uid"] for _ in range(2)}
    assert len(uids) == 2
    assert all(uid.startswith("anon_") for uid in uids)


def test_case_077_vector_of_the_reference_is_verified_at_its_time() -> None:
    secret = "00112233445566778899aabbccddeeff" * 2
    signature = "501d718f5ce15167211e8ba01877991d27ade7f5f5a99c9d4218542e32d92337"
    signed = segops.sign_user_id(secret, "user-123", 1_777_127_520)
    assert signed["user_id_sig"] == signature
    ask = Ask(user_id="user-123", signature=signature, signed_at=1_777_127_520)
    key = ApiKey(digest_of("pk_live_x"), "public", identity_secrets=("ff" * 32, secret))
    session = open_session(ask, key, now=1_777_127_520.0, new_visitor="")
    assert session == Session("user-123", is_verified=True)


async def test_signed_user_is_the_session_s_while_two_secrets_are_live(app: ClientApp) -> None:
    """Section 2.4: hex in any case; both secrets of a key are tried during rotation."""
    second = app.credentials.add_identity_secret(app.api.slug, app.key)
    await app.set_key(requires_signature="true")
    for secret in (app.secret, second):
        signed = segops.sign_user_id(secret, "user-123")
        upper = {**signed, "user_id_sig": str(signed["user_id_sig"]).upper()}
        for body in (signed, upper):
            answer = await app.open(body)
            assert (answer.status, answer.json["uid"]) == (200, "user-123")
            assert claims_of(answer.json["token"])["verified"] is True


async def test_case_078_signature_off_by_one_digit_is_403(common_app: ClientApp) -> None:
    signed = segops.sign_user_id(common_app.secret, "user-123")
    right = str(signed["user_id_sig"])
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    for bad in (wrong, right[:-1], "", "é", right + "0"):
        answer = await common_app.open({**signed, "user_id_sig": bad})
        assert_refused(answer, 403, "signature_invalid")
    for changed in ({"user_id": "user-124"}, {"user_id_ts": int(time.time()) - 1_000}):
        answer = await common_app.open({**signed, **changed})
        assert_refused(answer, 403, "signature_invalid")


async def test_case_079_signature_lives_for_300_seconds_either_way(common_app: ClientApp) -> None:
    now = int(time.time())
    for old, status in ((-310, 403), (-295, 200), (295, 200), (310, 403)):
        answer = await common_app.open(
            segops.sign_user_id(common_app.secret, "user-123", now + old)
        )
        assert answer.status == status, old
        assert answer.error_type == ("signature_expired" if status == 403 else None)


@pytest.mark.parametrize(("old", "is_good"), [(299, True), (300, True), (301, False)])
def test_case_079_signature_ends_on_the_second(old: int, *, is_good: bool) -> None:
    signed = segops.sign_user_id("ab" * 32, "u", 1_800_000_000)
    ask = Ask(user_id="u", signature=str(signed["user_id_sig"]), signed_at=1_800_000_000)
    key = ApiKey("0" * 64, "public", identity_secrets=("ab" * 32,))
    for now in (1_800_000_000.0 + old, 1_800_000_000.0 - old):
        session = open_session(ask, key, now=now, new_visitor="")
        assert isinstance(session, Session) is is_good


async def test_case_080_key_that_requires_signing_refuses_an_unsigned_user(app: ClientApp) -> None:
    await app.set_key(requires_signature="true")
    assert_refused(await app.open({"user_id": "user-123"}), 403, "signature_required")
    assert (await app.open({"anonymous_id": "a-1"})).json["uid"] == "anon_a-1"


async def test_case_081_secret_key_opens_no_session(common_app: ClientApp) -> None:
    answer = await common_app.open({}, key=common_app.api.api_key)
    assert_refused(answer, 403, "key_type_not_allowed")
    for value in (None, "ApiKey pk_live_wrong", f"Bearer {common_app.api.read_token}"):
        refused = await common_app.open({}, headers={"Authorization": value})
        assert_refused(refused, 401)
        assert refused.headers["WWW-Authenticate"].startswith("ApiKey")


async def test_case_082_page_that_is_not_listed_opens_no_session(app: ClientApp) -> None:
    for origin in ("https://evil.example", f"{PAGE}.evil.example", f"{PAGE}:8443", "null"):
        answer = await app.open({}, headers={"Origin": origin})
        assert_refused(answer, 403, "origin_not_allowed")
        assert not any(name.startswith("Access-Control") for name in answer.headers)
    await app.set_key(allowed_origins="")
    assert_refused(await app.open({}, headers={"Origin": PAGE}), 403, "origin_not_allowed")
    assert (await app.open({})).status == 200, "without an Origin it is no browser"


async def test_case_083_star_in_a_listed_origin_stands_for_one_label(common_app: ClientApp) -> None:
    for origin, status in (
        ("https://a.tenant.example", 200),
        ("https://a.b.tenant.example", 403),
        ("https://tenant.example", 403),
        ("http://a.tenant.example", 403),
        ("https://.tenant.example", 403),
    ):
        answer = await common_app.open({}, headers={"Origin": origin})
        assert answer.status == status, origin
        expected = origin if status == 200 else None
        assert answer.headers.get("Access-Control-Allow-Origin") == expected


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "u", "user_id_sig": "ab"}, "user_id_ts"),
        ({"user_id": "u", "user_id_sig": "ab", "user_id_ts": "1777127520"}, "user_id_ts"),
        ({"user_id": "u", "user_id_sig": "ab", "user_id_ts": True}, "user_id_ts"),
        ({"user_id": "u", "user_id_sig": "ab", "user_id_ts": 1.5}, "user_id_ts"),
        ({"user_id": "u", "user_id_sig": 5, "user_id_ts": 1}, "user_id_sig"),
        ({"user_id_sig": "ab", "user_id_ts": 1}, "user_id"),
        ({"user_id": "x" * 256}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": {}}, "user_id"),
        ({"user_id": False}, "user_id"),
    ],
    ids=repr,
)
async def test_session_request_with_an_odd_field_is_400(
    common_app: ClientApp, body: object, field: str
) -> None:
    """Section 10, session_invalid."""
    assert_refused(await common_app.open(body), 400, "session_invalid", field=field)


async def test_session_request_must_be_a_small_json_object(common_app: ClientApp) -> None:
    for body, status, error_type in (
        (b"", 400, "body_empty"),
        (b"[]", 400, "body_not_object"),
        (b"5", 400, "body_not_object"),
        (b"{", 400, "json_invalid"),
        (b'{"user_id":"\xff"}', 400, "json_invalid"),
        (b"[" * 10_000, 400, "json_invalid"),
        (b"{}" + b" " * 20_000, 413, "body_too_large"),
    ):
        assert_refused(await common_app.open(body), status, error_type)
    text = await common_app.open({}, headers={"Content-Type": "text/plain"})
    assert_refused(text, 415, "content_type_unsupported")
    without = await common_app.open({}, headers={"Content-Type": None})
    assert without.status == 200


async def test_case_084_085_session_writes_as_its_user_whatever_the_event_says(
    app: ClientApp,
) -> None:
    token = await app.token("user-123")
    for body in (
        {**EVENT, "user_id": "somebody-else"},
        {"event_type": "page_viewed"},
        {**EVENT, "user_id": ["odd"]},
    ):
        assert_queued(await app.track(token, body))
        batch = await app.track(token, {"events": [body, body]}, target=BATCH)
        assert (batch.status, batch.json) == (202, {"queued": 2, "skipped": 0})
    rows = await app.api.rows_when(9)
    assert {row.user_id for row in rows} == {"user-123"}


async def test_event_id_of_a_session_is_its_user_s_own(app: ClientApp) -> None:
    """Else a visitor could name an order before the server does, and the server's were a repeat."""
    named = {**EVENT, "event_id": "order-1"}
    for user in ("thief", "other"):
        token = await app.token(user)
        for _ in range(2):
            assert_queued(await app.track(token, named))
    assert_queued(await app.api.track(named))
    rows = await app.api.rows_when(3)
    assert sorted(row.user_id for row in rows) == ["other", "thief", "u-1"]


async def test_case_086_session_is_401_once_it_ended(
    common_app: ClientApp, sign: TokenMaker
) -> None:
    claims = claims_of(await common_app.token("user-123"))
    ended = sign({**claims, "exp": int(time.time()) - 1})
    answer = await common_app.track(ended, headers={"Origin": PAGE})
    assert_refused(answer, 401, "token_expired")
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE, "the page must see that it ended"


async def test_session_s_token_is_worth_nothing_when_it_was_changed(
    common_app: ClientApp, sign: TokenMaker
) -> None:
    """Section 2.3 and 2.4: bound to its tenant, its user and its key."""
    token = await common_app.token("user-123")
    claims = claims_of(token)
    assert_queued(await common_app.track(sign(claims)))
    head, body, signature = token.split(".")
    other_body = sign({**claims, "uid": "admin"}).split(".")[1]
    for bad in (
        f"{head}.{other_body}.{signature}",
        sign(claims, secret="another secret of thirty-two bytes"),
        sign(claims, algorithm="none"),
        sign(claims, algorithm="HS512"),
        sign({**claims, "tenant": "no-such"}),
        sign({**claims, "kid": "0" * 16}),
        sign({**claims, "kid": ""}),
        sign({**claims, "exp": None}),
        sign({**claims, "iss": "else"}),
        sign({**claims, "uid": ""}),
        sign({**claims, "uid": 5}),
        f"{head}.{body}.",
    ):
        assert_refused(await common_app.track(bad), 401, "token_invalid")
    another = sign({**claims, "aud": "else"})  # a good token, which is for something else
    assert_refused(await common_app.track(another), 403, "scope_denied")


async def test_session_of_another_tenant_s_key_is_401(
    common_app: ClientApp, api: Segops, sign: TokenMaker
) -> None:
    claims = claims_of(await common_app.token("user-123"))
    stolen = sign({**claims, "tenant": api.slug})
    assert_refused(await common_app.track(stolen), 401, "token_invalid")
    await api.assert_stored_only([])


async def test_sessions_end_at_once_with_their_key(app: ClientApp) -> None:
    token = await app.token("user-123")
    assert_queued(await app.track(token))
    await app.revoke()
    assert_refused(await app.track(token), 401, "token_invalid")
    assert_refused(await app.open({}), 401, "api_key_unknown")


async def test_case_087_session_s_token_does_not_read(common_app: ClientApp) -> None:
    token = await common_app.token("user-123")
    for path in (STATS, ERRORS):
        assert_refused(await common_app.api.get(path, token=token), 403, "scope_denied")


async def test_session_lives_as_long_as_the_tenant_says(app: ClientApp) -> None:
    await app.set_tenant(session_ttl_s="120")
    claims = claims_of(await app.token())
    assert isinstance(claims["exp"], int)
    assert isinstance(claims["iat"], int)
    assert claims["exp"] - claims["iat"] == 120


async def test_tenant_that_is_switched_off_opens_and_takes_nothing(app: ClientApp) -> None:
    token = await app.token()
    app.credentials.set_value(app.api.slug, "enabled", "false")
    await app.are_edits_known()
    assert_refused(await app.open({}), 403, "tenant_disabled")
    assert_refused(await app.track(token), 403, "tenant_disabled")


async def test_refused_session_leaves_a_record(app: ClientApp) -> None:
    """Section 10: the refusals of a session are recorded under the source ``session``."""
    assert_refused(await app.open({"user_id": "u", "user_id_sig": "ab", "user_id_ts": 5}), 403)

    async def record() -> dict[str, object]:
        results = (await app.api.errors())["results"]
        return next((one for one in results if one["error_type"] == "signature_invalid"), {})

    found = await poll_until(record, within_s=VISIBLE_WITHIN_S, what="the refusal is recorded")
    assert found["source"] == "session"


async def test_case_088_preflight_of_a_listed_page_is_answered_for_two_hours(
    common_app: ClientApp,
) -> None:
    for path in (TRACK, BATCH, "/api/auth/session/", "/api/auth/session"):
        answer = await common_app.api.ask(
            "OPTIONS",
            path,
            headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"},
        )
        assert (answer.status, answer.body) == (204, b"")
        cors = {
            name: value
            for name, value in answer.headers.items()
            if name.startswith("Access-Control") or name in {"Vary", "Allow"}
        }
        assert cors == {
            "Allow": "POST, OPTIONS",
            "Vary": "Origin",
            "Access-Control-Allow-Origin": PAGE,
            "Access-Control-Allow-Methods": "POST, OPTIONS",
            "Access-Control-Allow-Headers": (
                "authorization, content-type, content-encoding, idempotency-key"
            ),
            "Access-Control-Max-Age": "7200",
        }


async def test_case_089_preflight_of_another_page_says_nothing(common_app: ClientApp) -> None:
    ask = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    listed = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    for path, headers in ((TRACK, ask), (BATCH, ask), (STATS, listed), (ERRORS, listed)):
        answer = await common_app.api.ask("OPTIONS", path, headers=headers)
        assert answer.status == 204
        assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_real_answers_are_readable_for_the_session_s_own_pages(common_app: ClientApp) -> None:
    """Section 2.5: errors too; never with credentials."""
    token = await common_app.token()
    for headers, status in (
        ({}, 202),
        ({"Content-Type": "text/plain"}, 415),
        ({"Authorization": "Bearer x.y.z"}, 401),
        ({"Authorization": None}, 401),
        ({"Authorization": f"ApiKey {common_app.key}"}, 403),
    ):
        answer = await common_app.track(token, headers={"Origin": PAGE, **headers})
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["Vary"] == "Origin"
        exposed = answer.headers["Access-Control-Expose-Headers"]
        assert exposed == "retry-after, x-request-id, x-error-type"
        assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_secret_key_never_gets_cors_headers(common_app: ClientApp) -> None:
    """Section 2.5: a secret key in a browser must not look as if it worked."""
    for key in (common_app.api.api_key, "sk_live_wrong"):
        for answer in (
            await common_app.api.track(EVENT, Authorization=f"ApiKey {key}", Origin=PAGE),
            await common_app.open({}, key=key, headers={"Origin": PAGE}),
        ):
            assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_session_in_a_page_of_another_origin_writes_nothing(app: ClientApp) -> None:
    token = await app.token("user-123")
    for origin in ("https://evil.example", "null"):
        answer = await app.track(token, headers={"Origin": origin})
        assert_refused(answer, 403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in answer.headers
    await app.api.assert_stored_only([])


async def test_beacon_brings_its_session_in_the_address_and_json_as_text(app: ClientApp) -> None:
    token = await app.token("user-123")
    beacon = {"Authorization": None, "Content-Type": "text/plain;charset=UTF-8", "Origin": PAGE}
    address = f"?session_token={token}"
    assert_queued(await app.track("", target=TRACK + address, headers=beacon))
    assert_queued(await app.track("", target=TRACK.rstrip("/") + address, headers=beacon))
    answer = await app.track("", {"events": [EVENT]}, target=BATCH + address, headers=beacon)
    assert (answer.status, answer.json["queued"]) == (202, 1)
    rows = await app.api.rows_when(3)
    assert {row.user_id for row in rows} == {"user-123"}


async def test_beacon_s_exception_is_for_sessions_on_the_track_routes_alone(
    app: ClientApp,
) -> None:
    token = await app.token("user-123")
    text = {"Authorization": None, "Content-Type": "text/plain"}
    for credential, status, error_type in (
        (app.api.api_key, 401, "auth_malformed"),
        (app.key, 401, "auth_malformed"),
        (app.api.read_token, 403, "scope_denied"),
        ("", 401, "auth_malformed"),
        ("x.y.z", 401, "token_invalid"),
        (f"{token}&session_token={token}", 401, "auth_malformed"),
    ):
        answer = await app.track("", target=f"{TRACK}?session_token={credential}", headers=text)
        assert_refused(answer, status, error_type)
        assert credential.encode() not in answer.body or not credential
    # A header wins, and then the body must be called what it is.
    answer = await app.track(
        token, target=f"{TRACK}?session_token={token}", headers={"Content-Type": "text/plain"}
    )
    assert_refused(answer, 415, "content_type_unsupported")
    for path in (f"/api/auth/session/?session_token={token}", f"{STATS}?session_token={token}"):
        method = "GET" if path.startswith(STATS) else "POST"
        assert_refused(await app.api.ask(method, path), 401, "auth_missing")
    await app.api.assert_stored_only([])
