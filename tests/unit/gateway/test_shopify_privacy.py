"""Privacy requests: only a body of the topic's own form asks for a run (reference, 2)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gateway.sources.shopify import Read
from gateway.sources.shopify_privacy import PRIVACY_TOPICS, PrivacyRequest, run_of
from gateway.sources.shopify_topics import TOPICS
from sluice.cli.webhook import samples
from sluice.core.errors import ErrorType, Rejected
from sluice.core.tenant import Tenant
from sluice.core.workflows import DEFAULTS, TYPES
from sluice.workflows.core.inputs import read_schema
from tests.support.shopify import SHOP, sample
from tests.unit.gateway.test_shopify import BODIES, GENERAL, TENANT, TRIGGERED, became

NOW = datetime(2026, 5, 11, 15, 10, tzinfo=UTC)
REDACT = sample(15)[1]
SHOP_REDACT = sample(17)[1]


def asked(topic: str, body: bytes, **headers: str) -> PrivacyRequest:
    found = became(topic, body, tenant=TENANT, **headers)
    assert isinstance(found, PrivacyRequest), found
    return found


def refusal(topic: str, body: bytes, **headers: str) -> str:
    found = became(topic, body, tenant=TENANT, **headers)
    assert isinstance(found, Rejected), found
    return found.error_type


def said(request: PrivacyRequest) -> dict[str, Any]:
    inputs: dict[str, Any] = msgspec.json.decode(request.inputs)
    return inputs


def test_samples_15_to_17_ask_for_their_runs() -> None:
    erase, export, shop = (asked(*sample(number)) for number in (15, 16, 17))
    assert said(erase)["shopify"] == {
        "request": "customers/redact",
        "shop_domain": SHOP,
        "email": "nora@example.com",
        "customer_id": "7001",
        "order_ids": ["5001", "5002"],
    }
    assert said(export)["shopify"]["data_request_id"] == "31337"
    assert said(shop)["shopify"] == {"request": "shop/redact", "shop_domain": SHOP}
    configs = [one.config_id for one in (erase, export, shop)]
    assert configs == ["og-erase", "og-data-request", "og-erase"]


@pytest.mark.parametrize("number", [15, 16, 17])
def test_inputs_of_a_request_are_such_as_its_workflow_takes(number: int) -> None:
    request = asked(*sample(number))
    schema = read_schema(dict(TYPES[DEFAULTS[request.config_id].type].inputs or {}), {})
    assert not isinstance(schema, str)
    assert schema.problems(said(request), frozenset()) == ()


def bodies_of(topic: str) -> list[bytes]:
    """Return every body that the tests have of a topic, and the one that fits all."""
    found = [bytes(one.body) for one in samples() if one.topic == topic]
    found += [BODIES[topic][0]] if topic in BODIES else []
    return [*found, GENERAL]


@pytest.mark.parametrize("privacy", PRIVACY_TOPICS)
@pytest.mark.parametrize("topic", TOPICS)
def test_attacker_starts_no_run_when_he_sends_a_signed_body_again_under_a_privacy_topic(
    topic: str, privacy: str
) -> None:
    """Whoever holds a delivery may put any headers on its signed body."""
    for body in bodies_of(topic):
        assert refusal(privacy, body) == ErrorType.SHOPIFY_PRIVACY_REQUEST_INVALID
        for shop in (SHOP, "", "other.myshopify.com"):
            assert isinstance(became(privacy, body, tenant=TENANT, Shop_Domain=shop), Rejected)


@pytest.mark.parametrize("privacy", PRIVACY_TOPICS)
@pytest.mark.parametrize("number", [15, 16, 17])
def test_attacker_makes_no_other_request_of_a_privacy_request(number: int, privacy: str) -> None:
    """Above all: what one customer asked for must not erase a shop."""
    topic, body = sample(number)
    found = became(privacy, body, tenant=TENANT)
    assert isinstance(found, PrivacyRequest) == (topic == privacy)


@pytest.mark.parametrize(
    "body",
    [
        b'{"shop_id":11}',
        b'{"shop_domain":"acme-tea.myshopify.com"}',
        b'{"shop_id":"11","shop_domain":"acme-tea.myshopify.com"}',
        b'{"shop_id":11,"shop_domain":null}',
        b'{"shop_id":11,"shop_domain":"acme-tea.myshopify.com","id":1}',
        b'{"shop_id":11,"shop_domain":"acme-tea.myshopify.com","customer":{"id":1}}',
        b"{}",
    ],
)
def test_body_of_nearly_the_form_erases_no_shop(body: bytes) -> None:
    assert refusal("shop/redact", body) == ErrorType.SHOPIFY_PRIVACY_REQUEST_INVALID


def test_request_for_another_shop_than_the_header_names_is_refused() -> None:
    for number in (15, 16, 17):
        topic, body = sample(number)
        wrong = refusal(topic, body, Shop_Domain="other.myshopify.com")
        assert wrong == ErrorType.SHOPIFY_PRIVACY_REQUEST_INVALID
        asked(topic, body, Shop_Domain=SHOP.upper())


def test_unreadable_request_is_refused_by_its_reason() -> None:
    reasons = {b"<x/>": "shopify_body_not_json", b"[]": "shopify_body_not_object"}
    for body, reason in reasons.items():
        assert refusal("customers/redact", body) == reason


def test_privacy_request_keeps_the_order_ids_beside_what_is_none() -> None:
    listed = b'[5001,1e400,%b,null,{"id":1e400},1.5,true,"5002",[]]' % (b"9" * 5_000)
    body = REDACT.replace(b"[5001,5002]", listed)
    assert said(asked("customers/redact", body))["shopify"]["order_ids"] == ["5001", "5002"]


def test_privacy_request_with_half_a_surrogate_pair_keeps_whom_it_is_about() -> None:
    body = REDACT.replace(b'"phone":null', rb'"phone":"\ud83d"')
    assert said(asked("customers/redact", body))["shopify"]["email"] == "nora@example.com"


def test_tries_of_one_delivery_are_one_run_and_move_no_date() -> None:
    tenant = Tenant("acme")
    request = asked("customers/redact", REDACT, Triggered_At=TRIGGERED)
    first = run_of(request, tenant, now=NOW)
    assert first == run_of(request, tenant, now=NOW + timedelta(hours=4))
    assert (first.created_at, first.due_at) == (
        "2026-05-11T15:06:59.110",
        "2026-06-10T15:06:59.110",
    )
    assert (first.config_id, first.type, first.source) == ("og-erase", "erase", "shopify")
    assert "nora" not in str(msgspec.structs.replace(first, inputs=""))
    other = run_of(replace(request, request_id="w-2"), tenant, now=NOW)
    assert other.run_id != first.run_id
    assert run_of(request, Tenant("other"), now=NOW).run_id != first.run_id


@pytest.mark.parametrize(
    "triggered_at", ["", "nonsense", "1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"]
)
def test_moment_that_cannot_be_is_replaced_by_ours_under_the_same_key(triggered_at: str) -> None:
    request = asked("customers/redact", REDACT, Triggered_At=triggered_at)
    runs = [run_of(request, Tenant("acme"), now=NOW + timedelta(minutes=n)) for n in (0, 9)]
    assert runs[0].created_at == "2026-05-11T15:10:00.000"
    assert runs[0].request_key == runs[1].request_key != ""


def test_privacy_topic_is_kept_whatever_the_tenant_switches_off() -> None:
    found: Read = became("shop/redact", SHOP_REDACT, tenant=Tenant("acme", shopify_topics=()))
    assert isinstance(found, PrivacyRequest)
