"""From a run to its program: what its configuration names, with the texts that it began with.

A run goes on as it began. So the texts of a document are kept by their digest when a run begins,
and are taken from there when the files have changed since.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any, Final

import msgspec

from sluice.core.tenant import Tenant
from sluice.core.workflows import RETENTION_DAYS, TYPES, WorkflowConfig
from sluice.logs import get_logger
from sluice.queue.protocol import Queue
from sluice.settings import Settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.workflows.catalogue import Catalogue, Entry
from sluice.workflows.core.document import Document, SourceText, digest_of, parse
from sluice.workflows.core.runs import Run, RunError
from sluice.workflows.files import RunFiles
from sluice.workflows.loading import Opened
from worker.workflows import builtins
from worker.workflows.arazzo import ArazzoProgram
from worker.workflows.builtin import Tools
from worker.workflows.builtin_program import BuiltinProgram
from worker.workflows.core.progress import RunRow
from worker.workflows.core.reach import listed
from worker.workflows.http import HttpShell
from worker.workflows.lease import Lease
from worker.workflows.plans import Plans
from worker.workflows.program import Program
from worker.workflows.secrets import Resolver
from worker.workflows.store import Store

MAX_KNOWN: Final = 1_000
DOCUMENT: Final = ""
"""The name under which the document's own text is kept; sources have their own."""

log: Final = get_logger(__name__)


class ProgramsOfTenants:
    """Makes programs of the tenants' configurations.

    Args:
        tools: What built-in steps work with.
        catalogue: What configurations run.
        store: Keeps the texts of documents.
        plans: Of documents.
        http: Sends their requests.
    """

    def __init__(
        self, tools: Tools, *, catalogue: Catalogue, store: Store, plans: Plans, http: HttpShell
    ) -> None:
        self.tools = tools
        self.catalogue = catalogue
        self._store = store
        self._plans = plans
        self._http = http
        self._known: OrderedDict[str, None] = OrderedDict()
        """Digests whose texts are surely kept."""

    def retention_days(self, run: Run) -> int:
        """Return how long a run is kept after it ended."""
        found = self._found(run)
        return found[1].retention_days if found else RETENTION_DAYS

    async def program_for(self, run: RunRow, digest: str) -> Program[Any] | RunError:
        """Return what a run executes, or why that is not to be had.

        Args:
            run: The run.
            digest: Of what it began with; empty if it has not begun.

        Raises:
            WarehouseError: The texts cannot be kept or read now.
        """
        found = self._found(run)
        if found is None:
            return _refused(f"The configuration {run.config_id} is not among the tenant's any more")
        tenant, config = found
        entry = await self.catalogue.entry(run.tenant, config)
        known = TYPES.get(run.type)
        if known is not None and known.document is None:
            return self._builtin(run, entry)
        if digest and (entry.opened is None or _digest_of(entry.opened) != digest):
            kept = await self._reopened(entry, digest)
            if kept is None:
                return _refused("The document has changed, and its old text is not kept any more")
            entry = kept
        if entry.opened is None:
            return _refused(entry.problem)
        plan = await self._plans.planned_for(entry, tenant)
        if isinstance(plan, str):
            return _refused(plan)
        if not digest:
            await self._keep(entry.opened)
        return ArazzoProgram(
            plan,
            run=run,
            config=config,
            secrets=self._secrets(run.tenant),
            http=self._http,
            files=self.tools.files,
        )

    def _found(self, run: Run) -> tuple[Tenant, WorkflowConfig] | None:
        tenant = self.tools.tenants.directory.by_slug.get(run.tenant)
        config = tenant.workflows.get(run.config_id) if tenant is not None else None
        if tenant is None or config is None or config.type != run.type:
            return None
        return tenant, config

    def _secrets(self, slug: str) -> Resolver:
        directory = self.tools.tenants
        return Resolver(
            lambda: tenant.amplitude if (tenant := directory.directory.by_slug.get(slug)) else None,
            is_simulated=bool(self.tools.settings.amplitude_url),
        )

    def _builtin(self, run: Run, entry: Entry) -> Program[Any] | RunError:
        builtin = builtins.load(run.type)
        if builtin is None or entry.schema is None:
            return _refused(entry.problem or f"This worker does not know the type {run.type}")
        try:
            given = msgspec.json.decode(run.inputs, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            return _inputs("they are no JSON object")
        inputs = entry.schema.filled({**entry.config.inputs, **given})
        problems = entry.schema.problems(inputs, frozenset())
        if problems:
            return _inputs("; ".join(f"{one.pointer or '/'} {one.reason}" for one in problems))
        return BuiltinProgram(builtin, run=run, inputs=inputs, tools=self.tools)

    async def _keep(self, opened: Opened) -> None:
        digest = _digest_of(opened)
        if digest in self._known:
            return
        texts = {name: text for name, text in opened.sources.items() if isinstance(text, bytes)}
        await self._store.keep_document(digest, {DOCUMENT: opened.text, **texts})
        self._known[digest] = None
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    async def _reopened(self, entry: Entry, digest: str) -> Entry | None:
        texts: dict[str, SourceText] = dict(await self._store.document(digest))
        text = texts.pop(DOCUMENT, None)
        if not isinstance(text, bytes):
            return None
        document = await asyncio.to_thread(parse, text)
        if not isinstance(document, Document) or digest_of(document, texts) != digest:
            return None
        opened = Opened(document, texts, text)
        workflow_id = entry.workflow_id
        if all(one.id != workflow_id for one in document.workflows):
            workflow_id = document.workflows[0].id
        return Entry(
            config=entry.config,
            workflow_id=workflow_id,
            schema=entry.schema,
            digest=digest,
            opened=opened,
        )


def _digest_of(opened: Opened) -> str:
    return digest_of(opened.document, opened.sources)


def _refused(problem: str) -> RunError:
    return RunError("customer", "sluice.workflow.config/document", f"{problem.rstrip('.')}.")


def _inputs(problem: str) -> RunError:
    message = f"The workflow does not take its inputs: {problem}"
    return RunError("customer", "sluice.workflow.run/inputs", message)


@asynccontextmanager
async def open_programs(
    settings: Settings, *, tenants: TenantsFile, store: Store, queue: Queue, lease: Lease
) -> AsyncIterator[ProgramsOfTenants]:
    """Open what programs work with.

    Args:
        settings: All of them.
        tenants: Whose configurations are run.
        store: Keeps documents.
        queue: What steps publish to.
        lease: Without it nothing is sent.
    """
    private_hosts = listed(settings.workflow_private_hosts, settings.amplitude_url)
    # Steps have connections of their own: a long statement must not keep a sign of life.
    async with (
        Warehouse(settings) as warehouse,
        HttpShell(private_hosts, may_send=lambda: lease.is_held) as http,
    ):
        tools = Tools(
            settings=settings,
            tenants=tenants,
            warehouse=warehouse,
            queue=queue,
            files=RunFiles(settings.run_files_path, max_bytes=settings.run_file_max_bytes),
        )
        with closing(Plans(settings)) as plans:
            yield ProgramsOfTenants(
                tools,
                catalogue=Catalogue(settings.workflows_path),
                store=store,
                plans=plans,
                http=http,
            )
