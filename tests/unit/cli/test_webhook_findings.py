"""What ``sluice webhook doctor`` makes of counted failures."""

from datetime import UTC, datetime, timedelta

import pytest

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
