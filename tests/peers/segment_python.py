"""Sends events with segment-analytics-python: ``URL KEY COUNT``. Runs in the peers' environment.

Prints ``id ID`` for each event that the library took and ``failed CODE N`` for each batch that it
gave up.
"""

import sys

from segment.analytics.client import Client


def main(url: str, key: str, count: int) -> None:
    """Send, then flush as a program does at its end."""

    def give_up(error: Exception, batch: list[object]) -> None:
        print("failed", getattr(error, "status", "error"), len(batch), flush=True)

    client = Client(key, host=url, on_error=give_up)
    for n in range(count):
        properties = {"n": n, "total": 89.95, "é": "😀"}
        is_taken, message = client.track(f"user-{n % 7}", "Order Completed", properties)
        if is_taken:
            print("id", message["messageId"])
    client.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
