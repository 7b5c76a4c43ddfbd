"""Runs the steps of a built-in type as a worker does, and as one that dies after any of them."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from sluice.tenants import TenantsFile
from sluice.workflows.core.runs import Run, new_run_id, run_time
from sluice.workflows.files import RunFiles
from tests.support.worker_rig import TENANT, Rig
from worker.workflows.builtin import Again, Builtin, Context, Tools

LONGEST_S = 60.0


def tools_of(rig: Rig, **overrides: Any) -> Tools:
    """Return what steps work with, over a rig; settings may be others."""
    settings = replace(rig.settings, **overrides)
    return Tools(
        settings=settings,
        tenants=TenantsFile(settings.tenants_path),
        warehouse=rig.warehouse,
        queue=rig.queue,
        files=RunFiles(settings.run_files_path, max_bytes=settings.run_file_max_bytes),
    )


def new_run(type_name: str, *, tenant: str = TENANT, seed: str = "test") -> Run:
    """Return a run that was just asked for."""
    now = datetime.now(UTC)
    return Run(
        tenant=tenant,
        run_id=new_run_id(now, seed),
        config_id=f"og-{type_name}",
        type=type_name,
        name=type_name,
        workflow_id=type_name,
        source="api",
        created_at=run_time(now),
    )


@dataclass(slots=True)
class Steps:
    """The steps of one run."""

    builtin: Builtin
    tools: Tools
    run: Run
    inputs: Mapping[str, Any]
    started_at: float = field(default_factory=time.time)
    outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    times: int = 1
    """How often each call is made: 2 as after a crash between the call and the note of it."""

    async def all(self) -> Mapping[str, Any]:
        """Do all steps; return the last one's outputs."""
        for step in self.builtin.steps:
            await self.one(step.id)
        return self.outputs[self.builtin.steps[-1].id]

    async def all_from(self, step_id: str) -> Mapping[str, Any]:
        """Do a step and those behind it; return the last one's outputs."""
        ids = [step.id for step in self.builtin.steps]
        for one in ids[ids.index(step_id) :]:
            await self.one(one)
        return self.outputs[ids[-1]]

    async def until(self, step_id: str) -> None:
        """Do the steps before one."""
        for step in self.builtin.steps:
            if step.id == step_id:
                return
            await self.one(step.id)

    async def one(self, step_id: str) -> Mapping[str, Any]:
        """Do one step, with all its waits; its state goes through JSON as a run's does."""
        [step] = [one for one in self.builtin.steps if one.id == step_id]
        memory: Mapping[str, Any] = {}
        until = time.monotonic() + LONGEST_S
        while time.monotonic() < until:
            context = Context(
                tools=self.tools,
                run=self.run,
                inputs=self.inputs,
                outputs=self.outputs,
                memory=memory,
                started_at=self.started_at,
                stop=asyncio.Event(),
            )
            answer = await step.do(context)
            for _ in range(self.times - 1):
                answer = await step.do(context)
            if not isinstance(answer, Again):
                self.outputs[step_id] = _through_json(answer)
                return self.outputs[step_id]
            memory = _through_json(answer.memory)
            await asyncio.sleep(answer.after_s)
        message = f"{step_id} did not end within {LONGEST_S:g} s"
        raise TimeoutError(message)


def _through_json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    again: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return again
