"""What the receiver answers (reference/shopify.md, 8), and what it queued, without a warehouse."""

import asyncio
import gzip
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from tests.support.edge import Part, running
from tests.support.gateway import TENANT, stored_rows
from tests.support.poll import poll_until
from tests.support.raw_http import connect, read_answer, request_bytes
from tests.support.segops import Answer
from tests.support.shopify import (
    OLD_SECRET,
    SECRET,
    SHOP,
    VECTOR,
    VECTOR_SIGNATURE,
    Shop,
    assert_kept,
    assert_not_kept,
    headers,
    open_shop,
    sample,
    shop_of,
)
from tests.support.telemetry import MIB, PeakMemory

CREATE = "orders/create"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_of(tmp_path) as (opened, _):
        yield opened


async def stored(data_dir: Path) -> dict[str, list[Any]]:
    """Return what a stopped gateway queued."""
    rows = await stored_rows(load_settings(data_dir=data_dir))
    return {kind: [orjson.loads(row) for row in found] for kind, found in rows.items()}


def bulky_order() -> bytes:
    """Return an order of 80 KB that no compression makes smaller than half."""
    lines = b",".join(b'{"title":"%b"}' % os.urandom(400).hex().encode() for _ in range(99))
    return b'{"id":1,"email":"a@b.example","line_items":[%b]}' % lines


@contextmanager
def shop_process(data_dir: Path, **settings: str) -> Iterator[Part]:
    """Run a gateway in a process of its own, whose one tenant is a shop."""
    tenants = TenantsFile(data_dir / "tenants.toml")
    tenants.add_tenant(TENANT)
    tenants.set_value(TENANT, "shopify_secrets", SECRET)
    with running("gateway", data_dir=data_dir, settings=settings) as edge:
        yield edge


def assert_denied(answer: Answer, status: int, error_type: str) -> None:
    assert (answer.status, answer.error_type) == (status, error_type), answer
    assert list(answer.json) == ["detail"]
    if status == 401:
        assert answer.headers["WWW-Authenticate"]


async def test_case_01_vector_of_the_reference_is_queued(tmp_path: Path) -> None:
    async with shop_of(tmp_path) as (shop, _):
        assert_kept(
            await shop.post(
                VECTOR, {"X-Shopify-Topic": CREATE, "X-Shopify-Hmac-SHA256": VECTOR_SIGNATURE}
            )
        )
    (event,) = (await stored(tmp_path))["events"]
    assert (event["event_type"], event["user_id"]) == ("order_placed", "nora@example.com")
    assert (event["payload"]["total"], event["payload"]["currency"]) == (42.5, "EUR")


async def test_case_10_path_without_its_slash_is_not_redirected(shop: Shop) -> None:
    answer = await shop.post(VECTOR, headers(CREATE, VECTOR), path=shop.path.rstrip("/"))
    assert_kept(answer)


async def test_case_11_header_names_may_be_in_any_case(shop: Shop) -> None:
    for spelled in (str.lower, str.upper, str.title):
        sent = {spelled(name): value for name, value in headers(CREATE, VECTOR).items()}
        assert_kept(await shop.post(VECTOR, sent))


async def test_chunked_body_is_taken_when_its_signature_is_good(shop: Shop) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(VECTOR), 10):
            yield VECTOR[at : at + 10]

    assert_kept(await shop.post(chunks(), headers(CREATE, VECTOR)))


async def test_cases_12_and_54_delivery_without_a_signature_is_denied(tmp_path: Path) -> None:
    events_delivery = headers(
        CREATE, VECTOR, {"X-Shopify-Hmac-SHA256": None, "Shopify-Hmac-Sha256": VECTOR_SIGNATURE}
    )
    async with shop_of(tmp_path) as (shop, _):
        denied = await shop.deliver(CREATE, VECTOR, {"X-Shopify-Hmac-SHA256": None})
        assert_denied(denied, 401, "shopify_signature_missing")
        assert_denied(await shop.post(VECTOR, events_delivery), 401, "shopify_signature_missing")
    rows = await stored(tmp_path)
    assert not rows["events"]
    assert {row["error_type"] for row in rows["errors"]} == {"shopify_signature_missing"}
    assert all("Events deliveries" in row["detail"] for row in rows["errors"])


