"""Which pages may read an answer."""

from collections.abc import Collection

import pytest

from gateway.core.answers import Answer
from gateway.core.origins import is_allowed, preflight, readable_by

SHOP = "https://shop.example"


@pytest.mark.parametrize(
    ("origin", "allowed", "is_good"),
    [
        (SHOP, (SHOP,), True),
        (SHOP, frozenset({SHOP}), True),
        (SHOP, (), False),
        (f"{SHOP}:8443", (SHOP,), False),
        (f"{SHOP}:8443", (f"{SHOP}:8443",), True),
        ("http://shop.example", (SHOP,), False),
        ("https://shop.example.evil.example", (SHOP,), False),
        ("https://a.shop.example", ("https://*.shop.example",), True),
        ("https://a.shop.example:1", ("https://*.shop.example:1",), True),
        ("https://a.b.shop.example", ("https://*.shop.example",), False),
        ("https://shop.example", ("https://*.shop.example",), False),
        ("https://.shop.example", ("https://*.shop.example",), False),
        ("https://*.shop.example", ("https://*.shop.example",), False),
        ("https://anything.example", ("*",), True),
        ("capacitor://localhost", ("*",), True),
        ("http://[::1]:3000", ("*",), True),
        ("null", ("*",), True),
        ("null", (SHOP,), False),
        ("", ("*",), False),
        ("*", ("*",), False),
        ("https://é.example", ("*",), False),
        ("https://x\r\nSet-Cookie: a=b", ("*",), False),
        ("https://" + "x" * 300, ("*",), False),
    ],
    ids=repr,
)
def test_origin_is_allowed_when_the_list_means_it(
    origin: str, allowed: Collection[str], *, is_good: bool
) -> None:
    assert is_allowed(origin, allowed) is is_good
    answer = Answer(202, headers=(("X-Event-Id", "e"),))
    headers = dict(readable_by(answer, origin, allowed).headers)
    assert headers["X-Event-Id"] == "e"
    assert headers.get("Access-Control-Allow-Origin") == (origin if is_good else None)


def test_preflight_without_an_origin_names_the_methods_alone() -> None:
    answer = preflight(None, ("*",), allow="POST, OPTIONS")
    assert (answer.status, answer.headers) == (204, (("Allow", "POST, OPTIONS"),))
