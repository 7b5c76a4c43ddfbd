"""Signed webhooks of Shopify, orders of 20 KB, as a shop sends them."""

from loadtest.plan import Request, build_request
from loadtest.scenario import Inputs, Scenario, Step, ceiling_and_half
from loadtest.shopify import headers_of, orders


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent."""
    path = f"/api/ingestion/shopify/{inputs.tenants[0].slug}"
    secret = inputs.shopify_secret
    requests = [
        Request("shopify", build_request(path, body, headers_of(number, body, secret)))
        for number, body in enumerate(orders())
    ]
    return ceiling_and_half(inputs, requests)


SCENARIO = Scenario(about="signed Shopify orders of 20 KB: ceiling, then half of it", steps=steps)
