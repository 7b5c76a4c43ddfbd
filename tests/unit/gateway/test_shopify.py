"""From a delivery to an event: the cases of reference/shopify.md, 8, that need no server."""

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sources import shopify_topics
from gateway.sources.shopify import MAX_PAYLOAD_BYTES, Read, read
from gateway.sources.shopify_privacy import PRIVACY_TOPICS
from gateway.sources.shopify_topics import TOPICS, Field, Topic
from gateway.sources.shopify_values import all_money, money
from sluice.cli.webhook import samples
from sluice.core.errors import Rejected
from sluice.core.event import Candidate
from sluice.core.tenant import Tenant
from tests.support.shopify import SHOP, sample

TENANT = Tenant("acme")
EVERYTHING = Tenant("acme", shopify_topics=("*",))
NORMATIVE = {
    "orders/create": "order_placed",
    "orders/paid": "order_paid",
    "orders/cancelled": "order_cancelled",
    "checkouts/create": "checkout_started",
    "checkouts/delete": "checkout_abandoned",
    "customers/create": "customer_created",
}
TRIGGERED = "2026-05-11T15:06:59.110521905Z"


def became(topic: str, body: bytes, *, tenant: Tenant = EVERYTHING, **headers: str) -> Read:
    given_headers = {
        "X-Shopify-Topic": topic,
        "X-Shopify-Shop-Domain": SHOP,
        "X-Shopify-Webhook-Id": "w-1",
        **{f"X-Shopify-{name.replace('_', '-')}": value for name, value in headers.items()},
    }
    return read(given_headers, body, tenant)


def event(topic: str, body: bytes, *, tenant: Tenant = EVERYTHING, **headers: str) -> Candidate:
    found = became(topic, body, tenant=tenant, **headers)
    assert isinstance(found, Candidate), found
    return found


def payload(candidate: Candidate) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(candidate.payload)
    return found


def test_case_02_sample_1_is_an_order_with_its_lines() -> None:
    found = event(*sample(1))
    assert found.occurred_at == "2026-04-25T14:32:00"
    said = payload(found)
    assert (said["item_count"], said["quantity"], said["total"]) == (2, 3, 42.5)
    assert [item["sku"] for item in said["items"]] == ["TEA-GREEN", "CUP-01"]
    assert b'"total":42.50,' in found.payload


def test_case_03_normative_topics_become_the_normative_event_types() -> None:
    assert {topic: TOPICS[topic].event_type for topic in NORMATIVE} == NORMATIVE
    assert all(TOPICS[topic].is_kept for topic in NORMATIVE)


@pytest.mark.parametrize(
    ("number", "user_id"),
    [
        (3, "7001"), (4, "order:5003"), (5, "ivo@example.org"), (6, "7002"),
        (7, "anon_hWN1cart78"), (8, "guest@example.net"), (9, "anon_hWN1cart78"),
        (10, "anon_hWN1cart79"), (11, "order:5001"), (12, "order:5001"),
        (13, "nora@example.com"), (14, "7001"), (18, f"shop:{SHOP}"),
    ],
)  # fmt: skip
def test_cases_04_to_06_sample_is_filed_under_its_user(number: int, user_id: str) -> None:
    assert event(*sample(number)).user_id == user_id


def test_case_06_checkouts_of_one_visitor_carry_the_cart_token() -> None:
    for number in (7, 8, 9):
        found = event(*sample(number))
        assert payload(found)["cart_token"] == found.anonymous_id == "hWN1cart78"


def test_case_07_abandoned_checkout_occurred_when_it_was_triggered() -> None:
    found = event(*sample(9), Triggered_At=TRIGGERED)
    assert found.occurred_at == "2026-05-11T15:06:59.110521905"
    said = payload(found)
    assert (said["total"], said["currency"]) == (18.75, "USD")


def test_case_08_cart_sums_its_lines_in_the_currency_of_the_first() -> None:
    said = event(*sample(10)).payload
    assert b'"total":36.00,"currency":"EUR"' in said


def test_case_09_failed_refund_is_not_counted() -> None:
    found = event(*sample(11))
    assert b'"total":12.00,"currency":"EUR"' in found.payload
    assert payload(found)["quantity"] == 1


def test_case_25_delivery_without_an_id_is_named_by_topic_and_body() -> None:
    names = {
        event(topic, body, Webhook_Id=webhook_id).client_id
        for topic in ("orders/create", "orders/paid")
        for body in (b'{"id":1}', b'{"id":2}')
        for webhook_id in ("", "é", "x" * 300)
    }
    assert len(names) == 4
    assert all(name and name.startswith("shopify-body:") for name in names)


