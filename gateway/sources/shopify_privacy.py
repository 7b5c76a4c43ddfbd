"""Privacy requests of shops (reference/shopify.md, 2): from a signed body to a run.

Only the body is signed. Whoever holds any signed body of a shop could send it again under the topic
``shop/redact``; so the body itself must have the form of its topic, member for member, and must
name the shop that the header names. No body of another topic has that form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.sources.shopify_values import id_text, id_texts
from sluice.core.errors import ErrorType, Rejected
from sluice.core.tenant import Tenant
from sluice.core.times import parse_occurred_at
from sluice.core.workflows import DEFAULTS
from sluice.workflows.core.runs import LEGAL_DAYS, Run, new_run_id, run_time

OLDEST: Final = timedelta(days=2)
NEWEST: Final = timedelta(minutes=5)
"""How far the moment that a delivery names may be from ours; Shopify tries for hours."""


class _Customer(msgspec.Struct, forbid_unknown_fields=True):
    id: int | str | None = None
    email: str | None = None
    phone: str | None = None


class _DataRequest(msgspec.Struct, forbid_unknown_fields=True):
    id: int | str | None = None


class _ShopRedact(msgspec.Struct, forbid_unknown_fields=True):
    shop_id: int
    shop_domain: str


class _CustomersRedact(_ShopRedact, forbid_unknown_fields=True):
    customer: _Customer
    orders_to_redact: msgspec.Raw = msgspec.Raw(b"[]")


class _CustomersDataRequest(_ShopRedact, forbid_unknown_fields=True):
    customer: _Customer
    data_request: _DataRequest
    orders_requested: msgspec.Raw = msgspec.Raw(b"[]")


class _Topic(msgspec.Struct, frozen=True):
    config_id: str
    form: type[_ShopRedact]


PRIVACY_TOPICS: Final[Mapping[str, _Topic]] = {
    "customers/data_request": _Topic("og-data-request", _CustomersDataRequest),
    "customers/redact": _Topic("og-erase", _CustomersRedact),
    "shop/redact": _Topic("og-erase", _ShopRedact),
}
"""The mandatory privacy topics, which become runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyRequest:
    """What a delivery asks for."""

    request_id: str
    """The same of each of Shopify's tries."""
    config_id: str
    inputs: str
    """Of the run, as JSON. It holds personal data."""
    triggered_at: str
    """As the header says."""


def read_privacy(
    topic: str, body: bytes, *, shop_domain: str, request_id: str, triggered_at: str
) -> PrivacyRequest | Rejected:
    """Return what a body asks for, or why it does not.

    Args:
        topic: One of ``PRIVACY_TOPICS``.
        body: A JSON object that was signed.
        shop_domain: As the header says; empty where there is none.
        request_id: What names the delivery.
        triggered_at: As the header says; empty where there is none.
    """
    row = PRIVACY_TOPICS[topic]
    try:
        said: Any = msgspec.json.decode(body, type=row.form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _refused(f"The signed body has not the form of {topic}: it is of another topic.")
    domain = said.shop_domain.strip().lower()
    if not domain or (shop_domain and domain != shop_domain.lower()):
        return _refused(f"The signed body of {topic} names another shop than the header.")
    customer = getattr(said, "customer", _Customer())
    orders = getattr(said, "orders_to_redact", b"") or getattr(said, "orders_requested", b"")
    data_request = getattr(said, "data_request", _DataRequest())
    given: dict[str, object] = {
        "request": topic,
        "shop_domain": domain,
        "email": (customer.email or "").strip(),
        "customer_id": id_text(customer.id),
        "order_ids": id_texts(bytes(orders)),
        "data_request_id": id_text(data_request.id),
    }
    inputs = {"shopify": {name: value for name, value in given.items() if value}}
    return PrivacyRequest(
        request_id=request_id,
        config_id=row.config_id,
        inputs=msgspec.json.encode(inputs).decode(),
        triggered_at=triggered_at,
    )


def run_of(request: PrivacyRequest, tenant: Tenant, *, now: datetime) -> Run:
    """Return the run that a request asks for: the same for each try of its delivery.

    A try names the moment at which the first was made; where it does not, or where that moment is
    none that can be, the run's key still says which request it is.
    """
    asked_at = _moment(request.triggered_at, now)
    key = sha256(f"{tenant.slug}\0{request.request_id}".encode()).hexdigest()
    config = DEFAULTS[request.config_id]
    own = tenant.workflows.get(request.config_id)
    return Run(
        tenant=tenant.slug,
        run_id=new_run_id(asked_at, key),
        config_id=config.config_id,
        type=config.type,
        name=own.name if own is not None and own.type == config.type else config.name,
        workflow_id=config.type,
        source="shopify",
        created_at=run_time(asked_at),
        principal_name="Shopify",
        inputs=request.inputs,
        request_key=key,
        due_at=run_time(asked_at + timedelta(days=LEGAL_DAYS)),
    )


def _moment(triggered_at: str, now: datetime) -> datetime:
    parsed = parse_occurred_at(triggered_at)
    if parsed is None or isinstance(parsed, ErrorType):
        return now
    asked_at = datetime.fromisoformat(f"{parsed[:26]}+00:00")
    return asked_at if now - OLDEST <= asked_at <= now + NEWEST else now


def _refused(detail: str) -> Rejected:
    return Rejected(ErrorType.SHOPIFY_PRIVACY_REQUEST_INVALID, detail)
