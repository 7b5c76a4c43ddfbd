"""A Sluice of the console's own, with something to see in each panel."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from sluice.core.amplitude import SIMULATED_KEY
from sluice.core.tokens import mint_read_token
from sluice.tenants import TenantsFile
from tests.console.page import SHOWN_WITHIN_S
from tests.support.poll import poll_until
from tests.support.segops import Segops, assert_counted, assert_queued
from tests.support.shared import SharedParts
from tests.support.stack import Stack, running_stack

TENANT: Final = "demo"
DATA: Final = Path(__file__).parents[1] / "data/wikiticker.first500.ndjson"
REFUSED_TYPE: Final = "<img src=x onerror=alert(1)>"
"""The event type that the simulated Amplitude refuses."""
ARABIC: Final = "طلب_جديد"
STATUS: Final = "/api/ingestion/status"
LETTERS: Final = "/api/ingestion/dead-letters"
RUNS: Final = "/api/workflow/runs"
SEND_AGAIN_S: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A running Sluice with a simulated Amplitude, and its tenant ``demo``."""

    stack: Stack
    api_key: str
    """Of ``demo``."""
    simulator: str

    def token(self, slug: str = TENANT, *, scope: str = "read runs", ttl_s: int = 3_600) -> str:
        """Return a token, as ``sluice token`` prints it; with a time below 0 it has run out."""
        secret = SharedParts(self.stack).jwt_secret
        return mint_read_token(slug, secret=secret, now=datetime.now(UTC), ttl_s=ttl_s, scope=scope)

    def client(self, slug: str = TENANT, api_key: str = "") -> Segops:
        """Return a tenant's client, to be entered."""
        return Segops(
            self.stack.url,
            SharedParts(self.stack).warehouse_url,
            slug=slug,
            api_key=api_key or self.api_key,
            read_token=self.token(slug),
        )

    def new_client(self) -> Segops:
        """Return the client, to be entered, of a new tenant that forwards to the simulator."""
        slug, api_key, _ = self.stack.new_tenant()
        TenantsFile(self.stack.tenants_file).set_value(slug, "amplitude.api_key", SIMULATED_KEY)
        return self.client(slug, api_key)

    async def refuse(self, *event_types: str) -> None:
        """Let the simulated Amplitude refuse events of these types alone, for what they hold."""
        bad = {"field": "event_properties", "event_types": event_types} if event_types else None
        await self.simulate(bad_field=bad)

    async def simulate(self, **changes: object) -> None:
        """Change how the simulated Amplitude treats the project of all tenants of this rig."""
        body = orjson.dumps({"api_key": SIMULATED_KEY, **changes})
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.simulator}/_sim", data=body) as answer,
        ):
            assert answer.status == 200, await answer.text()


async def send_wikiticker(api: Segops) -> None:
    """Send 500 events, and two that the gateway refuses."""
    events = [orjson.loads(line) for line in DATA.read_bytes().splitlines()]
    assert_counted(await api.batch(events), queued=500, skipped=0)
    assert_counted(await api.batch([{"user_id": "u-1"}] * 2), queued=0, skipped=2)


async def send_hostile(api: Segops) -> str:
    """Send an event with names that are no good for a page, and return its id."""
    event = {
        "user_id": "\u202eevil-" + "w" * 200,
        "event_type": REFUSED_TYPE,
        "payload": {"<b>bold</b>": 1, ARABIC: "x" * 300},
    }
    return assert_queued(await api.track(event))


async def dead_letter(api: Segops) -> str:
    """Send such events until one is a dead letter, and return its id.

    What came before the worker knew that the tenant forwards is never forwarded.
    """
    sent: list[str] = []
    sent_at = float("-inf")

    async def is_dead() -> str | None:
        nonlocal sent_at
        if time.monotonic() - sent_at > SEND_AGAIN_S:
            sent.append(await send_hostile(api))
            sent_at = time.monotonic()
        for one in sent:
            receipt = await api.get(f"/api/ingestion/events/{one}")
            if receipt.status == 200 and receipt.json["state"] == "dead":
                return one
        return None

    return await poll_until(is_dead, within_s=SHOWN_WITHIN_S, every_s=0.2, what="a dead letter")


async def start_run(api: Segops, *, mode: str = "source", rate: int = 1_000) -> str:
    """Start a replay of today's events, so many a second, and return the run's id."""
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return await start(
        api, config_id="cg-replay", range_from=today, run_mode=mode, inputs={"rate": rate}
    )


async def start(api: Segops, **body: object) -> str:
    """Start a run, and return its id."""
    headers = {"Authorization": f"Bearer {api.read_token}"}
    answer = await api.ask("POST", RUNS, headers=headers, body=orjson.dumps(body))
    assert answer.status == 200, answer
    return str(answer.json["id"])


async def read(api: Segops, target: str) -> Any:
    """Return what the API says."""
    answer = await api.get(target)
    assert answer.status == 200, answer
    return answer.json


@contextmanager
def running_rig(data_dir: Path) -> Iterator[Rig]:
    """Run a Sluice with a simulated Amplitude until the block ends."""
    with running_stack(data_dir, {}, "--simulate-amplitude") as owned:
        key = re.search(r"^  (sk_\S+)$", owned.stack.output, re.MULTILINE)
        simulator = re.search(r"Amplitude is simulated on (\S+);", owned.stack.output)
        assert key is not None
        assert simulator is not None
        yield Rig(stack=owned.stack, api_key=key[1], simulator=simulator[1])