def test_case_37_large_order_keeps_its_first_100_lines() -> None:
    line = b'{"product_id":1,"quantity":2,"price":"1.00","title":"T","properties":[%b]}'
    lines = b",".join([line % (b'"' + b"x" * 5_000 + b'"')] * 500)
    found = event("orders/create", b'{"id":1,"email":"a@b.example","line_items":[%b]}' % lines)
    said = payload(found)
    assert (said["item_count"], said["quantity"], len(said["items"])) == (500, 1000, 100)


def test_case_38_large_id_is_kept_digit_by_digit() -> None:
    found = event("orders/create", b'{"id":9223372036854775807}')
    assert found.user_id == "order:9223372036854775807"
    assert b'"order_id":9223372036854775807' in found.payload


@pytest.mark.parametrize("price", ['"total_price":"abc"', '"total_price":null', '"x":1'])
def test_case_39_total_that_is_no_amount_is_left_out(price: str) -> None:
    found = event("orders/create", f'{{"id":1,{price}}}'.encode())
    assert "total" not in payload(found)


@pytest.mark.parametrize("amount", ["0.10", "-3.00", "0", "12345678901234567890.123456789"])
def test_case_40_amount_keeps_its_digits(amount: str) -> None:
    for sent in (f'"{amount}"', amount):
        found = event("orders/create", f'{{"id":1,"total_price":{sent}}}'.encode())
        said = msgspec.json.decode(found.payload, type=dict[str, msgspec.Raw])
        assert bytes(said["total"]) == amount.encode()


def test_case_41_missing_time_is_the_receive_time() -> None:
    assert event("orders/create", b'{"id":1,"created_at":null}').occurred_at is None
    assert event("orders/create", b'{"id":1,"created_at":"soon"}').occurred_at is None


def test_case_42_trigger_time_stands_in_for_a_time_that_is_no_time() -> None:
    for sent in ("null", '"soon"', "7", '"1066-10-14T09:00:00Z"'):
        body = f'{{"id":1,"created_at":{sent}}}'.encode()
        found = event("orders/create", body, Triggered_At=TRIGGERED)
        assert found.occurred_at == "2026-05-11T15:06:59.110521905"


def test_case_45_email_is_stripped_and_keeps_its_case() -> None:
    body = b'{"id":1,"customer":{"email":" Nora@Example.com "},"email":"other@example.com"}'
    assert event("orders/create", body).user_id == "Nora@Example.com"


def test_case_46_email_that_is_too_long_is_passed_over() -> None:
    body = b'{"id":1,"customer":{"email":"%b@example.com","id":7}}' % (b"x" * 300)
    assert event("orders/create", body).user_id == "7"


def test_case_57_names_phones_and_recovery_addresses_are_not_kept() -> None:
    private = b'"first_name":"Nora","phone":"+49","email":"o@example.com","address1":"A 1"'
    bodies = [(one.topic, bytes(one.body)) for one in samples()]
    bodies += [(topic, b'{"id":1,"order_id":2,%b}' % private) for topic in TOPICS]
    for topic, body in bodies:
        found = became(topic, body)
        if isinstance(found, Candidate):
            for word in (b"first_name", b"phone", b"abandoned_checkout_url", b"hidden", b"address"):
                assert word not in found.payload


def test_staff_account_is_never_the_user() -> None:
    for number in (4, 7, 11, 12):
        candidate = event(*sample(number))
        assert candidate.user_id != "99"
        assert b'"user_id":' not in candidate.payload


def test_key_behind_a_cart_token_is_taken_off() -> None:
    body = b'{"token":"hWN1?key=hidden","line_items":[]}'
    found = event("carts/update", body)
    assert (found.user_id, b"hidden" in found.payload) == ("anon_hWN1", False)


def test_headers_are_kept_where_they_are_plain_text() -> None:
    found = event("orders/create", b'{"id":1}', Event_Id="e-1", Name="é", Test="true")
    assert payload(found)["shopify"] == {
        "topic": "orders/create",
        "shop_domain": SHOP,
        "webhook_id": "w-1",
        "event_id": "e-1",
        "test": True,
    }