@pytest.mark.parametrize(
    "signature",
    [
        headers(CREATE, VECTOR, secret="another-secret")["X-Shopify-Hmac-SHA256"],
        headers(CREATE, VECTOR.replace(b"5001", b"5000"))["X-Shopify-Hmac-SHA256"],
        "2c3511d40fceb4f02211eae906654" + "3" * 35,
        "é",
        "",
        "A" * 10_000,
    ],
    ids=["case 13", "case 14", "case 16", "case 17: é", "case 17: empty", "case 17: long"],
)
async def test_cases_13_to_17_wrong_signature_is_denied(tmp_path: Path, signature: str) -> None:
    async with shop_of(tmp_path) as (shop, _):
        answer = await shop.deliver(CREATE, VECTOR, {"X-Shopify-Hmac-SHA256": signature})
        assert_denied(answer, 401, "shopify_signature_invalid")
        assert answer.json["detail"] == "The signature matches none of this tenant's 1 secret."
    rows = await stored(tmp_path)
    assert not rows["events"]
    assert {row["error_type"] for row in rows["errors"]} == {"shopify_signature_invalid"}


async def test_case_15_body_that_was_written_anew_is_denied(tmp_path: Path) -> None:
    rewritten = VECTOR.replace(b":", b": ").replace(b",", b", ")
    async with shop_of(tmp_path) as (shop, _):
        assert_denied(
            await shop.post(rewritten, headers(CREATE, VECTOR)), 401, "shopify_signature_invalid"
        )
    (record,) = (await stored(tmp_path))["errors"]
    assert "something on the way rewrites it" in record["detail"]


async def test_cases_18_and_19_older_secret_is_good_until_it_is_removed(tmp_path: Path) -> None:
    both = {"shopify_secrets": f"{SECRET},{OLD_SECRET}"}
    async with shop_of(tmp_path, properties=both) as (shop, _):
        assert_kept(await shop.deliver(CREATE, VECTOR, secret=OLD_SECRET))
        assert_kept(await shop.deliver(CREATE, VECTOR, secret=SECRET))
        TenantsFile(tmp_path / "tenants.toml").set_value(TENANT, "shopify_secrets", SECRET)

        async def is_ended() -> bool:
            return (await shop.deliver(CREATE, VECTOR, secret=OLD_SECRET)).status == 401

        await poll_until(is_ended, what="the older secret is refused")
        assert_kept(await shop.deliver(CREATE, VECTOR, secret=SECRET))


@pytest.mark.parametrize("slug", ["nobody", "ACME", "acme%20", "%C3%A9", "acme.", "a" * 200])
async def test_case_20_unknown_tenant_is_not_found(shop: Shop, slug: str) -> None:
    answer = await shop.post(
        VECTOR, headers(CREATE, VECTOR), path=f"/api/ingestion/shopify/{slug}/"
    )
    assert_denied(answer, 404, "not_found")


async def test_path_without_a_tenant_or_with_more_is_not_found(shop: Shop) -> None:
    for path in ("", "/", "/acme/orders", "/acme//"):
        answer = await shop.post(
            VECTOR, headers(CREATE, VECTOR), path=f"/api/ingestion/shopify{path}"
        )
        assert_denied(answer, 404, "not_found")


async def test_case_21_tenant_without_a_secret_is_denied(tmp_path: Path) -> None:
    async with shop_of(tmp_path, properties={"shopify_secrets": ""}) as (shop, _):
        assert_denied(await shop.deliver(CREATE, VECTOR), 401, "shopify_not_configured")


async def test_tenant_that_is_switched_off_takes_nothing(tmp_path: Path) -> None:
    async with shop_of(tmp_path, properties={"enabled": "false"}) as (shop, _):
        assert_denied(await shop.deliver(CREATE, VECTOR), 403, "tenant_disabled")


async def test_case_22_another_shop_than_the_pinned_one_is_denied(tmp_path: Path) -> None:
    pinned = {"shopify_shop_domains": f"other.myshopify.com,{SHOP}"}
    async with shop_of(tmp_path, properties=pinned) as (shop, _):
        assert_kept(await shop.deliver(CREATE, VECTOR))
        assert_kept(await shop.deliver(CREATE, VECTOR, {"X-Shopify-Shop-Domain": SHOP.upper()}))
        for domain in ("evil.myshopify.com", None):
            answer = await shop.deliver(CREATE, VECTOR, {"X-Shopify-Shop-Domain": domain})
            assert_denied(answer, 401, "shopify_shop_mismatch")
            assert (b"evil.myshopify.com" in answer.body) == (domain is not None)


