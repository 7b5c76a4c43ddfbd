"""``sluice webhook`` beside a running gateway: it must name the true cause."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluice.tenants import TenantsFile
from tests.support.command import sluice
from tests.support.poll import poll_until
from tests.support.shopify import (
    OLD_SECRET,
    SECRET,
    Shop,
    assert_kept,
    assert_not_kept,
    headers,
    open_shop,
    sample,
)
from tests.support.stack import Stack

TOPIC, BODY = sample(1)


@pytest.fixture
async def shop(stack: Stack) -> AsyncIterator[tuple[Shop, str]]:
    slug, _, _ = stack.new_tenant()
    TenantsFile(stack.tenants_file).set_value(slug, "shopify_secrets", SECRET)
    async with open_shop(stack.url, slug) as opened:

        async def is_known() -> bool:
            return (await opened.post(b"", {})).error_type == "shopify_signature_missing"

        await poll_until(is_known, what="the gateway knows the secret")
        yield opened, slug


async def doctor(stack: Stack, slug: str, *words: str) -> dict[str, Any]:
    """Return the doctor's findings by name, once one of them holds all the words."""

    async def told() -> dict[str, Any] | None:
        ran = await sluice("webhook", "doctor", slug, "--json", settings=stack.settings)
        assert SECRET not in ran.stdout
        assert OLD_SECRET not in ran.stdout
        checks = {check["name"]: check for check in ran.json["checks"]}
        return checks if all(word in ran.stdout for word in words) else None

    return await poll_until(told, within_s=30, what=f"the doctor says {words}")


async def test_doctor_names_the_cause_of_what_was_changed_on_the_way(
    stack: Stack, shop: tuple[Shop, str]
) -> None:
    opened, slug = shop
    assert_kept(await opened.deliver(TOPIC, BODY))
    signed = headers(TOPIC, BODY)
    flipped = BODY.replace(b"Green tea", b"Green teb")
    zipped = gzip.compress(BODY)
    for body, more in (
        (flipped, {}),
        (zipped, {"Content-Encoding": "gzip"}),
        (BODY.replace(b",", b", "), {}),
    ):
        assert (await opened.post(body, signed | more)).status == 401
    assert_not_kept(await opened.deliver("themes/publish", b"{}"), "topic_not_kept")
    assert_kept(await opened.post(BODY, {name.lower(): signed[name] for name in signed}))
    checks = await doctor(
        stack,
        slug,
        "something on the way compresses it",
        "something on the way rewrites it",
        "the body of these was changed on the way",
        "Topic themes/publish is not kept",
    )
    assert checks["deliveries"]["state"] == "ok"
    assert checks["topic not kept"]["state"] == "warn"


async def test_doctor_names_a_rotated_secret(stack: Stack, shop: tuple[Shop, str]) -> None:
    opened, slug = shop
    assert_kept(await opened.deliver(TOPIC, BODY))
    for _ in range(3):
        assert (await opened.deliver(TOPIC, BODY, secret=OLD_SECRET)).status == 401
    checks = await doctor(stack, slug, "1 kept within 24 hours", "the secret was changed")
    assert checks["signature"]["detail"].startswith("3 deliveries")
    assert "shopify_secrets=NEW,OLD" in checks["signature"]["remedy"]
    overall = await sluice("doctor", "--json", settings=stack.settings)
    (warned,) = [one for one in overall.json["checks"] if one["name"] == f"shopify of {slug}"]
    assert warned["detail"].startswith("3 deliveries failed verification within the hour; the last")
    TenantsFile(stack.tenants_file).set_value(slug, "shopify_secrets", f"{OLD_SECRET},{SECRET}")

    async def is_good() -> bool:
        return (await opened.deliver(TOPIC, BODY, secret=OLD_SECRET)).status == 200

    await poll_until(is_good, what="the new secret is live")


async def test_doctor_lets_a_cause_go_that_is_over(stack: Stack, shop: tuple[Shop, str]) -> None:
    """Its records stay for a day; the check must not fail so long."""
    opened, slug = shop
    tenants = TenantsFile(stack.tenants_file)

    async def is_answered(status: int) -> None:
        async def is_so() -> bool:
            return (await opened.deliver(TOPIC, BODY)).status == status

        await poll_until(is_so, what=f"a delivery is answered {status}")

    tenants.set_value(slug, "enabled", "false")
    await is_answered(403)
    checks = await doctor(stack, slug, "This tenant is switched off")
    assert checks["tenant disabled"]["state"] == "fail"
    tenants.set_value(slug, "enabled", "true")
    await is_answered(200)
    checks = await doctor(stack, slug, "the setting was corrected since, deliveries since then")
    assert checks["tenant disabled"]["state"] == "ok"


async def test_send_signs_a_sample_that_is_stored(
    stack: Stack, shop: tuple[Shop, str], tmp_path: Path
) -> None:
    _, slug = shop
    words = ("webhook", "send", "--tenant", slug)
    address = ("--url", f"{stack.url}/api/ingestion/shopify/{slug}/")  # as it is given to Shopify
    for topic, options in (("orders/create", ()), ("customers/redact", address)):
        ran = await sluice(*words, topic, "--json", *options, settings=stack.settings)
        assert (ran.status, ran.json["queued"]) == (0, True), ran
        assert (ran.json["run_id"] is None) == (topic == "orders/create")
    ran = await sluice(*words, "themes/publish", "--body", str(tmp_path), settings=stack.settings)
    assert (ran.status, "cannot be read" in ran.error) == (2, True)
    (tmp_path / "body").write_bytes(b"{}")
    given = ("--body", str(tmp_path / "body"))
    ran = await sluice(*words, "themes/publish", *given, settings=stack.settings)
    assert (ran.status, "topic_not_kept" in ran.stdout) == (1, True)
    ran = await sluice(*words, "nonsense", settings=stack.settings)
    assert (ran.status, "there is no sample of 'nonsense'" in ran.error) == (2, True)
    checks = await doctor(stack, slug, "1 kept within 24 hours", "erase")
    assert checks["privacy"]["state"] == "warn"


async def test_send_needs_a_secret_and_a_gateway(stack: Stack) -> None:
    slug, _, _ = stack.new_tenant()
    words = ("webhook", "send", "orders/create", "--tenant", slug)
    ran = await sluice(*words, settings=stack.settings)
    assert (ran.status, "has no Shopify secret" in ran.error) == (2, True)
    TenantsFile(stack.tenants_file).set_value(slug, "shopify_secrets", SECRET)
    ran = await sluice(*words, "--url", "http://127.0.0.1:1", settings=stack.settings)
    assert (ran.status, ran.error) == (
        1,
        "sluice: no answer from http://127.0.0.1:1 (connection refused)",
    )
    ran = await sluice(*words, "--url", "http://user:word@127.0.0.1:1", settings=stack.settings)
    assert (ran.status, "from http://127.0.0.1:1 " in ran.error) == (1, True)
    assert "word" not in ran.error + ran.stdout
    for url in ("ftp://user:word@127.0.0.1", "127.0.0.1:8000", "http://", "http://h:99999"):
        ran = await sluice(*words, "--url", url, settings=stack.settings)
        assert (ran.status, "use http(s)://host:port" in ran.error) == (2, True)
        assert "word" not in ran.error + ran.stdout
    listed = await sluice("tenant", "list", "--json", settings=stack.settings)
    assert SECRET not in listed.stdout
    [found] = [one for one in listed.json["tenants"] if one["slug"] == slug]
    assert found["shopify_secrets"] == 1
