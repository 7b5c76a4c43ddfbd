"""Sluice under Locust, for people who know Locust: ``locust -f loadtest/locustfile.py``.

Locust is not among Sluice's dependencies; docs/loadtest.md says how to run this in an environment
of its own. Set ``SLUICE_API_KEY``, and ``SLUICE_TOKEN`` for the readers of stats.

Locust is a closed loop: a user waits for the answer before sending the next event, so a server that
stalls is asked less. For latencies take ``sluice-loadtest``, whose requests are due whatever
happens.
"""

import os
from itertools import cycle
from pathlib import Path

from locust import HttpUser, between, task

EVENTS = Path(__file__).parent.parent / "tests/data/wikiticker.first500.ndjson"
BATCH_EVENTS = 100

lines = EVENTS.read_bytes().splitlines()
BATCH_BODY = b'{"events":[' + b",".join(lines[:BATCH_EVENTS]) + b"]}"
JSON = {"Content-Type": "application/json"}


class Sender(HttpUser):
    """A program that sends events, mostly one by one."""

    weight = 20
    wait_time = between(0.01, 0.1)

    def on_start(self) -> None:
        """Take the key, and begin somewhere in the events."""
        self.headers = JSON | {"Authorization": f"ApiKey {os.environ['SLUICE_API_KEY']}"}
        self.events = cycle(lines)

    @task(10)
    def track(self) -> None:
        """Send one event."""
        self.client.post("/api/ingestion/track", data=next(self.events), headers=self.headers)

    @task(1)
    def batch(self) -> None:
        """Send a batch."""
        self.client.post("/api/ingestion/track/batch", data=BATCH_BODY, headers=self.headers)


class Reader(HttpUser):
    """Somebody who looks at the stats now and then."""

    weight = 1 if os.environ.get("SLUICE_TOKEN") else 0
    wait_time = between(1, 3)

    @task
    def stats(self) -> None:
        """Read the stats."""
        token = os.environ["SLUICE_TOKEN"]
        self.client.get("/api/ingestion/stats", headers={"Authorization": f"Bearer {token}"})
