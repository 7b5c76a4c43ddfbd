"""What ``sluice webhook doctor`` makes of counted failures."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.sources.shopify import SWITCHED_OFF, UNMAPPED
from gateway.sources.shopify_evidence import Cause
from sluice.cli.findings import Finding
from sluice.cli.webhook_findings import _REMEDIES, Failed, Good, Waiting, find_causes
from sluice.core.tenant import Tenant

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
S = 1_000_000
AT = int(NOW.timestamp()) * S
SHOP = Tenant("shop", shopify_secrets=("hush-secret-1",))
NONE = Good(0, 0, 0)
INVALID = "The signature matches none of this tenant's 1 secret."


def found(*failed: Failed, good: Good = NONE, tenant: Tenant = SHOP) -> dict[str, Finding]:
    return {one.name: one for one in find_causes(tenant, failed, good, (), now=NOW)}


def unsigned(
    detail: str = INVALID, *, first: int = AT - 600 * S, last: int = AT - 60 * S
) -> Failed:
    return Failed("shopify_signature_invalid", detail, 3, first, last)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_remedy_and_is_told(cause: Cause) -> None:
    told = found(unsigned(f"{INVALID} {cause}"))["signature"]
    assert str(cause).rstrip(".") in told.detail
    assert _REMEDIES[cause] in told.remedy


def test_secret_is_another_one_when_nothing_was_ever_good() -> None:
    told = found(unsigned())["signature"]
    assert "none was ever signed well" in told.detail
    assert "client secret" in told.remedy
    assert told.since == "2026-05-01T11:50:00+00:00"


def test_secret_was_changed_when_all_were_good_until_then() -> None:
    told = found(unsigned(), good=Good(5, AT - 700 * S, 0))["signature"]
    assert "until 2026-05-01 11:48:20 UTC: the secret was changed" in told.detail
    assert "shopify_secrets=NEW,OLD" in told.remedy


def test_one_failure_after_good_ones_is_not_yet_a_changed_secret() -> None:
    once = Failed("shopify_signature_invalid", INVALID, 1, AT - 60 * S, AT - 60 * S)
    told = found(once, good=Good(5, AT - 700 * S, 0))["signature"]
    assert "perhaps somebody else's delivery, but if it goes on, the secret was" in told.detail
    assert told.remedy.startswith("wait for the next delivery; if it fails too, `sluice tenant set")


def test_body_was_changed_when_others_are_good_in_between() -> None:
    for good in (Good(5, AT - 300 * S, 0), Good(5, AT, 0)):
        assert "the secret is right" in found(unsigned(), good=good)["signature"].detail


def test_delivery_that_was_signed_well_but_not_kept_proves_the_secret() -> None:
    off = Failed("shopify_topic_not_kept", "Topic themes/publish is not kept.", 1, AT, AT)
    told = found(unsigned(), off)
    assert "the secret is right" in told["signature"].detail
    assert (told["topic not kept"].state, told["signature"].state) == ("warn", "fail")
    assert "sluice tenant set shop shopify_topics" in told["topic not kept"].remedy


def test_remedy_for_a_list_keeps_what_stands_in_it() -> None:
    shop = Tenant(
        "shop",
        shopify_secrets=("hush-secret-1",),
        shopify_shop_domains=("acme.myshopify.com",),
        shopify_topics=("products/*",),
    )
    topic = Failed(
        "shopify_topic_not_kept", f"Topic shop/update is not kept{SWITCHED_OFF}", 1, AT, AT
    )
    told = found(topic, tenant=shop)["topic not kept"]
    assert "shopify_topics='products/*,shop/update'`" in told.remedy
    detail = "The delivery is for another shop than this tenant's: other.myshopify.com."
    told = found(Failed("shopify_shop_mismatch", detail, 1, AT, AT), tenant=shop)["shop mismatch"]
    assert "shopify_shop_domains=acme.myshopify.com,other.myshopify.com`" in told.remedy


def test_topic_that_no_setting_switches_on_is_told_as_such() -> None:
    topic = Failed("shopify_topic_not_kept", f"Topic no/such is not kept{UNMAPPED}", 1, AT, AT)
    remedy = found(topic)["topic not kept"].remedy
    assert "sluice tenant set" not in remedy
    assert "end the subscription" in remedy


HOUR = 3_600 * S


@pytest.mark.parametrize(
    ("error_type", "broken"),
    [
        ("tenant_disabled", Tenant("shop", enabled=False, shopify_secrets=("hush-secret-1",))),
        ("shopify_not_configured", Tenant("shop")),
    ],
)
def test_cause_that_a_setting_shows_to_be_gone_no_longer_fails(
    error_type: str, broken: Tenant
) -> None:
    failed = Failed(error_type, "No.", 3, AT - 3 * HOUR, AT - 2 * HOUR)
    name = error_type.removeprefix("shopify_").replace("_", " ")
    there = found(failed, tenant=broken)[name]
    assert (there.state, there.detail.endswith("last seen 2 h ago")) == ("fail", True)
    silent = found(failed)[name]
    assert (silent.state, "sluice webhook send" in silent.remedy) == ("warn", True)
    assert silent.detail.endswith("the setting was corrected since, none came since")
    over = found(failed, good=Good(5, AT - HOUR, 0))[name]
    assert (over.state, over.remedy) == ("ok", "")
    assert over.detail.endswith("were signed well, the last at 2026-05-01 11:00:00 UTC")


def test_failure_whose_retries_are_over_only_warns_when_others_were_good_since() -> None:
    """Shopify tries a delivery again for 4 hours: were it not mended, more would have failed."""
    old = unsigned(first=AT - 9 * HOUR, last=AT - 5 * HOUR)
    assert found(old)["signature"].state == "fail"
    assert found(old, good=Good(5, AT - 6 * HOUR, 0))["signature"].state == "fail"
    mended = found(old, good=Good(5, AT - HOUR, 0))["signature"]
    assert mended.state == "warn"
    assert "last seen 5 h ago, deliveries since then were signed well" in mended.detail
    fresh = found(unsigned(), good=Good(5, AT, 0))["signature"]
    assert fresh.state == "fail"
    assert "last seen 60 s ago" in fresh.detail


def test_missing_secret_is_named_first() -> None:
    told = list(find_causes(Tenant("shop"), (), NONE, (), now=NOW))
    assert (told[0].name, told[0].state) == ("secrets", "fail")


def test_wrong_clock_shows_when_a_delivery_came_before_it_was_triggered() -> None:
    assert "clock" not in found(good=Good(1, AT, 3))
    assert "NTP" in found(good=Good(1, AT, 600))["clock"].remedy


def test_privacy_request_fails_the_check_when_its_day_is_near() -> None:
    states = {}
    for days in (4, 20):
        waiting = Waiting("erase_user", 2, NOW + timedelta(days=days))
        *_, told = find_causes(SHOP, (), Good(1, AT, 0), (waiting,), now=NOW)
        states[days] = told.state
        assert "2 requests of type erase_user" in told.detail
    assert states == {4: "fail", 20: "warn"}


def test_reason_of_a_later_version_is_passed_over() -> None:
    assert set(found(Failed("shopify_later", "x", 1, AT, AT))) == {"secrets", "deliveries"}
