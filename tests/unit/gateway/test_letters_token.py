"""Where a page of dead letters starts, as clients send it back."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.letters_token import parse_destination, read_token, write_token
from sluice.core.errors import ErrorType, Rejected

LETTER = "5ab255c0-9938-5078-bcfc-d2586d7b2432"


@given(st.integers(0, 10**17), st.uuids(), st.sampled_from(["", "amplitude", "warehouse"]))
def test_token_brings_back_where_the_page_starts(at: int, letter: object, where: str) -> None:
    token = write_token(at, str(letter), where)
    assert read_token(token, where) == (at, str(letter))
    refused = read_token(token, "elsewhere")
    assert isinstance(refused, Rejected)
    assert (refused.error_type, refused.field) == (ErrorType.PARAMETER_INVALID, "next_token")


@pytest.mark.parametrize("text", [None, ""])
def test_first_page_needs_no_token(text: str | None) -> None:
    assert read_token(text, "amplitude") is None


@given(st.text(min_size=1))
def test_what_is_no_token_is_refused(text: str) -> None:
    assert isinstance(read_token(text, ""), Rejected)


@pytest.mark.parametrize(
    "said", [f"1 {'-' * 36} ", f"-1 {LETTER} ", f"{'9' * 19} {LETTER} ", f"1 {LETTER.upper()} ", ""]
)
def test_token_that_says_no_place_is_refused(said: str) -> None:
    token = urlsafe_b64encode(said.encode()).decode() or "="
    assert isinstance(read_token(token, ""), Rejected)


@pytest.mark.parametrize("text", [None, "", "amplitude", "my_own-2"])
def test_destination_may_be_any_name_or_missing(text: str | None) -> None:
    assert parse_destination(text) == (text or "")


@pytest.mark.parametrize("text", ["A", "a b", "a'", "-a", "a" * 65, "é", "a\n"])
def test_destination_that_is_no_name_is_refused(text: str) -> None:
    refused = parse_destination(text)
    assert isinstance(refused, Rejected)
    assert refused.field == "destination"