def test_full_body_is_the_payload_when_the_tenant_asks_for_it_and_it_fits() -> None:
    full = Tenant("acme", shopify_full_body=True)
    body = b'{"id":1,"email":"a@b.example","note":"as sent", "n":1.50}'
    found = event("orders/create", body, tenant=full)
    assert (found.payload, found.user_id) == (body, "a@b.example")
    for large in (
        b'{"id":1,"note":"%b"}' % (b"x" * MAX_PAYLOAD_BYTES),
        b'{"id":1,"deep":%b1%b}' % (b"[" * 40, b"]" * 40),
    ):
        assert payload(event("orders/create", large, tenant=full))["order_id"] == 1


# --- the table -------------------------------------------------------------------------------

BODIES: Mapping[str, tuple[bytes, str, dict[str, object]]] = {
    "order_transactions/create": (
        b'{"id":9,"order_id":5,"kind":"sale","status":"success","gateway":"bogus",'
        b'"amount":"4.20","currency":"EUR","processed_at":"2026-01-02T00:00:00Z","user_id":99}',
        "order:5",
        {"transaction_id": 9, "kind": "sale", "gateway": "bogus", "total": 4.2},
    ),
    "disputes/create": (
        b'{"id":8,"order_id":5,"type":"chargeback","reason":"fraudulent","amount":"1.00",'
        b'"currency":"USD","status":"under_review","initiated_at":"2026-01-02T00:00:00Z"}',
        "order:5",
        {"dispute_id": 8, "type": "chargeback", "total": 1.0},
    ),
    "fulfillment_events/create": (
        b'{"id":7,"fulfillment_id":6,"order_id":5,"status":"delivered",'
        b'"happened_at":"2026-01-02T00:00:00Z"}',
        "order:5",
        {"fulfillment_id": 6, "status": "delivered"},
    ),
    "customers/merge": (
        b'{"admin_graphql_api_customer_kept_id":"gid://shopify/Customer/1",'
        b'"admin_graphql_api_customer_deleted_id":"gid://shopify/Customer/2","status":"done"}',
        "1",
        {"customer_id": 1, "merged_customer_id": 2, "status": "done"},
    ),
    "customers/purchasing_summary": (
        b'{"customer_id":1,"orders_count":3,"total_spent":"10.00","last_order_id":4}',
        "1",
        {"customer_id": 1, "orders_count": 3, "total_spent": 10.0},
    ),
    "customer.tags_added": (
        b'{"customerId":"gid://shopify/Customer/1","tags":["vip","new"]}',
        "1",
        {"customer_id": 1, "tags": ["vip", "new"]},
    ),
    "customers_email_marketing_consent/update": (
        b'{"customer_id":1,"email_address":"a@b.example","email_marketing_consent":'
        b'{"state":"subscribed","opt_in_level":"single_opt_in",'
        b'"consent_updated_at":"2026-01-02T00:00:00Z"}}',
        "a@b.example",
        {"customer_id": 1, "state": "subscribed", "opt_in_level": "single_opt_in"},
    ),
    "customers_marketing_consent/update": (
        b'{"id":1,"phone":"+49","sms_marketing_consent":{"state":"subscribed"}}',
        "1",
        {"customer_id": 1, "state": "subscribed"},
    ),
    "subscription_billing_attempts/failure": (
        b'{"id":3,"subscription_contract_id":4,"order_id":5,"error_code":"card_declined"}',
        "order:5",
        {"subscription_id": 4, "order_id": 5, "error_code": "card_declined"},
    ),
    "app_subscriptions/update": (
        b'{"app_subscription":{"name":"pro"},"status":"active","updated_at":"2026-01-02T00:00:00Z"}',
        f"shop:{SHOP}",
        {"status": "active"},
    ),
    "products/update": (
        b'{"id":2,"title":"Tea","product_type":"Drink","vendor":"Acme","status":"active",'
        b'"tags":"a, b","variants":[{"price":"9.00"},{"price":"10.00"},{"price":"2.50"}],'
        b'"variant_gids":[{},{},{},{}]}',
        f"shop:{SHOP}",
        {"product_id": 2, "variant_count": 4, "price_min": 2.5, "price_max": 10.0},
    ),
    "inventory_levels/update": (
        b'{"inventory_item_id":1,"location_id":2,"available":null}',
        f"shop:{SHOP}",
        {"inventory_item_id": 1, "location_id": 2},
    ),
    "variants/out_of_stock": (
        b'{"id":1,"product_id":2,"sku":"S","inventory_quantity":0}',
        f"shop:{SHOP}",
        {"variant_id": 1, "product_id": 2, "sku": "S", "inventory_quantity": 0},
    ),
    "collections/update": (
        b'{"id":1,"handle":"tea","title":"Tea","image":{"src":"x"},"sort_order":"manual"}',
        f"shop:{SHOP}",
        {"id": 1, "handle": "tea", "title": "Tea", "sort_order": "manual"},
    ),
}
"""A body of each kind of topic that no sample of the reference shows: user, part of payload."""
GENERAL = (
    b'{"id":1,"order_id":5,"customer_id":1,"email":"a@b.example","token":"t-1",'
    b'"cart_token":"c-1","admin_graphql_api_customer_kept_id":"gid://shopify/Customer/1",'
    b'"customerId":"gid://shopify/Customer/1","email_address":"a@b.example",'
    b'"order_edit":{"order_id":5,"committed_at":"2026-01-02T00:00:00Z"},'
    b'"email_marketing_consent":{"consent_updated_at":"2026-01-02T00:00:00Z"},'
    b'"sms_marketing_consent":{"consent_updated_at":"2026-01-02T00:00:00Z"},'
    b'"created_at":"2026-01-02T00:00:00Z","updated_at":"2026-01-02T00:00:00Z",'
    b'"cancelled_at":"2026-01-02T00:00:00Z","processed_at":"2026-01-02T00:00:00Z",'
    b'"initiated_at":"2026-01-02T00:00:00Z","happened_at":"2026-01-02T00:00:00Z"}'
)
USERS = {"1": "a@b.example", "2": "1", "3": "anon_", "4": "order:", "5": "shop:"}