async def test_cases_23_to_25_event_id_is_that_of_the_delivery(tmp_path: Path) -> None:
    async with shop_of(tmp_path) as (shop, _):
        for _ in range(2):
            same = {"X-Shopify-Webhook-Id": "w-1", "X-Shopify-Event-Id": "e-1"}
            assert_kept(await shop.deliver(CREATE, VECTOR, same))
            assert_kept(await shop.deliver(CREATE, VECTOR, {"X-Shopify-Webhook-Id": None}))
        for topic, webhook_id in (("orders/create", "w-2"), ("orders/paid", "w-3")):
            named = {"X-Shopify-Webhook-Id": webhook_id, "X-Shopify-Event-Id": "e-1"}
            assert_kept(await shop.deliver(topic, VECTOR, named))
    ids = [event["event_id"] for event in (await stored(tmp_path))["events"]]
    assert len(ids) == 6
    assert len(set(ids)) == 4
    assert all(event_id[14] == "5" for event_id in ids)


async def test_case_26_delivery_that_was_refused_once_is_one_event_at_last(tmp_path: Path) -> None:
    order, same = bulky_order(), {"X-Shopify-Webhook-Id": "w-26"}
    async with shop_of(tmp_path, queue_max_bytes=MIB) as (shop, _):

        async def is_full() -> bool:
            return (await shop.deliver(CREATE, bulky_order())).status == 503

        await poll_until(is_full, every_s=0, what="the queue takes no more")
        for _ in range(2):
            assert_denied(await shop.deliver(CREATE, order, same), 503, "spool_full")
    async with shop_of(tmp_path) as (shop, _):
        answers = [await shop.deliver(CREATE, order, same) for _ in range(2)]
    for answer in answers:
        assert_kept(answer)
    (event_id,) = {answer.headers["X-Event-Id"] for answer in answers}
    ids = [event["event_id"] for event in (await stored(tmp_path))["events"]]
    # Two copies of one event, which the warehouse counts once; none of what was refused.
    assert ids.count(event_id) == 2


async def test_cases_27_and_28_topic_that_is_not_kept_leaves_few_records(tmp_path: Path) -> None:
    async with shop_of(tmp_path) as (shop, _):
        assert_not_kept(await shop.deliver("themes/publish", b"{}"), "topic_not_kept")
        for _ in range(1_000):
            answer = await shop.deliver("inventory_levels/update", b'{"inventory_item_id":1}')
            assert_not_kept(answer, "topic_not_kept")
            assert answer.error_type == "shopify_topic_not_kept"
    errors = (await stored(tmp_path))["errors"]
    assert len(errors) < 20
    counts = {
        "Topic themes/publish is not kept: it is not in the mapping.": 0,
        "Topic inventory_levels/update is not kept: it is off for this tenant.": 0,
    }
    for record in errors:
        counts[record["detail"]] += record.get("occurrences", 1)
    assert list(counts.values()) == [1, 1_000]


async def test_case_29_topic_is_kept_when_the_tenant_switched_it_on(tmp_path: Path) -> None:
    async with shop_of(tmp_path, properties={"shopify_topics": "products/*"}) as (shop, _):
        assert_kept(await shop.deliver("products/update", b'{"id":1}'))
        assert_not_kept(await shop.deliver("shop/update", b'{"id":1}'), "topic_not_kept")
    (event,) = (await stored(tmp_path))["events"]
    assert event["user_id"] == f"shop:{SHOP}"


async def test_cases_30_to_34_what_no_retry_can_mend_is_answered_200(tmp_path: Path) -> None:
    async with shop_of(tmp_path) as (shop, _):
        no_topic = {"X-Shopify-Topic": None}
        assert_not_kept(await shop.deliver(CREATE, VECTOR, no_topic), "topic_missing")
        assert_not_kept(await shop.deliver("customers/update", b"{}"), "no_user")
        for body in (b"<order/>", b"", b" ", b'{"a":NaN}', b'{"a":1', b"[1,", b'{"a":"\xff"}'):
            assert_not_kept(await shop.deliver(CREATE, body), "body_not_json")
        for body in (b"null", b"[]", b'"x"', b"1"):
            assert_not_kept(await shop.deliver(CREATE, body), "body_not_object")
    rows = await stored(tmp_path)
    assert not rows["events"]
    assert {row["error_type"] for row in rows["errors"]} == {
        "shopify_topic_missing",
        "shopify_no_user",
        "shopify_body_not_json",
        "shopify_body_not_object",
    }


