"""Why a shop's deliveries fail: from counted reasons and the last good one to findings.

Pure. A reason that the gateway proved (``Cause``) is told as it is; what has no proof is told apart
by when deliveries were good: before the failures, between them, or never.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from gateway.sources.shopify import SWITCHED_OFF, UNMAPPED
from gateway.sources.shopify_evidence import Cause
from sluice.cli.findings import Finding, State
from sluice.core.errors import ERRORS, ErrorSpec, ErrorType
from sluice.core.tenant import Tenant

WINDOW_S: Final = 86_400
CLOCK_S: Final = 60
"""A delivery that was triggered this long after it was received shows a wrong clock."""
RETRIES_S: Final = 4 * 3_600
"""So long Shopify tries a delivery again: what went well for longer is over (reference, 1.3)."""
SOON_S: Final = 5 * 86_400
"""A privacy request that is due within this time is urgent."""

_ALTERED: Final = (
    "let the proxy, CDN or middleware before the gateway pass the body of this path on byte by byte"
)
_WHICH: Final = (
    "use the app's client secret, or for a webhook made under Settings > Notifications the signing"
    " secret that is shown there"
)
_REMEDIES: Final[dict[Cause, str]] = {
    Cause.HEX: "send the digest in base64, as Shopify does: this sender is not Shopify",
    Cause.MALFORMED: "see who sends this: Shopify's header is always base64 of 32 bytes",
    Cause.COMPRESSED: "switch off the compression of requests before the gateway",
    Cause.ENDS: _ALTERED,
    Cause.REWRITTEN: _ALTERED,
    Cause.CHARSET: _ALTERED,
    Cause.EMPTY: _ALTERED,
    Cause.LOOKS_REWRITTEN: _ALTERED,
    Cause.NOT_JSON: _ALTERED,
}
_TRY: Final = "try the road: `sluice webhook send orders/create --tenant {slug}`"
_SPECS: Final = {error_type.value: spec for error_type, spec in ERRORS.items()}
_TAKEN: Final = 200
_GUESSES: Final = frozenset({Cause.EMPTY, Cause.LOOKS_REWRITTEN, Cause.NOT_JSON})


_REMOVED: Final[dict[str, Callable[[Tenant], bool]]] = {
    ErrorType.TENANT_DISABLED: lambda tenant: tenant.enabled,
    ErrorType.SHOPIFY_NOT_CONFIGURED: lambda tenant: bool(tenant.shopify_secrets),
}
"""Causes that the tenant's settings themselves show to be gone."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Equal failures."""

    error_type: str
    detail: str
    count: int
    first: int
    """Unix microseconds."""
    last: int


@dataclass(frozen=True, slots=True)
class Good:
    """Deliveries that were kept."""

    count: int
    last: int
    ahead_s: int
    """How far after its receipt one was triggered, by Shopify's clock; 0 where none was."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Privacy requests of one type that are not done."""

    type: str
    count: int
    due_at: datetime


def find_causes(
    tenant: Tenant,
    failed: Sequence[Failed],
    good: Good,
    waiting: Sequence[Waiting],
    *,
    now: datetime,
) -> Iterator[Finding]:
    """Yield what there is to know of a tenant's deliveries, the worst causes included."""
    yield _settings(tenant)
    yield _deliveries(tenant, good)
    verified = _last_verified(failed, good)
    for one in failed:
        if one.error_type == ErrorType.SHOPIFY_SIGNATURE_INVALID:
            found = _signature(tenant, one, verified)
        elif (spec := _SPECS.get(one.error_type)) is not None:
            found = _refused(tenant, one, spec)
        else:
            continue
        yield _dated(found, tenant, one, verified, now)
    if good.ahead_s > CLOCK_S:
        detail = f"a delivery was received {good.ahead_s} s before Shopify triggered it"
        yield Finding("clock", "warn", detail, "set this machine's clock (NTP)")
    for run in waiting:
        yield _privacy(run, now)


def _settings(tenant: Tenant) -> Finding:
    number = len(tenant.shopify_secrets)
    if not number:
        remedy = f"`sluice tenant set {tenant.slug} shopify_secrets=…`: {_WHICH}"
        return Finding("secrets", "fail", "there is none, so every delivery is refused", remedy)
    shops = ", ".join(tenant.shopify_shop_domains) or "any shop that signs with them"
    return Finding("secrets", "ok", f"{number} live, for {shops}")


def _deliveries(tenant: Tenant, good: Good) -> Finding:
    if good.count:
        detail = f"{good.count} kept within 24 hours, the last at {_time(good.last)}"
        return Finding("deliveries", "ok", detail)
    remedy = _TRY.format(slug=tenant.slug)
    return Finding("deliveries", "warn", "none kept within 24 hours", remedy)


def _last_verified(failed: Sequence[Failed], good: Good) -> int:
    # What was answered 200 was signed well, though it was not kept.
    specs = [(one.last, _SPECS.get(one.error_type)) for one in failed]
    return max([good.last, *(last for last, spec in specs if spec and spec.status == _TAKEN)])


