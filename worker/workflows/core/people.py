"""Whom a privacy request means: from a run's inputs to what is looked for, and what is shown.

Shopify names a customer by e-mail, id and orders. The e-mail is a user_id wherever it came from;
customer and order ids are meant only where Shopify said them, because another source may have a
user of the same number who is somebody else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sluice.core.erasures import What, digest_of, fingerprint

PRIVATE_TYPES: Final = ("erase", "data-request")
"""Runs whose inputs name people; ``sluice.warehouse.erasures.FORGET_RUNS`` knows them too."""
SHOP_REDACT: Final = "shop/redact"
UNREADABLE: Final = (
    "The request of the shop could not be read when it came, so that nobody knows whom it is about:"
    " look it up in Shopify, and start this workflow with that customer's user_ids."
)
UNPROVEN: Final = (
    "The request was stored before such requests were checked, and it would erase all that came"
    " from a shop: start this workflow with inputs.shopify of that shop if it asked for it."
)
NOBODY: Final = (
    "The request names nobody: give user_ids, or shopify with an email, customer_id or order_ids."
)


_INPUTS: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Whom a request means."""

    user_ids: Sequence[str]
    """Those that are wholly meant."""
    digests: Mapping[str, What]
    shown: Sequence[str]
    """SHA-256 of each name that was given, sorted."""

    @property
    def is_shop(self) -> bool:
        """Whether a whole shop is meant, of whose visitors each event says where it came from."""
        return "shop" in self.digests.values()

    @property
    def has_shopify(self) -> bool:
        """Whether payloads of Shopify say who is meant."""
        return any(what != "user" for what in self.digests.values())


def people_of(
    tenant: str, inputs: Mapping[str, Any], *, shop_domains: Sequence[str]
) -> People | str:
    """Return whom a run's inputs mean, or why nobody can tell.

    Args:
        tenant: Whose.
        inputs: ``user_ids``, or ``user_id``, or ``shopify``.
        shop_domains: The shops that the tenant takes deliveries of; with one alone, events that
            name no shop (those whose payload is the full body) are of it.
    """
    users = [*inputs.get("user_ids", ()), *([inputs["user_id"]] if "user_id" in inputs else ())]
    said: list[tuple[What, str]] = [("user", user) for user in users]
    shopify = inputs.get("shopify")
    if shopify is not None:
        if shopify.get("unreadable"):
            return UNREADABLE
        if shopify.get("unproven"):
            return UNPROVEN
        found = (
            _of_shop(shopify, shop_domains)
            if shopify["request"] == SHOP_REDACT
            else _of_customer(shopify)
        )
        users += [value for what, value in found if what == "user"]
        said += found
    if not said:
        return NOBODY
    return People(
        user_ids=sorted(set(users)),
        digests={digest_of(tenant, what, value): what for what, value in said},
        shown=sorted({fingerprint(value) for _, value in said if value}),
    )


def _of_shop(shopify: Mapping[str, Any], shop_domains: Sequence[str]) -> list[tuple[What, str]]:
    domain = str(shopify.get("shop_domain", "")).lower()
    if not domain:
        return []
    found: list[tuple[What, str]] = [("shop", domain), ("user", f"shop:{domain}")]
    if list(shop_domains) == [domain]:
        found.append(("shop", ""))
    return found


def _of_customer(shopify: Mapping[str, Any]) -> list[tuple[What, str]]:
    found: list[tuple[What, str]] = []
    if email := str(shopify.get("email", "")).strip():
        found += [("user", email), ("email", email)]
    if customer := str(shopify.get("customer_id", "")):
        found.append(("customer", customer))
    found += [("order", str(order)) for order in shopify.get("order_ids", ())]
    return found


def kept_inputs(type_name: str, inputs: str) -> str:
    """Return the inputs of a run, as JSON, that are kept when it has ended, whatever its end."""
    if type_name not in PRIVATE_TYPES:
        return inputs
    try:
        return msgspec.json.encode(redacted(_INPUTS.decode(inputs))).decode()
    except msgspec.DecodeError:
        return "{}"


def redacted(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs with the SHA-256 of names in place of these."""
    kept: dict[str, Any] = {
        name: value
        for name, value in inputs.items()
        if name not in {"user_ids", "user_id", "shopify"}
    }
    users = [*inputs.get("user_ids", ()), *([inputs["user_id"]] if "user_id" in inputs else ())]
    if users:
        kept["user_ids_sha256"] = sorted(fingerprint(user) for user in users)
    shopify = inputs.get("shopify")
    if shopify is not None:
        open_names = {"request", "shop_domain", "unreadable", "unproven", "data_request_id"}
        kept["shopify"] = {
            name: value if name in open_names else _hidden(value) for name, value in shopify.items()
        }
    return kept


def _hidden(value: object) -> object:
    if isinstance(value, list):
        return [fingerprint(str(one)) for one in value]
    return fingerprint(str(value))