async def test_cases_35_and_36_large_body_is_hashed_and_not_kept(shop: Shop) -> None:
    large = b"{".ljust(6 * MIB) + b"}"
    assert_not_kept(await shop.deliver(CREATE, large), "body_too_large")
    denied = await shop.deliver(CREATE, large, secret="another-secret")
    assert_denied(denied, 401, "shopify_signature_invalid")
    sent = headers(CREATE, b"", {"Content-Length": str(25 * MIB)})

    async def endless() -> AsyncIterator[bytes]:
        yield b" " * 1000

    answer = await shop.post(endless(), sent)
    assert_denied(answer, 413, "body_too_large")
    assert answer.headers["Connection"] == "close"


async def test_case_35_memory_stays_bounded_when_many_large_bodies_arrive(tmp_path: Path) -> None:
    """Of the gateway's own process, as the kernel measures it."""
    large = b"{".ljust(6 * MIB) + b"}"
    signed, forged = headers(CREATE, large), headers(CREATE, large, secret="another-secret")
    with shop_process(tmp_path) as edge:
        async with open_shop(edge.url, TENANT) as shop:

            async def post(sent: dict[str, str], status: int) -> None:
                for _ in range(6):
                    assert (await shop.post(large, sent)).status == status

            await post(signed, 200)  # what is made once for all
            with PeakMemory(edge.pid) as memory:
                async with asyncio.TaskGroup() as tasks:
                    for sent, status in ((signed, 200), (forged, 401)) * 2:
                        tasks.create_task(post(sent, status))
    # 144 MiB went through. Each of the four connections may hold 5 MiB twice, while its pieces are
    # put together, and what is read ahead.
    assert memory.growth_bytes < 75 * MIB


async def test_body_that_does_not_arrive_is_given_up_after_3_s(shop: Shop) -> None:
    sent = headers(CREATE, VECTOR, {"Content-Length": str(len(VECTOR))})
    async with connect(shop.url) as (reader, writer):
        started = time.monotonic()
        writer.write(request_bytes(shop.path, headers=list(sent.items()), body=VECTOR[:-1]))
        answer = await read_answer(reader)
    assert answer is not None
    assert_denied(answer, 408, "body_timeout")
    assert 2.5 < time.monotonic() - started < 5


async def test_gzipped_body_is_denied_and_the_record_says_why(tmp_path: Path) -> None:

    body = gzip.compress(VECTOR)
    async with shop_of(tmp_path) as (shop, _):
        sent = {**headers(CREATE, VECTOR), "Content-Encoding": "gzip"}
        async with shop.session.post(shop.url + shop.path, data=body, headers=sent) as answer:
            assert answer.status == 401
    (record,) = (await stored(tmp_path))["errors"]
    assert "something on the way compresses it" in record["detail"]


async def test_case_43_age_of_a_delivery_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """Shopify's last try comes hours after the first, and a shop may send old ones again."""
    hours_ago = datetime.now(UTC) - timedelta(hours=20)
    times = [f"{hours_ago:%Y-%m-%dT%H:%M:%S.%f}000Z", "2001-01-01T00:00:00Z"]
    async with shop_of(tmp_path) as (shop, _):
        for triggered_at in times:
            assert_kept(
                await shop.deliver(CREATE, VECTOR, {"X-Shopify-Triggered-At": triggered_at})
            )
    events = (await stored(tmp_path))["events"]
    assert [event["occurred_at"][:26] + "000Z" for event in events][:1] == times[:1]


async def test_case_44_version_of_the_api_is_no_reason_to_refuse(shop: Shop) -> None:
    for version in ("2023-01", "unstable", None):
        assert_kept(await shop.deliver(CREATE, VECTOR, {"X-Shopify-API-Version": version}))


