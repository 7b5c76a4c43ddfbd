"""Whom a privacy request means, and what of it is kept when its run has ended."""

from typing import Any

import msgspec
import pytest

from sluice.core.erasures import digest_of, fingerprint
from worker.workflows.core.people import People, kept_inputs, people_of

SHOP = "acme-tea.myshopify.com"
NORA = "nora@example.com"


def people(**inputs: Any) -> People:
    found = people_of("acme", inputs, shop_domains=())
    assert isinstance(found, People), found
    return found


def test_users_are_meant_as_they_are_written() -> None:
    found = people(user_ids=["b", "a", "a "])
    assert found.user_ids == ["a", "a ", "b"]
    assert found.shown == sorted(map(fingerprint, ("a", "a ", "b")))
    assert set(found.digests.values()) == {"user"}
    assert not found.has_shopify


def test_customer_is_a_user_by_the_e_mail_and_the_rest_counts_for_shopify_alone() -> None:
    found = people(
        shopify={
            "request": "customers/redact", "email": NORA, "customer_id": "7", "order_ids": ["5"]
        }
    )  # fmt: skip
    assert found.user_ids == [NORA]
    assert found.digests == {
        digest_of("acme", "user", NORA): "user",
        digest_of("acme", "email", NORA): "email",
        digest_of("acme", "customer", "7"): "customer",
        digest_of("acme", "order", "5"): "order",
    }
    assert found.has_shopify
    assert not found.is_shop


@pytest.mark.parametrize("domains", [(), (SHOP, "b.myshopify.com"), (SHOP,)])
def test_events_that_name_no_shop_are_of_the_only_one_there_is(domains: tuple[str, ...]) -> None:
    inputs = {"shopify": {"request": "shop/redact", "shop_domain": SHOP.upper()}}
    found = people_of("acme", inputs, shop_domains=domains)
    assert isinstance(found, People)
    assert found.is_shop
    assert (digest_of("acme", "shop", "") in found.digests) == (domains == (SHOP,))


def test_ended_run_keeps_whom_it_was_about_as_sha256_only() -> None:
    inputs = {
        "user_ids": [NORA],
        "shopify": {
            "request": "customers/redact", "shop_domain": SHOP, "email": NORA,
            "customer_id": "7", "order_ids": ["5"],
        },
    }  # fmt: skip
    text = msgspec.json.encode(inputs).decode()
    kept = kept_inputs("erase", text)
    assert msgspec.json.decode(kept) == {
        "user_ids_sha256": [fingerprint(NORA)],
        "shopify": {
            "request": "customers/redact", "shop_domain": SHOP, "email": fingerprint(NORA),
            "customer_id": fingerprint("7"), "order_ids": [fingerprint("5")],
        },
    }  # fmt: skip
    assert kept_inputs("erase", kept) != text
    assert kept_inputs("replay", text) == text
    assert kept_inputs("data-request", "nonsense") == "{}"