def _signature(tenant: Tenant, failed: Failed, verified: int) -> Finding:
    cause = next((cause for cause in Cause if cause in failed.detail), None)
    if cause is not None and cause not in _GUESSES:
        return _finding("signature", failed, str(cause), _REMEDIES[cause])
    if verified >= failed.first:
        detail = (
            "other deliveries since then were signed well, so the secret is right: the body of"
            " these was changed on the way, or another app or shop sends here"
        )
        remedy = f"{_ALTERED}; or add the other app's secret to shopify_secrets"
    elif verified:
        since = f"all were signed well until {_time(verified)}"
        remedy = (
            f"`sluice tenant set {tenant.slug} shopify_secrets=NEW,OLD` with the new one beside"
            " the old, which Shopify goes on using for up to an hour"
        )
        if failed.count == 1:  # anybody can send one
            detail = (
                f"{since}; this is perhaps somebody else's delivery, but if it goes on, the secret"
                " was changed at Shopify or removed here"
            )
            remedy = f"wait for the next delivery; if it fails too, {remedy}"
        else:
            detail = f"{since}: the secret was changed at Shopify or removed here"
    else:
        detail, remedy = "none was ever signed well: the secret is another one", _WHICH
    if cause is not None:
        detail, remedy = f"{cause} Else {detail}", f"{_REMEDIES[cause]}; else {remedy}"
    return _finding("signature", failed, detail, remedy)


def _refused(tenant: Tenant, failed: Failed, spec: ErrorSpec) -> Finding:
    name = failed.error_type.removeprefix("shopify_").replace("_", " ")
    remedy = _one_more(tenant, failed) or spec.remedy.replace("SLUG", tenant.slug)
    is_taken = spec.status == 200
    return _finding(name, failed, failed.detail, remedy, is_taken=is_taken)


def _one_more(tenant: Tenant, failed: Failed) -> str:
    """Return how to take what a list of the tenant does not name; empty: nothing better is known.

    A list is set as a whole, so the command repeats what stands in it.
    """
    if failed.error_type == ErrorType.SHOPIFY_TOPIC_NOT_KEPT:
        name, kept = "shopify_topics", tenant.shopify_topics
        if failed.detail.endswith(UNMAPPED):
            return "end the subscription: Sluice makes no event of this topic"
        one = failed.detail.removeprefix("Topic ").partition(" ")[0]
        is_named = failed.detail.endswith(SWITCHED_OFF)
        other = "end the subscription"
    else:
        name, kept = "shopify_shop_domains", tenant.shopify_shop_domains
        one = failed.detail.rpartition(": ")[2].rstrip(".")
        is_named = failed.error_type == ErrorType.SHOPIFY_SHOP_MISMATCH and ": " in failed.detail
        other = "end the subscription there"
    if not is_named or one in kept:
        return ""
    value = shlex.quote(",".join((*kept, one)))
    return f"`sluice tenant set {tenant.slug} {name}={value}`, or {other}"


def _finding(
    name: str, failed: Failed, detail: str, remedy: str, *, is_taken: bool = False
) -> Finding:
    times = "1 delivery" if failed.count == 1 else f"{failed.count} deliveries"
    said = f"{times}, the last at {_time(failed.last)}: {detail}"
    since = _moment(failed.first).isoformat(timespec="seconds")
    return Finding(name, "warn" if is_taken else "fail", said.rstrip("."), remedy, since)


def _dated(found: Finding, tenant: Tenant, failed: Failed, verified: int, now: datetime) -> Finding:
    """Return a finding that also says how old it is, and milder where it is over.

    Records are kept for a day, so a cause that was mended would else be told as if it were there.
    """
    shows = _REMOVED.get(failed.error_type)
    is_removed = shows is not None and shows(tenant)
    is_followed = verified > failed.last
    age_s = int((now - _moment(failed.last)).total_seconds())
    said = [f"last seen {_ago(age_s)}"]
    if is_removed:
        said.append("the setting was corrected since")
    if is_followed:
        said.append(f"deliveries since then were signed well, the last at {_time(verified)}")
    elif is_removed:
        said.append("none came since")
    state, remedy = found.state, found.remedy
    if is_removed:
        state, remedy = "ok" if is_followed else "warn", "" if is_followed else _TRY
        remedy = remedy.format(slug=tenant.slug)
    elif is_followed and age_s > RETRIES_S and state == "fail":
        state = "warn"
    return replace(found, state=state, remedy=remedy, detail=f"{found.detail}; {', '.join(said)}")


def _ago(seconds: int) -> str:
    for unit, name in ((3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name} ago"
    return f"{max(seconds, 0)} s ago"


def _privacy(waiting: Waiting, now: datetime) -> Finding:
    left_s = (waiting.due_at - now).total_seconds()
    requests = "1 request" if waiting.count == 1 else f"{waiting.count} requests"
    state: State = "fail" if left_s < SOON_S else "warn"
    detail = f"{requests} of type {waiting.type} not done; the first is due by"
    return Finding(
        "privacy",
        state,
        f"{detail} {waiting.due_at:%Y-%m-%d}",
        "`sluice workflow runs` says how far it is; one that failed is to be started again",
    )


def _time(micros: int) -> str:
    return f"{_moment(micros):%Y-%m-%d %H:%M:%S} UTC"


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros // 1_000_000, UTC)
