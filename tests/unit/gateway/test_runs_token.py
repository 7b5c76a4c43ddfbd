"""Tokens of list pages are good for one tenant's same list for a day, and not to be made up."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.runs_token import LIFE_S, make_token, read_token, token_key
from sluice.core.run_filters import Position

NOW: Final = 1_800_000_000.0
KEY: Final = token_key("s" * 32)
FILTERS: Final = b"f" * 16
POSITIONS: Final = st.builds(
    Position, created_ms=st.integers(0, 2**42), run_id=st.text("wf-0123abcZ", max_size=24)
)


def made(position: Position, tenant: str = "acme") -> str:
    return make_token(position, tenant=tenant, filters=FILTERS, key=KEY, now=NOW)


def read(
    token: str,
    *,
    tenant: str = "acme",
    filters: bytes = FILTERS,
    key: bytes = KEY,
    now: float = NOW,
) -> Position | None:
    return read_token(token, tenant=tenant, filters=filters, key=key, now=now)


@given(POSITIONS)
def test_token_gives_back_its_position_within_a_day(position: Position) -> None:
    token = made(position)
    assert token.isascii()
    assert read(token) == position
    assert read(token, now=NOW + LIFE_S - 1) == position
    assert read(token, now=NOW + LIFE_S) is None
    assert read(token, now=NOW - 1) is None


@given(POSITIONS, st.data())
def test_token_is_refused_when_any_letter_is_another(
    position: Position, data: st.DataObject
) -> None:
    token = made(position)
    at = data.draw(st.integers(0, len(token) - 1))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= é"
    other = data.draw(st.sampled_from(letters).filter(lambda letter: letter != token[at]))
    assert read(token[:at] + other + token[at + 1 :]) is None
    assert read(token[:at]) is None
    assert read(token + other) is None


@given(POSITIONS)
def test_token_is_refused_for_another_tenant_list_or_key(position: Position) -> None:
    token = made(position)
    assert read(token, tenant="acm") is None
    assert read(token, tenant="acme\0") is None
    assert read(token, filters=b"g" * 16) is None
    assert read(token, key=token_key("t" * 32)) is None


@given(st.text(max_size=500))
def test_any_text_is_no_token(text: str) -> None:
    assert read(text) is None
