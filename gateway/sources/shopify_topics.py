"""Shopify's topics: what each becomes, as one table of plain data (reference/shopify.md, 4).

A new topic is one row. ``at`` and ``path`` name fields of the body by dotted paths, several with
``|`` between them: the first that is there counts.
"""

from typing import Final, Literal, NamedTuple

Kind = Literal[
    "scalar", "text", "id", "gid", "money", "tags", "codes", "count", "quantity", "items",
    "line_total", "line_currency", "refund_total", "refund_currency", "variants",
    "lowest_price", "highest_price", "scalars", "numbers",
]  # fmt: skip
"""How a value is read; ``shopify_values`` has one function for each."""

TRIGGERED: Final = "triggered"
"""In ``at``: the header X-Shopify-Triggered-At."""


class Field(NamedTuple):
    """One key of a payload and where its value comes from."""

    name: str
    path: str
    kind: Kind = "scalar"


class Topic(NamedTuple):
    """One row: what a topic becomes."""

    name: str
    event_type: str
    users: str
    """Which of the rules of reference 3.1 apply, in their order: 1 e-mail, 2 customer id, 3 cart or
    checkout token, 4 order, 5 shop."""
    at: str
    """Where ``occurred_at`` comes from; then X-Shopify-Triggered-At, then the receive time."""
    fields: tuple[Field, ...] = ()
    order: str = "order_id"
    customer: str = ""
    """The field that is the customer's id only in this topic."""
    cart: str = "cart_token"
    checkout: str = "checkout_token"
    is_kept: bool = True
    """Whether it is kept without being switched on by ``shopify_topics``."""


_ITEMS: Final = (
    Field("item_count", "line_items", "count"),
    Field("quantity", "line_items", "quantity"),
)
_TOTALS: Final = (
    Field("total", "total_price", "money"),
    Field("subtotal", "subtotal_price", "money"),
    Field("total_tax", "total_tax", "money"),
    Field("total_discounts", "total_discounts", "money"),
)
_ORDER_ID: Final = (Field("order_id", "order_id", "id"),)
ORDER: Final = (
    Field("order_id", "id", "id"),
    *_TOTALS,
    Field("currency", "currency", "text"),
    *_ITEMS,
    Field("financial_status", "financial_status", "text"),
    Field("presentment_currency", "presentment_currency", "text"),
    Field("order_name", "name", "text"),
    Field("order_number", "order_number"),
    Field("fulfillment_status", "fulfillment_status", "text"),
    Field("source_name", "source_name", "text"),
    Field("tags", "tags", "tags"),
    Field("discount_codes", "discount_codes", "codes"),
    Field("cancel_reason", "cancel_reason", "text"),
    Field("test", "test"),
    Field("items", "line_items", "items"),
)
EDIT: Final = (
    Field("order_id", "order_edit.order_id", "id"),
    Field("additions", "order_edit.line_items.additions", "count"),
    Field("removals", "order_edit.line_items.removals", "count"),
    Field("notify_customer", "order_edit.notify_customer"),
)
TRANSACTION: Final = (
    *_ORDER_ID,
    Field("transaction_id", "id", "id"),
    Field("kind", "kind", "text"),
    Field("status", "status", "text"),
    Field("gateway", "gateway", "text"),
    Field("total", "amount", "money"),
    Field("currency", "currency", "text"),
)
REFUND: Final = (
    *_ORDER_ID,
    Field("refund_id", "id", "id"),
    Field("total", "transactions", "refund_total"),
    Field("currency", "transactions", "refund_currency"),
    Field("item_count", "refund_line_items", "count"),
    Field("quantity", "refund_line_items", "quantity"),
)
DISPUTE: Final = (
    *_ORDER_ID,
    Field("dispute_id", "id", "id"),
    Field("type", "type", "text"),
    Field("reason", "reason", "text"),
    Field("status", "status", "text"),
    Field("total", "amount", "money"),
    Field("currency", "currency", "text"),
)
FULFILLMENT: Final = (
    *_ORDER_ID,
    Field("fulfillment_id", "id", "id"),
    Field("status", "status", "text"),
    Field("shipment_status", "shipment_status", "text"),
    Field("tracking_company", "tracking_company", "text"),
    *_ITEMS,
)
SHIPMENT: Final = (
    *_ORDER_ID,
    Field("fulfillment_id", "fulfillment_id", "id"),
    Field("status", "status", "text"),
)
CART: Final = (
    Field("total", "line_items", "line_total"),
    Field("currency", "line_items", "line_currency"),
    *_ITEMS,
    Field("items", "line_items", "items"),
)
CHECKOUT: Final = (
    Field("token", "token", "text"),
    *_TOTALS,
    Field("currency", "currency|presentment_currency", "text"),
    *_ITEMS,
    Field("completed_at", "completed_at", "text"),
    Field("items", "line_items", "items"),
)
ABANDONED: Final = (
    Field("token", "token", "text"),
    *_TOTALS,
    Field("currency", "presentment_currency", "text"),
)
CUSTOMER: Final = (
    Field("state", "state", "text"),
    Field("verified_email", "verified_email"),
    Field("currency", "currency", "text"),
    Field("tags", "tags", "tags"),
    Field("orders_count", "orders_count"),
    Field("total_spent", "total_spent", "money"),
)
MERGE: Final = (
    Field("merged_customer_id", "admin_graphql_api_customer_deleted_id", "gid"),
    Field("status", "status", "text"),
)
SUMMARY: Final = (Field("", "", "numbers"),)
TAGS: Final = (Field("tags", "tags", "tags"),)
EMAIL_CONSENT: Final = (
    Field("state", "email_marketing_consent.state", "text"),
    Field("opt_in_level", "email_marketing_consent.opt_in_level", "text"),
)
SMS_CONSENT: Final = (
    Field("state", "sms_marketing_consent.state", "text"),
    Field("opt_in_level", "sms_marketing_consent.opt_in_level", "text"),
)
SUBSCRIPTION: Final = (
    Field("subscription_id", "id", "id"),
    Field("status", "status", "text"),
    Field("currency", "currency_code", "text"),
    Field("interval", "billing_policy.interval", "text"),
    Field("interval_count", "billing_policy.interval_count"),
    Field("origin_order_id", "origin_order_id", "id"),
)
BILLING: Final = (
    *_ORDER_ID,
    Field("subscription_id", "subscription_contract_id", "id"),
    Field("error_code", "error_code", "text"),
)
UNINSTALLED: Final = (
    Field("shop_domain", "myshopify_domain|domain", "text"),
    Field("plan_name", "plan_name", "text"),
)
SCALARS: Final = (Field("", "", "scalars"),)
PRODUCT: Final = (
    Field("product_id", "id", "id"),
    Field("title", "title", "text"),
    Field("product_type", "product_type", "text"),
    Field("vendor", "vendor", "text"),
    Field("status", "status", "text"),
    Field("tags", "tags", "tags"),
    Field("variant_count", "", "variants"),
    Field("price_min", "variants", "lowest_price"),
    Field("price_max", "variants", "highest_price"),
)
LEVEL: Final = (
    Field("inventory_item_id", "inventory_item_id", "id"),
    Field("location_id", "location_id", "id"),
    Field("available", "available"),
)
STOCK: Final = (
    Field("product_id", "product_id", "id"),
    Field("variant_id", "id", "id"),
    Field("sku", "sku", "text"),
    Field("inventory_quantity", "inventory_quantity"),
)

