"""``sluice run --simulate-amplitude``: forwarding that a person can watch, and nobody else gets."""

import re
from pathlib import Path

import aiohttp
import orjson
import pytest

from sluice.core.amplitude import SIMULATED_KEY
from sluice.tenants import TenantsFile
from tests.support.command import sluice
from tests.support.poll import poll_until
from tests.support.stack import running_stack

EVENT = {"user_id": "user-123", "event_type": "order_placed", "payload": {"total": 5}}


@pytest.mark.long(40)
async def test_run_with_the_simulator_forwards_to_it_and_later_without_it_no_more(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    with running_stack(data_dir, {}, "--simulate-amplitude") as owned:
        stack = owned.stack
        assert "tenant demo forwards to the simulator now, with the made-up key" in stack.log
        watch = re.search(r'curl "(http://127\.0\.0\.1:\d+/_sim/taken\?api_key=\S+)"', stack.output)
        key = re.search(r"^  (sk_\S+)$", stack.output, re.MULTILINE)
        assert watch is not None
        assert key is not None
        async with aiohttp.ClientSession() as session:
            async with session.post(
                f"{stack.url}/api/ingestion/track",
                json=EVENT,
                headers={"Authorization": f"ApiKey {key[1]}"},
            ) as response:
                assert response.status == 202

            async def taken() -> list[bytes]:
                async with session.get(watch[1]) as response:
                    return (await response.read()).splitlines() if response.ok else []

            lines = await poll_until(taken, what="the simulator took the event")
        assert orjson.loads(lines[0])["user_id"] == "user-123"
        await runs_workflows(data_dir)
        assert owned.stop() == 0
        assert "was killed" not in stack.log
    tenants = TenantsFile(data_dir / "tenants.toml")
    amplitude = tenants.directory.by_slug["demo"].amplitude
    assert amplitude is not None
    assert amplitude.api_key == SIMULATED_KEY
    with running_stack(data_dir) as owned:
        assert "tenant demo forwards no more: its key was the simulator's" in owned.stack.log
    assert TenantsFile(data_dir / "tenants.toml").directory.by_slug["demo"].amplitude is None


async def runs_workflows(data_dir: Path) -> None:
    """A workflow runs against the simulator, and the commands find its gateway by themselves."""
    settings = {"DATA_DIR": str(data_dir)}
    words = ("userId=user-456", "eventType=order_placed", "start=20260101", "end=20260102")
    inputs = [word for one in words for word in ("--input", one)]
    ran = await sluice("workflow", "run", "cg-ingest", *inputs, "--watch", settings=settings)
    assert ran.status == 0, ran
    assert "uploadEvents succeeded" in ran.stderr
    assert "    eventsIngested: 1\n" in ran.stdout
    run_id = ran.stdout.split()[0]
    shown = await sluice("workflow", "show", run_id, "--json", settings=settings)
    assert shown.json["inputs"]["basicAuth"] == "***"
    assert shown.json["principal_name"]
    listed = await sluice("workflow", "runs", "--state", "Succeeded", settings=settings)
    assert listed.stdout.splitlines()[1].startswith(f"{run_id}  succeeded  amplitude.ingest-and-")
    stopped = await sluice("workflow", "stop", run_id, settings=settings)
    assert (stopped.status, "already succeeded (409)" in stopped.error) == (1, True)
    unknown = await sluice("workflow", "run", "cg-nothing", settings=settings)
    assert (unknown.status, "`sluice workflow configs SLUG`" in unknown.error) == (2, True)


async def test_run_with_the_simulator_refuses_a_tenant_that_forwards_to_the_real_one(
    tmp_path: Path,
) -> None:
    tenants = TenantsFile(tmp_path / "tenants.toml")
    tenants.add_tenant("shop")
    tenants.set_value("shop", "amplitude.api_key", "a-real-key")
    settings = {"DATA_DIR": str(tmp_path), "PORT": "0"}
    ran = await sluice("run", "--simulate-amplitude", settings=settings)
    assert ran.status == 2
    assert "tenant 'shop' has an amplitude.api_key of its own" in ran.error
    assert "a-real-key" not in ran.error
    ran = await sluice(
        "run", "--simulate-amplitude", settings={**settings, "AMPLITUDE_URL": "http://127.0.0.1:9"}
    )
    assert ran.status == 2
    assert "exclude each other" in ran.error
