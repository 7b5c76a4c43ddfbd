"""Runs the steps of a built-in workflow in the test's process, one after another."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from sluice.core.workflows import TYPES, RunMode
from sluice.tenants import TenantsFile
from sluice.workflows.core.runs import Run, new_run_id, run_time
from sluice.workflows.files import RunFiles
from tests.support.worker_rig import TENANT, Rig
from worker.workflows.builtin import Again, Builtin, Context, Tools

MAX_WAIT_S = 2.0


@dataclass(slots=True)
class BuiltinRun:
    """One run; what it reached is passed through JSON between calls, as through the warehouse."""

    builtin: Builtin
    tools: Tools
    run: Run
    inputs: Mapping[str, Any]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)
    waits: list[float] = field(default_factory=list)

    async def call(self) -> bool:
        """Call the current step once; return whether the run is at its end."""
        step = self.builtin.steps[len(self.outputs)]
        context = Context(
            tools=self.tools,
            run=self.run,
            inputs=self.inputs,
            outputs=self.outputs,
            memory=self.memory,
            started_at=self.started_at,
            stop=self.stop,
        )
        given = await step.do(context)
        if isinstance(given, Again):
            self.memory = msgspec.json.decode(msgspec.json.encode(given.memory))
            self.waits.append(given.after_s)
            await asyncio.sleep(min(given.after_s, MAX_WAIT_S))
            return False
        self.outputs[step.id] = msgspec.json.decode(msgspec.json.encode(given))
        self.memory = {}
        return len(self.outputs) == len(self.builtin.steps)

    async def finish(self) -> Mapping[str, Any]:
        """Go on to the end and return the outputs of the run."""
        while not await self.call():
            pass
        return self.outputs[self.builtin.steps[-1].id]

    async def lines(self, name: str) -> list[Mapping[str, Any]]:
        """Return the lines of a file that the run left."""
        path = self.tools.files.path(self.run.tenant, self.run.run_id, name)
        assert path is not None
        text = await asyncio.to_thread(path.read_bytes)
        return [msgspec.json.decode(line) for line in text.splitlines()]


def tools_of(rig: Rig) -> Tools:
    """Return the tools of a worker over a rig."""
    settings = rig.settings
    return Tools(
        settings=settings,
        tenants=TenantsFile(settings.tenants_path),
        warehouse=rig.warehouse,
        queue=rig.queue,
        files=RunFiles(settings.run_files_path, max_bytes=settings.run_file_max_bytes),
    )


def new_run(
    builtin: Builtin,
    rig: Rig,
    *,
    tenant: str = TENANT,
    since: datetime | None = None,
    until: datetime | None = None,
    run_mode: RunMode | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> BuiltinRun:
    """Return a run of a tenant that has not begun."""
    now = datetime.now(UTC)
    known = TYPES[builtin.type]
    properties = (known.inputs or {}).get("properties", {})
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    run = Run(
        tenant=tenant,
        run_id=new_run_id(now, f"{tenant}{now.timestamp()}"),
        config_id=f"cg-{builtin.type}",
        type=builtin.type,
        name=builtin.type,
        workflow_id=builtin.type,
        source="api",
        created_at=run_time(now),
        run_mode=run_mode or known.run_mode,
        range_from=run_time(since) if since else None,
        range_to=run_time(until) if until else None,
    )
    return BuiltinRun(builtin, tools_of(rig), run, {**defaults, **(inputs or {})})