_ROWS: Final = (
    Topic("orders/create", "order_placed", "1234", "created_at", ORDER, order="id"),
    Topic("orders/paid", "order_paid", "1234", "triggered|updated_at", ORDER, order="id"),
    Topic("orders/cancelled", "order_cancelled", "1234", "cancelled_at", ORDER, order="id"),
    Topic("orders/updated", "order_updated", "1234", "updated_at", ORDER, order="id"),
    Topic("orders/fulfilled", "order_fulfilled", "1234", "triggered|updated_at", ORDER, order="id"),
    Topic("orders/partially_fulfilled", "order_partially_fulfilled", "1234",
          "triggered|updated_at", ORDER, order="id"),
    Topic("orders/edited", "order_edited", "4", "order_edit.committed_at|order_edit.created_at",
          EDIT, order="order_edit.order_id"),
    Topic("orders/delete", "order_deleted", "4", "triggered", (Field("order_id", "id", "id"),),
          order="id"),
    Topic("order_transactions/create", "order_transaction_recorded", "4",
          "processed_at|created_at", TRANSACTION),
    Topic("refunds/create", "order_refunded", "4", "processed_at|created_at", REFUND),
    Topic("disputes/create", "dispute_opened", "4", "initiated_at", DISPUTE),
    Topic("disputes/update", "dispute_updated", "4", "triggered", DISPUTE),
    Topic("fulfillments/create", "fulfillment_created", "14", "created_at", FULFILLMENT),
    Topic("fulfillments/update", "fulfillment_updated", "14", "updated_at", FULFILLMENT),
    Topic("fulfillment_events/create", "shipment_status_changed", "4", "happened_at", SHIPMENT),
    Topic("carts/create", "cart_created", "3", "created_at", CART, cart="token"),
    Topic("carts/update", "cart_updated", "3", "updated_at", CART, cart="token"),
    Topic("checkouts/create", "checkout_started", "123", "created_at", CHECKOUT, checkout="token"),
    Topic("checkouts/update", "checkout_updated", "123", "updated_at", CHECKOUT, checkout="token"),
    Topic("checkouts/delete", "checkout_abandoned", "123", "triggered", ABANDONED,
          checkout="token"),
    Topic("customers/create", "customer_created", "12", "created_at", CUSTOMER, customer="id"),
    Topic("customers/update", "customer_updated", "12", "updated_at", CUSTOMER, customer="id"),
    Topic("customers/delete", "customer_deleted", "2", "triggered", customer="id"),
    Topic("customers/enable", "customer_enabled", "12", "updated_at", CUSTOMER, customer="id"),
    Topic("customers/disable", "customer_disabled", "12", "updated_at", CUSTOMER, customer="id"),
    Topic("customers/merge", "customer_merged", "2", "triggered", MERGE, customer="id"),
    Topic("customers/purchasing_summary", "customer_purchasing_summary_updated", "2", "triggered",
          SUMMARY, customer="id"),
    Topic("customer.tags_added", "customer_tags_added", "2", "triggered", TAGS),
    Topic("customer.tags_removed", "customer_tags_removed", "2", "triggered", TAGS),
    Topic("customers_email_marketing_consent/update", "email_consent_updated", "12",
          "email_marketing_consent.consent_updated_at", EMAIL_CONSENT),
    Topic("customers_marketing_consent/update", "sms_consent_updated", "2",
          "sms_marketing_consent.consent_updated_at", SMS_CONSENT, customer="id"),
    Topic("subscription_contracts/create", "subscription_created", "2", "triggered", SUBSCRIPTION),
    Topic("subscription_contracts/update", "subscription_updated", "2", "triggered", SUBSCRIPTION),
    Topic("subscription_contracts/activate", "subscription_activated", "2", "triggered",
          SUBSCRIPTION),
    Topic("subscription_contracts/pause", "subscription_paused", "2", "triggered", SUBSCRIPTION),
    Topic("subscription_contracts/cancel", "subscription_cancelled", "2", "triggered",
          SUBSCRIPTION),
    Topic("subscription_contracts/expire", "subscription_expired", "2", "triggered", SUBSCRIPTION),
    Topic("subscription_contracts/fail", "subscription_failed", "2", "triggered", SUBSCRIPTION),
    Topic("subscription_billing_attempts/success", "subscription_billing_succeeded", "4",
          "triggered", BILLING),
    Topic("subscription_billing_attempts/failure", "subscription_billing_failed", "4",
          "triggered", BILLING),
    Topic("subscription_billing_attempts/challenged", "subscription_billing_challenged", "4",
          "triggered", BILLING),
    Topic("app/uninstalled", "app_uninstalled", "5", "triggered", UNINSTALLED),
    Topic("app/scopes_update", "app_scopes_updated", "5", "triggered|updated_at", SCALARS),
    Topic("app_subscriptions/update", "app_subscription_updated", "5", "triggered|updated_at",
          SCALARS),
    Topic("products/create", "product_created", "5", "created_at", PRODUCT, is_kept=False),
    Topic("products/update", "product_updated", "5", "updated_at", PRODUCT, is_kept=False),
    Topic("products/delete", "product_deleted", "5", "triggered", PRODUCT, is_kept=False),
    Topic("inventory_levels/update", "inventory_level_updated", "5", "updated_at", LEVEL,
          is_kept=False),
    Topic("inventory_levels/connect", "inventory_level_connected", "5", "updated_at", LEVEL,
          is_kept=False),
    Topic("inventory_levels/disconnect", "inventory_level_disconnected", "5", "updated_at", LEVEL,
          is_kept=False),
    Topic("variants/in_stock", "variant_in_stock", "5", "updated_at", STOCK, is_kept=False),
    Topic("variants/out_of_stock", "variant_out_of_stock", "5", "updated_at", STOCK,
          is_kept=False),
    Topic("shop/update", "shop_updated", "5", "updated_at", SCALARS, is_kept=False),
    Topic("collections/create", "collection_created", "5", "updated_at", SCALARS, is_kept=False),
    Topic("collections/update", "collection_updated", "5", "updated_at", SCALARS, is_kept=False),
    Topic("collections/delete", "collection_deleted", "5", "updated_at", SCALARS, is_kept=False),
    Topic("inventory_items/create", "inventory_item_created", "5", "updated_at", SCALARS,
          is_kept=False),
    Topic("inventory_items/update", "inventory_item_updated", "5", "updated_at", SCALARS,
          is_kept=False),
    Topic("inventory_items/delete", "inventory_item_deleted", "5", "updated_at", SCALARS,
          is_kept=False),
)  # fmt: skip

TOPICS: Final = {row.name: row for row in _ROWS}
"""Every topic that becomes an event."""