def test_table_has_all_topics_of_the_reference() -> None:
    assert len(TOPICS) + len(PRIVACY_TOPICS) >= 60
    assert len({row.event_type for row in TOPICS.values()}) == len(TOPICS)


@pytest.mark.parametrize("row", TOPICS.values(), ids=lambda row: row.name)
def test_every_topic_becomes_its_event_filed_under_its_first_user(row: Topic) -> None:
    found = event(row.name, GENERAL, Triggered_At="2026-01-02T00:00:00Z")
    assert found.event_type == row.event_type
    assert found.user_id.startswith(USERS[row.users[0]])
    assert found.occurred_at == "2026-01-02T00:00:00"
    assert payload(found)["shopify"]["topic"] == row.name


@pytest.mark.parametrize("topic", BODIES)
def test_topic_has_the_payload_that_its_row_says(topic: str) -> None:
    body, user_id, expected = BODIES[topic]
    found = event(topic, body, Triggered_At="2026-01-02T00:00:00Z")
    assert found.user_id == user_id
    said = payload(found)
    assert {name: said.get(name) for name in expected} == expected


@pytest.mark.parametrize("row", TOPICS.values(), ids=lambda row: row.name)
def test_topic_is_kept_by_default_or_when_a_pattern_names_it(row: Topic) -> None:
    assert isinstance(became(row.name, GENERAL, tenant=TENANT), Candidate) == row.is_kept
    named = Tenant("acme", shopify_topics=(row.name,))
    assert isinstance(became(row.name.upper(), GENERAL, tenant=named), Candidate)


def test_new_topic_is_one_row_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(became("draft_orders/create", b'{"id":1}'), Rejected)
    row = Topic(
        "draft_orders/create", "draft_order_created", "14", "created_at",
        (Field("name", "name", "text"),), order="id",
    )  # fmt: skip
    monkeypatch.setitem(shopify_topics.TOPICS, row.name, row)
    found = event("draft_orders/create", b'{"id":1,"name":"#D1"}')
    assert (found.event_type, found.user_id) == ("draft_order_created", "order:1")
    assert payload(found)["name"] == "#D1"


def test_body_as_deep_as_the_parser_just_goes_fails_no_delivery() -> None:
    before: Read | None = None
    for depth in range(300, 1_000):
        body = b'{"customer":{"id":7},"discount_codes":[{"code":%b}],"orders_to_redact":%b}' % (
            (b"[" * depth + b"]" * depth,) * 2
        )
        assert isinstance(became("customers/redact", body), Rejected)
        found = became("orders/create", body)
        if isinstance(found, Rejected):
            assert isinstance(before, Candidate)
            return
        before = found
    pytest.fail("no body was too deep")


def test_body_does_not_say_who_it_is_filed_under_and_where_it_came_from() -> None:
    found = payload(event("shop/update", b'{"shopify":1,"user_id_source":"email","plan":"basic"}'))
    assert (found["user_id_source"], found["plan"]) == ("shop", "basic")
    assert found["shopify"]["topic"] == "shop/update"


