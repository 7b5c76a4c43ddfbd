"""Shopify deliveries a second, beside a null server that reads the body and computes the HMAC.

``python -m loadtest.shopify`` prints the row alone; ``make bench`` prints it with the others. The
orders have 20 KB, as one with four lines has: each line carries its price sets, taxes and
properties.
"""

import hmac
import statistics
import sys
import tempfile
from base64 import b64encode
from pathlib import Path

import orjson

from loadtest.peers.null_server import SECRET
from loadtest.processes import LOAD_CORE, SERVER_CORE, command, drive, free_port, running
from loadtest.report import Row, ratios

ORDERS = 200
ORDER_BYTES = 20_000
LINES = 4
ROUNDS = 3
SECONDS = 5


def order(number: int) -> bytes:
    """Return one order of some 20 KB, shaped as Shopify's."""
    money = {"amount": "12.00", "currency_code": "EUR"}
    price_set = {"shop_money": money, "presentment_money": money}
    address = {
        name: f"{name} {number}"
        for name in ("first_name", "last_name", "address1", "city", "zip", "phone", "country")
    }
    line = {
        "id": number,
        "product_id": 31,
        "variant_id": 311,
        "sku": "TEA-GREEN",
        "title": "Green tea",
        "quantity": 2,
        "price": "12.00",
        "price_set": price_set,
        "total_discount_set": price_set,
        "tax_lines": [
            {"title": f"Tax {n}", "rate": 0.07, "price": "0.84", "price_set": price_set}
            for n in range(4)
        ],
        "discount_allocations": [{"amount": "1.00", "amount_set": price_set}] * 4,
        "properties": [{"name": "engraving", "value": "x" * 1200}],
    }
    said = {
        "id": 5_000_000 + number,
        "name": f"#{number}",
        "email": f"buyer-{number % 50}@example.com",
        "created_at": "2026-04-25T16:32:00+02:00",
        "updated_at": "2026-04-25T16:32:02+02:00",
        "currency": "EUR",
        "total_price": "96.00",
        "subtotal_price": "90.00",
        "total_tax": "6.00",
        "total_discounts": "0.00",
        "total_price_set": price_set,
        "financial_status": "paid",
        "cart_token": f"cart{number}",
        "checkout_token": f"checkout{number}",
        "source_name": "web",
        "tags": "a, b",
        "customer": {"id": number, "email": f"buyer-{number % 50}@example.com", **address},
        "billing_address": address,
        "shipping_address": address,
        "line_items": [line] * LINES,
    }
    missing = ORDER_BYTES - len(orjson.dumps(said)) - len(b',"note":""')
    return orjson.dumps(said | {"note": "n" * missing})


def orders() -> list[bytes]:
    """Return different orders."""
    return [order(number) for number in range(ORDERS)]


def headers_of(number: int, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers of one delivery, signed."""
    return {
        "X-Shopify-Topic": "orders/create",
        "X-Shopify-Hmac-SHA256": b64encode(hmac.digest(secret.encode(), body, "sha256")).decode(),
        "X-Shopify-Shop-Domain": "bench.myshopify.com",
        "X-Shopify-API-Version": "2026-10",
        "X-Shopify-Webhook-Id": f"b54557e4-bdd9-4b37-8a5f-{number:012d}",
        "X-Shopify-Event-Id": f"98880550-7158-44d4-b7cd-{number:012d}",
        "X-Shopify-Triggered-At": "2026-04-25T14:32:03.110521905Z",
    }


def deliveries(folder: Path) -> tuple[Path, Path]:
    """Write bodies and their headers, a line for each delivery."""
    bodies = orders()
    headers = [headers_of(number, body, SECRET.decode()) for number, body in enumerate(bodies)]
    paths = folder / "orders.ndjson", folder / "headers.ndjson"
    for path, lines in zip(paths, (bodies, [orjson.dumps(each) for each in headers]), strict=True):
        path.write_bytes(b"\n".join(lines) + b"\n")
    return paths


def measure(folder: Path, rounds: int) -> list[Row]:
    """Measure one gateway process alone beside the null server, round by round."""
    bodies, headers = deliveries(folder)
    null_port, port = free_port(), free_port()
    env = {
        "SLUICE_DATA_DIR": str(folder / "shopify"),
        "SLUICE_PORT": str(port),
        "SLUICE_QUEUE_MAX_BYTES": str(8 * 1024**3),
    }
    command(["tenant", "add", "bench"], env)
    command(["tenant", "set", "bench", f"shopify_secrets={SECRET.decode()}"], env)
    null = ["loadtest.peers.null_server", "--port", str(null_port)]
    seen: dict[int, list[dict[str, float]]] = {null_port: [], port: []}
    with (
        running(null, ready_port=null_port, cores={SERVER_CORE}),
        running(["sluice.cli", "gateway"], env=env, cores={SERVER_CORE}),
    ):
        for _ in range(rounds):
            for target, results in seen.items():
                url = f"http://127.0.0.1:{target}/api/ingestion/shopify/bench"
                results.append(
                    drive(url, "-", bodies, cores={LOAD_CORE}, headers=headers, seconds=SECONDS)
                )
    ceiling, ours = (
        statistics.median(each["requests_per_s"] for each in results) for results in seen.values()
    )
    p99 = statistics.median(each["p99_ms"] for each in seen[port])
    return [
        Row(
            "Shopify deliveries of 20 KB, 64 connections",
            f"{ours:,.0f} deliveries/s (p99 {p99:.1f} ms)",
            f"null server with HMAC {ceiling:,.0f}",
            f"{ours / ceiling:.2f}",
            "0.50",
        )
    ]


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        print(ratios(measure(Path(name), ROUNDS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
