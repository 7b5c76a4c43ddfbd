"""Identifies COUNT users, twice each, with amplitude-analytics: ``URL KEY COUNT``.

Runs in the peers' environment and prints ``id ID`` for each call that was reported as sent.
"""

import sys
import threading

from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify


def main(url: str, key: str, count: int) -> None:
    """Set, add and append, then unset what was only there for a while."""
    one_at_a_time = threading.Lock()  # the library reports from several threads

    def report(event: BaseEvent, code: int, message: str) -> None:
        with one_at_a_time:
            if code == 200:
                print("id", event.insert_id)
            else:
                print(code, message, file=sys.stderr)

    config = Config(server_url=f"{url}/2/httpapi", callback=report, flush_interval_millis=200)
    client = Amplitude(key, config)
    for n in range(count):
        first = Identify()
        first.set("plan", "pro").add("visits", 1).append("seen", "a").set("passing", "yes")
        second = Identify()
        second.add("visits", 1).append("seen", "b").unset("passing").set_once("plan", "free")
        for identify in (first, second):
            client.identify(identify, EventOptions(user_id=f"user-{n}"))
    client.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
