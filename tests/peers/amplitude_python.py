"""Sends events with amplitude-analytics: ``URL KEY COUNT``. Runs in the peers' environment.

Prints ``id ID`` for each event that the library reported as sent and ``failed CODE N`` for the
others. The last events are sent by the flush of ``shutdown``; those before are waited for, because
what the library would send again while it shuts down is lost.
"""

import sys
import threading
import time
from collections import Counter

from amplitude import Amplitude, BaseEvent, Config

LAST = 20
PATIENCE_S = 40


def main(url: str, key: str, count: int) -> None:
    """Send, wait, send the rest and shut down."""
    outcomes: Counter[int] = Counter()
    one_at_a_time = threading.Lock()  # the library reports from several threads

    def report(event: BaseEvent, code: int, _message: str) -> None:
        with one_at_a_time:
            if code == 200:
                print("id", event.insert_id)
            outcomes[code] += 1

    config = Config(server_url=f"{url}/2/httpapi", callback=report, flush_interval_millis=500)
    client = Amplitude(key, config)

    def track(first: int, end: int) -> None:
        for n in range(first, end):
            properties = {"n": n, "total": 89.95, "é": "😀"}
            client.track(
                BaseEvent("Order Completed", user_id=f"user-{n % 7}", event_properties=properties)
            )

    early = max(count - LAST, 0)
    track(0, early)
    client.flush()
    deadline = time.monotonic() + PATIENCE_S
    while outcomes.total() < early and time.monotonic() < deadline:
        time.sleep(0.05)
    track(early, count)
    client.shutdown()
    for code, number in outcomes.items():
        if code != 200:
            print("failed", code, number)
    if outcomes.total() < count:
        print("failed", "unreported", count - outcomes.total())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