@pytest.mark.parametrize(
    "odd", [b'"contact_email":5', b'"cancel_reason":["x"]', b'"billing_policy":[]']
)
@pytest.mark.parametrize("number", [1, 8, 11])
def test_field_of_another_type_changes_nothing_of_the_others(number: int, odd: bytes) -> None:
    topic, body = sample(number)
    assert event(topic, b"{%b,%b" % (odd, body[1:])) == event(topic, body)


def test_what_fits_is_kept_when_something_beside_it_does_not() -> None:
    lines = b'[{"sku":7,"title":"T","quantity":"x","price":"2.50"},3]'
    body = b'{"id":true,"customer":{"email":5,"id":7},"line_items":%b,"name":"#1"}' % lines
    found = event("orders/create", body)
    assert found.user_id == "7"
    said = payload(found)
    assert (said["order_name"], said["customer_id"], said["item_count"]) == ("#1", 7, 2)
    assert said["items"] == [{"title": "T", "price": 2.5}, {}]
    assert "order_id" not in said


AMOUNTS = st.from_regex(r'"?-?0*[0-9]{1,20}(\.[0-9]{1,20})?"?', fullmatch=True) | st.sampled_from(
    ["", "null", '"1 2"', '"1e3"', "[]"]
)


@given(st.lists(AMOUNTS))
def test_amounts_are_read_together_as_each_alone(amounts: list[str]) -> None:
    sent = [amount.encode() for amount in amounts]
    assert list(all_money([msgspec.Raw(one) for one in sent])) == [money(one) for one in sent]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(["gid://shopify/Customer/07", "1.0", "007.10"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["id", "email", "quantity", "price", "kind"]), inner),
    max_leaves=6,
)  # fmt: skip
NAMES = sorted(
    {"customer", "email", "token", "cart_token", "customer_id", "variants"}
    | {
        path.partition(".")[0]
        for row in TOPICS.values()
        for field in row.fields
        for path in field.path.split("|")
    }
)


@given(st.sampled_from(sorted(TOPICS)), st.dictionaries(st.sampled_from(NAMES), JSON))
def test_no_body_breaks_a_mapping_and_every_payload_is_json(
    topic: str, body: dict[str, Any]
) -> None:
    found = became(topic, msgspec.json.encode(body))
    if isinstance(found, Candidate):
        msgspec.json.decode(found.payload)
        assert 1 <= len(found.user_id) <= 255


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=2, max_value=10**9)))
def test_total_of_a_cart_is_the_exact_sum(prices: list[Decimal]) -> None:
    lines = [{"line_price": format(price, "f")} for price in prices]
    body = msgspec.json.encode({"token": "t", "line_items": lines})
    said = msgspec.json.decode(event("carts/update", body).payload, type=dict[str, msgspec.Raw])
    fits = [price for price in prices if len(format(price, "f")) <= 38]
    if fits:
        assert Fraction(bytes(said["total"]).decode()) == sum(map(Fraction, fits))


@pytest.mark.parametrize("full_body", [False, True])
@pytest.mark.parametrize("where", ["title", "email", "note", "nested", "key"])
def test_order_with_half_a_surrogate_pair_is_kept_with_the_replacement_character(
    where: str, full_body: bool
) -> None:
    whole = (
        b'{"id":5,"email":"a<email>@b.example","customer":{"id":7,"x":{"y":"<nested>"}},'
        b'"note":"<note>","k<key>":1,"created_at":"2026-04-25T14:32:00Z",'
        b'"line_items":[{"sku":"S","title":"T<title>"}]}'
    )
    body = re.sub(rb"<\w+>", b"", whole.replace(f"<{where}>".encode(), rb"\ud83d"))
    found = event("orders/create", body, tenant=Tenant("acme", shopify_full_body=full_body))
    assert found.user_id == ("7" if where == "email" else "a@b.example")
    assert found.normalised == ("lone_surrogate",)
    assert found.occurred_at == "2026-04-25T14:32:00"
    said = payload(found)
    if full_body:
        assert b"ud83d" not in found.payload
        assert rb"\ufffd" in found.payload
    else:
        assert said["items"][0]["title"] == ("T\ufffd" if where == "title" else "T")


def test_body_with_half_a_surrogate_pair_and_another_fault_is_not_json() -> None:
    for body in (
        rb'{"id":1,"a":"\ud83d","b":NaN}',
        rb'{"id":1,"a":"\ud83d"',
        b'{"a":"\\ud83d\xff"}',
    ):
        found = became("orders/create", body)
        assert isinstance(found, Rejected)
        assert found.error_type == "shopify_body_not_json"