async def test_cases_47_to_49_privacy_topic_is_one_run_and_no_event(tmp_path: Path) -> None:
    triggered_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z"
    async with shop_of(tmp_path) as (shop, _):
        for _ in range(2):
            named = {"X-Shopify-Webhook-Id": "w-15", "X-Shopify-Triggered-At": triggered_at}
            assert_kept(await shop.send(15, named))
        wrong = await shop.deliver(*sample(15), secret="another-secret")
        assert_denied(wrong, 401, "shopify_signature_invalid")
        assert_kept(await shop.send(16))
        assert_kept(await shop.send(17))
    rows = await stored(tmp_path)
    assert not rows["events"]
    started = [row["run"] for row in rows["commands"]]
    runs = {row["run_id"]: row for row in started}
    assert (len(started), len(runs)) == (4, 3)
    assert [run["type"] for run in runs.values()] == ["erase", "data-request", "erase"]
    assert all(run["source"] == "shopify" and run["due_at"] for run in runs.values())
    erase, export, shop_run = (orjson.loads(run["inputs"])["shopify"] for run in runs.values())
    assert (erase["email"], erase["order_ids"]) == ("nora@example.com", ["5001", "5002"])
    assert export["data_request_id"] == "31337"
    assert shop_run == {"request": "shop/redact", "shop_domain": SHOP}
    assert "nora" not in str(rows["errors"])


async def test_signed_body_of_another_form_starts_no_run_under_a_privacy_topic(
    tmp_path: Path,
) -> None:
    """Only the body is signed: whoever holds an order could call it shop/redact."""
    large = b'{"customer":{"id":1},"x":"%b"}' % (b" " * (6 * MIB))
    async with shop_of(tmp_path) as (shop, _):
        for topic in ("customers/redact", "customers/data_request", "shop/redact"):
            for body in (VECTOR, sample(1)[1], b"{}"):
                assert_not_kept(await shop.deliver(topic, body), "privacy_request_invalid")
            assert_not_kept(await shop.deliver(topic, b'{"a":NaN}'), "body_not_json")
            assert_not_kept(await shop.deliver(topic, b"[]"), "body_not_object")
            assert_not_kept(await shop.deliver(topic, large), "body_too_large")
        assert_not_kept(await shop.deliver("shop/redact", sample(15)[1]), "privacy_request_invalid")
        denied = await shop.deliver("customers/redact", large, secret="another-secret")
        assert_denied(denied, 401, "shopify_signature_invalid")
    rows = await stored(tmp_path)
    assert not rows["commands"]
    assert "shopify_privacy_request_invalid" in {row["error_type"] for row in rows["errors"]}
    assert "nora" not in str(rows["errors"])


async def test_case_52_full_queue_is_answered_503(tmp_path: Path) -> None:
    async with shop_of(tmp_path, queue_max_bytes=MIB) as (shop, _):

        async def is_full() -> Answer | None:
            answer = await shop.deliver(CREATE, bulky_order())
            return None if answer.status == 200 else answer

        answer = await poll_until(is_full, every_s=0, what="the queue takes no more")
        assert_denied(answer, 503, "spool_full")
        assert answer.headers["Retry-After"]


async def test_case_55_other_methods_are_not_allowed(shop: Shop) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await shop.post(b"", {}, method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")


async def test_case_56_secret_digest_and_body_are_in_no_log_record_or_metric(
    tmp_path: Path,
) -> None:
    topic, body = sample(1)
    right = headers(topic, body)["X-Shopify-Hmac-SHA256"]
    wrong = headers(topic, body, secret="another-secret")["X-Shopify-Hmac-SHA256"]
    with shop_process(tmp_path, LOG_LEVEL="debug") as edge:
        async with open_shop(edge.url, TENANT) as shop:
            assert_kept(await shop.deliver(topic, body))
            assert (await shop.deliver(topic, body, {"X-Shopify-Hmac-SHA256": wrong})).status == 401
            assert (await shop.post(body + b" ", headers(topic, body))).status == 401
            assert_not_kept(await shop.deliver("themes/publish", body), "topic_not_kept")
            assert_not_kept(await shop.deliver(topic, body[:-1]), "body_not_json")
            assert_kept(await shop.send(15))
            forged = await shop.deliver("shop/redact", body)
            assert_not_kept(forged, "privacy_request_invalid")
            async with shop.session.get(f"{edge.url}/metrics") as answer:
                metrics = await answer.text()
    log = (tmp_path / "gateway.log").read_text()
    records = str((await stored(tmp_path))["errors"])
    for where, text in {"log": log, "records": records, "metrics": metrics}.items():
        assert text, where
        for part in (SECRET, right, wrong, "nora@example.com", "Green tea", "42.50"):
            assert part not in text, where
