"""The handshake as plain functions: what is asked, what was signed, what the token says."""

import jwt
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.session import Ask, Session, mint, open_session, read_ask, read_token
from sluice.core.errors import ErrorType, Rejected
from sluice.core.tenant import ApiKey, Tenant, find_public_key

SECRET = "s" * 32
KEY = ApiKey("0123456789abcdef" * 4, "public", identity_secrets=("ab" * 32,))
TENANT = Tenant(slug="acme", api_keys=(KEY,), session_ttl_s=300)

values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
)
fields = st.sampled_from(["user_id", "anonymous_id", "user_id_sig", "user_id_ts", "else"])


@given(st.dictionaries(fields, values | st.lists(values, max_size=2), max_size=5))
def test_any_object_opens_a_session_or_names_what_is_wrong(body: dict[str, object]) -> None:
    ask = read_ask(orjson.dumps(body))
    if isinstance(ask, list):
        assert {one.error_type for one in ask} == {ErrorType.SESSION_INVALID}
        assert all(one.field in body or one.field == "user_id" for one in ask) or (
            ask[-1].field == "user_id_ts"
        )
        return
    session = open_session(ask, KEY, now=0.0, new_visitor="new")
    if isinstance(session, Rejected):
        assert session.error_type is ErrorType.SIGNATURE_INVALID
    else:
        assert session.uid
        assert not session.is_verified


@pytest.mark.parametrize("digits", [19, 20, 30, 400, 5_000])
def test_time_of_any_length_is_refused_as_no_time(digits: int) -> None:
    body = b'{"user_id":"u","user_id_sig":"ab","user_id_ts":%b}' % (b"9" * digits)
    ask = read_ask(body)
    if isinstance(ask, Ask):
        result = open_session(ask, KEY, now=0.0, new_visitor="")
        assert isinstance(result, Rejected)
    else:
        assert {one.error_type for one in ask} <= {
            ErrorType.SESSION_INVALID,
            ErrorType.JSON_INVALID,
        }


@given(st.binary(max_size=40))
def test_any_bytes_are_answered(body: bytes) -> None:
    assert isinstance(read_ask(body), Ask | list)


def test_body_that_is_no_json_is_told_where() -> None:
    [rejected] = read_ask(b'{"user_id":')  # type: ignore[misc]
    assert rejected.detail == "Not JSON at line 1, column 12."


def test_integer_user_is_its_digits() -> None:
    assert read_ask(b'{"user_id": 7}') == Ask(user_id="7")


def test_odd_visitor_id_is_no_error_and_a_new_one_is_made() -> None:
    long = b'"%b"' % (b"x" * 251)  # with its prefix it would be no user_id
    for odd in (b"1.5", b'["x"]', b'"\\n"', long):
        ask = read_ask(b'{"anonymous_id":%b}' % odd)
        assert ask == Ask()
        assert open_session(ask, KEY, now=0.0, new_visitor="new") == Session(
            "anon_new", is_verified=False
        )


def test_signature_is_worth_nothing_when_the_key_has_no_secret() -> None:
    bare = ApiKey("0" * 64, "public")
    result = open_session(Ask(user_id="u", signature=""), bare, now=0.0, new_visitor="")
    assert isinstance(result, Rejected)
    assert result.error_type is ErrorType.SIGNATURE_INVALID


def test_token_names_tenant_user_and_key_until_its_end() -> None:
    session = Session("user-123", is_verified=True)
    answer = mint(session, TENANT, KEY, secret=SECRET, now=1_777_127_520.9, new_id="t-1")
    assert (answer.expires_at, answer.uid) == ("2026-04-25T14:37:00Z", "user-123")
    claims = jwt.decode(
        answer.token,
        SECRET,
        algorithms=["HS256"],
        audience="sluice-ingest",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["exp"] - claims["iat"] == 300
    read = read_token(answer.token, SECRET)
    assert read is not None
    assert msgspec.to_builtins(read) == claims
    assert find_public_key(TENANT, read.kid) == KEY


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=255))
def test_token_of_any_user_is_read_back_and_by_a_jwt_library_too(uid: str) -> None:
    session = Session(uid, is_verified=False)
    token = mint(session, TENANT, KEY, secret=SECRET, now=0.0, new_id="t-1").token
    read = read_token(token, SECRET)
    assert read is not None
    assert read.uid == uid
    claims = jwt.decode(token, SECRET, ["HS256"], options={"verify_exp": False}, audience=read.aud)
    assert claims["uid"] == uid


TOKEN = mint(Session("u", is_verified=False), TENANT, KEY, secret=SECRET, now=0.0, new_id="t").token


@given(at=st.integers(0, len(TOKEN) - 1), to=st.sampled_from("aZ09-_.="))
def test_token_is_worth_nothing_when_one_character_differs(at: int, to: str) -> None:
    changed = TOKEN[:at] + to + TOKEN[at + 1 :]
    assert (read_token(changed, SECRET) is None) is (changed != TOKEN)
    assert read_token(TOKEN, "t" * 32) is None


@given(st.text(st.characters(codec="ascii")))
def test_any_text_is_no_token(text: str) -> None:
    assert read_token(text, SECRET) is None


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_token_of_another_algorithm_is_none(algorithm: str) -> None:
    claims = jwt.decode(TOKEN, options={"verify_signature": False})
    other = jwt.encode(claims, "" if algorithm == "none" else SECRET * 2, algorithm=algorithm)
    assert read_token(other, SECRET * 2) is None


@pytest.mark.parametrize("key_id", ["", "0", KEY.digest[:15], KEY.digest, "f" * 16])
def test_key_is_found_by_its_whole_prefix_alone(key_id: str) -> None:
    assert find_public_key(TENANT, key_id) is None
