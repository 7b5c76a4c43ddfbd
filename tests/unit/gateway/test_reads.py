"""Query parameters of the read routes."""

import pytest

from gateway.routes.reads import parse_limit, parse_window
from sluice.core.errors import ErrorType, Rejected


@pytest.mark.parametrize(("text", "window"), [(None, "24h"), ("24h", "24h"), ("7d", "7d")])
def test_window_is_taken_when_it_is_known(text: str | None, window: str) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize("text", ["", "24H", "1d", "30d", " 7d", "7d\n"])
def test_window_is_refused_by_name_when_it_is_not_known(text: str) -> None:
    refused = parse_window(text)
    assert isinstance(refused, Rejected)
    assert (refused.error_type, refused.field) == (ErrorType.WINDOW_INVALID, "window")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (None, 50),
        ("1", 1),
        ("007", 7),
        ("100", 100),
        ("101", 100),
        ("999", 100),
        ("1000", 100),
        ("9" * 10_000, 100),
    ],
)
def test_limit_is_clamped_to_100(text: str | None, limit: int) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "0", "00", "-1", "+5", "5.0", "abc", " 5", "5\n", "٣", "1e2"])
def test_limit_is_refused_by_name_when_it_is_not_a_whole_number_from_1(text: str) -> None:
    refused = parse_limit(text)
    assert isinstance(refused, Rejected)
    assert (refused.error_type, refused.field) == (ErrorType.LIMIT_INVALID, "limit")
