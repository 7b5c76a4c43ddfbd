"""What tenants configured is run, as it was when the run began, and sent by who may."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sluice.tenants import TenantsFile
from tests.support.run_rig import TENANT, RunRig, new_run, open_host, open_run_rig
from tests.support.workflows import (
    Served,
    description,
    document,
    planned,
    program,
    run_files,
    serving,
)
from worker.workflows.core.reach import listed
from worker.workflows.core.state import NoAnswer, State
from worker.workflows.http import HttpShell
from worker.workflows.program import Act

CONFIG = """
[tenants.acme.workflows.cg-own]
name = "Own"
type = "arazzo.w"
document = "own.json"
"""
FIRST: Mapping[str, Any] = {
    "stepId": "first",
    "operationId": "call",
    "onSuccess": [{"name": "on", "type": "goto", "stepId": "second"}],
}
SECOND: Mapping[str, Any] = {
    "stepId": "second",
    "operationId": "call",
    "outputs": {"x": "$response.body#/x"},
}
OLD: Mapping[str, Any] = {"outputs": {"x": "$steps.second.outputs.x"}}
NEW: Mapping[str, Any] = {"outputs": {"y": "$steps.second.outputs.x"}}


@pytest.fixture
def gate() -> asyncio.Event:
    """Set when the server may answer."""
    return asyncio.Event()


@pytest.fixture
async def served(gate: asyncio.Event) -> AsyncIterator[Served]:
    """A server that answers when it may."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.json_response({"x": 1})

    async with serving(answer) as found:
        yield found


@pytest.fixture
async def rig(tmp_path: Path, engine_url: str, served: Served) -> AsyncIterator[RunRig]:
    """A tenant with a document of its own."""
    TenantsFile(tmp_path / "tenants.toml").add_tenant(TENANT)
    with (tmp_path / "tenants.toml").open("a") as file:
        file.write(CONFIG)
    folder = tmp_path / "workflows" / TENANT
    folder.mkdir(parents=True)
    (folder / "own.json").write_bytes(document(FIRST, SECOND, **OLD))
    (folder / "api.yaml").write_bytes(description(served.url, call={}))
    async with open_run_rig(tmp_path, engine_url, workflow_private_hosts=served.place) as opened:
        yield opened


async def test_run_goes_on_as_it_began_when_its_document_has_changed(
    rig: RunRig, gate: asyncio.Event, tmp_path: Path
) -> None:
    run = new_run(config_id="cg-own", type="arazzo.w", inputs="{}")
    async with open_host(rig, lease_s=5, is_scripted=False):
        await rig.start(run)
        await rig.in_state(run, "started")
        # A host that stops waits for a request whose repetition may not be safe.
        asyncio.get_running_loop().call_later(1.0, gate.set)
    changed = tmp_path / "workflows" / TENANT / "own.json"
    changed.write_bytes(document(FIRST, SECOND, **NEW))
    async with open_host(rig, lease_s=5, is_scripted=False):
        last = await rig.ended(run)
        later = new_run(config_id="cg-own", type="arazzo.w", inputs="{}")
        await rig.start(later)
        assert (await rig.ended(later)).outputs == '{"y":1}'
    assert (last.state, last.outputs) == ("succeeded", '{"x":1}')
    assert last.epoch == 2


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"config_id": "cg-gone"}, "cg-gone is not among the tenant's any more"),
        ({"config_id": "cg-own", "tenant": "nobody"}, "not among the tenant's any more"),
        ({"config_id": "og-erase", "type": "erase"}, "does not take its inputs"),
    ],
)
async def test_run_that_cannot_begin_says_why(
    rig: RunRig, members: Mapping[str, str], words: str
) -> None:
    run = new_run(**{"type": "arazzo.w", "inputs": "{}", **members})
    async with open_host(rig, lease_s=5, is_scripted=False):
        await rig.start(run)
        last = await rig.ended(run)
    assert (last.state, last.error_attribution) == ("failed", "customer")
    assert words in last.error_message


async def test_request_is_not_sent_by_who_lost_the_lease_while_it_connected(
    served: Served, tmp_path: Path
) -> None:
    made = planned(document(FIRST, SECOND), description(served.url, call={}))
    async with HttpShell(listed(served.place), may_send=lambda: False) as http:
        one = program(made, http, run_files(tmp_path))
        state = one.begin(0.0)
        assert isinstance(state, State)
        act = one.next_move(state)
        assert isinstance(act, Act)
        outcome = await one.perform(state, act, asyncio.Event())
    assert isinstance(outcome, NoAnswer)
    assert (outcome.kind, outcome.was_sent) == ("network", False)
    assert served.requests == []
