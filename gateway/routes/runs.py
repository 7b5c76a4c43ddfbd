"""``/api/workflow/runs``: lists runs, starts one, shows one, stops one (reference, "Decisions").

The order of checks: credential, rate, tenant, parameters and version, body, configuration. A start
or a stop is answered when its command is durable in the queue. What is to be known of other runs
before a start, the warehouse says; while it does not answer, nothing is started (503), because a
run too many, or a second one for the same request, could not be told.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import hdrs

from gateway.body import check_encoding, read_body
from gateway.core.answers import Answer, ok, refused, refused_one, unavailable
from gateway.core.auth import Runner
from gateway.core.runs_memory import stopped
from gateway.core.runs_query import (
    LIST_NAMES,
    NO_NAMES,
    ONE_NAMES,
    digest_of,
    read_list,
    read_view,
    wrong,
)
from gateway.core.runs_start import (
    MAX_START_BYTES,
    StartAsk,
    check_inputs,
    check_mode,
    check_range,
    read_key,
    read_start,
    request_key,
)
from gateway.core.runs_token import make_token, read_token
from gateway.core.runs_view import listed, overview, verbose
from gateway.dispatch import Exchange, Handler, Route, segments
from gateway.group import Unstored
from gateway.locks import KeyedLocks
from gateway.run_book import RunBook
from gateway.run_callers import RunCallers
from gateway.run_commands import RunCommands
from sluice.core.errors import ErrorType, Rejected, WarehouseError
from sluice.core.run_tasks import RunTask
from sluice.core.tokens import READ_SCOPE, RUNS_SCOPE
from sluice.core.workflows import WorkflowConfig
from sluice.workflows.core.runs import ENDED, Run, Start, Stop, new_run_id, run_time

PATH: Final = "/api/workflow/runs"
RETRY_AFTER_S: Final = 5.0
SHOWN_LIVE: Final = 10
"""Runs that a refusal names."""
BEGUN_WITHIN_S: Final = 1.0
"""How long a stop waits to hear that its run has begun. A worker that is there writes it down
sooner; one that comes later honours the stop before it begins."""
_RUN_AT: Final = 3
"""Where the id stands among the segments of a path."""

_log = logging.getLogger(__name__)


def answering(handler: Handler) -> Handler:
    """Return a handler that says 503 where the warehouse does not answer."""

    async def handle(exchange: Exchange) -> Answer:
        try:
            return await handler(exchange)
        except WarehouseError as error:
            _log.warning("The warehouse did not answer a read", extra={"reason": str(error)[:500]})
            return unavailable(
                ErrorType.WAREHOUSE_UNAVAILABLE,
                "The warehouse does not answer, so nothing is known of other runs.",
                retry_after_s=RETRY_AFTER_S,
            )

    return handle


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRoutes:
    """The handlers and what they need."""

    callers: RunCallers
    book: RunBook
    commands: RunCommands
    token_key: bytes = field(repr=False)
    now: Callable[[], datetime]
    body_timeout_s: float
    _one_request: KeyedLocks = field(default_factory=KeyedLocks)

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(
                name="runs",
                path=PATH,
                handlers={
                    hdrs.METH_GET: answering(self.list_runs),
                    hdrs.METH_POST: answering(self.start),
                },
            ),
            Route(
                name="run",
                path=f"{PATH}/{{run_id}}",
                handlers={hdrs.METH_GET: answering(self.one)},
            ),
            Route(
                name="run_stop",
                path=f"{PATH}/{{run_id}}/stop",
                handlers={hdrs.METH_POST: answering(self.stop)},
            ),
        ]

    async def list_runs(self, exchange: Exchange) -> Answer:
        """Return a page of runs, newest first."""
        caller = self.callers.admit(exchange, scope=READ_SCOPE, names=LIST_NAMES)
        if isinstance(caller, Answer):
            return caller
        ask = read_list(caller.parameters)
        if isinstance(ask, Rejected):
            return refused([ask])
        tenant = caller.runner.tenant.slug
        now = self.now().timestamp()
        digest = digest_of(ask.filters)
        before = None
        if ask.next_token is not None:
            before = read_token(
                ask.next_token, tenant=tenant, filters=digest, key=self.token_key, now=now
            )
            if before is None:
                return refused([_BAD_TOKEN])
        page = await self.book.page(tenant, ask.filters, before=before, limit=ask.limit)
        answer: dict[str, object] = {"data": [listed(run) for run in page.runs]}
        answer["next_token"] = (
            ""
            if page.behind is None
            else make_token(page.behind, tenant=tenant, filters=digest, key=self.token_key, now=now)
        )
        if ask.with_total:
            answer["total"] = await self.book.total(tenant, ask.filters)
        return ok(answer)

    async def one(self, exchange: Exchange) -> Answer:
        """Return one run, as an overview or whole."""
        caller = self.callers.admit(exchange, scope=READ_SCOPE, names=ONE_NAMES)
        if isinstance(caller, Answer):
            return caller
        is_verbose = read_view(caller.parameters)
        if isinstance(is_verbose, Rejected):
            return refused([is_verbose])
        run = await self.book.find(caller.runner.tenant.slug, segments(exchange)[_RUN_AT])
        if run is None:
            return unknown_run()
        return await self._whole(caller.runner, run) if is_verbose else ok(overview(run))

    async def stop(self, exchange: Exchange) -> Answer:
        """Ask to stop a run; answer when that is durable."""
        caller = self.callers.admit(exchange, scope=RUNS_SCOPE, names=NO_NAMES)
        if isinstance(caller, Answer):
            return caller
        runner = caller.runner
        run = await self.book.find(runner.tenant.slug, segments(exchange)[_RUN_AT])
        if run is None:
            return unknown_run()
        if run.state in {"stopping", "canceled"}:
            return await self._whole(runner, run)
        if run.state in ENDED:
            return _run_ended(run)
        tasks = await self.book.tasks(run)
        asked_at = run_time(self.now())
        unstored = await self.commands.publish(
            Stop(
                tenant=run.tenant,
                run_id=run.run_id,
                asked_at=asked_at,
                principal_name=runner.name or runner.id,
            )
        )
        if unstored is not None:
            return _unstored(unstored)
        if run.state == "scheduled":
            # It may have begun meanwhile (so its steps are not shown yet), and a run that is called
            # canceled must not go on after.
            run = await self.book.begun(run, within_s=BEGUN_WITHIN_S)
        if run.state in {"succeeded", "failed"}:
            return _run_ended(run)
        shown = run if run.state in ENDED else stopped(run, asked_at)
        self.book.recent.stop(shown)
        return await self._whole(runner, shown, tasks)

    async def start(self, exchange: Exchange) -> Answer:
        """Start a run; answer when that is durable."""
        caller = self.callers.admit(exchange, scope=RUNS_SCOPE, names=NO_NAMES)
        if isinstance(caller, Answer):
            return caller
        key = read_key(exchange.request.headers.getall("Idempotency-Key", []))
        if isinstance(key, Rejected):
            return refused([key])
        ask = await self._read(exchange)
        if isinstance(ask, Rejected):
            return refused([ask])
        if key is None:
            return await self._start(caller.runner, ask, "")
        request = request_key(caller.runner.tenant.slug, key)
        async with self._one_request.hold(request):
            return await self._start(caller.runner, ask, request)

    async def _read(self, exchange: Exchange) -> StartAsk | Rejected:
        request = exchange.request
        media_type = request.headers.get(hdrs.CONTENT_TYPE, "").strip().lower()
        if media_type.startswith("multipart/"):
            return Rejected(
                ErrorType.CONTENT_TYPE_UNSUPPORTED, "Send JSON, not a form of several parts."
            )
        problem = check_encoding(request)
        if problem is not None:
            return problem
        body = await read_body(request, max_bytes=MAX_START_BYTES, timeout_s=self.body_timeout_s)
        return body if isinstance(body, Rejected) else read_start(body)

    async def _start(self, runner: Runner, ask: StartAsk, request: str) -> Answer:
        tenant = runner.tenant
        if request:
            earlier = await self.book.find_request(tenant.slug, request)
            if earlier is not None:
                return await self._again(runner, earlier, ask)
        config = tenant.workflows.get(ask.config_id)
        if config is None:
            return refused_one(
                ErrorType.WORKFLOW_UNKNOWN, f"There is no configuration {ask.config_id}."
            )
        if not config.enabled:
            return refused_one(ErrorType.WORKFLOW_DISABLED, f"{ask.config_id} is switched off.")
        entry = await self.book.catalogue.entry(tenant.slug, config)
        if entry.schema is None:
            return refused_one(ErrorType.WORKFLOW_BROKEN, entry.problem)
        problem = (
            check_range(ask, config)
            or check_mode(ask, config)
            or check_inputs(ask, config, entry.schema)
        )
        if problem is not None:
            return refused([problem])
        run = await self._new_run(runner, ask, config, entry.workflow_id, entry.digest, request)
        live = await self.book.live(tenant.slug, ask.config_id)
        # Nothing may be awaited between this look and the reservation.
        if len(live) >= config.max_concurrent:
            return _too_many(config, live)
        return await self._begin(runner, run)

    async def _new_run(
        self,
        runner: Runner,
        ask: StartAsk,
        config: WorkflowConfig,
        workflow_id: str,
        digest: str,
        request: str,
    ) -> Run:
        tenant = runner.tenant.slug
        while True:
            now = self.now()
            run_id = new_run_id(now, secrets.token_hex(16))
            is_taken = run_id in self.book.recent.ids(tenant)
            if not is_taken and await self.book.find(tenant, run_id) is None:
                break
        return Run(
            tenant=tenant,
            run_id=run_id,
            config_id=config.config_id,
            type=config.type,
            name=config.name,
            workflow_id=workflow_id,
            source="api",
            created_at=run_time(now),
            principal_id=runner.id,
            principal_name=runner.name,
            principal_email=runner.email,
            launched_version=self.book.version_of(tenant, config.config_id, digest),
            run_mode=(ask.run_mode or config.run_mode) if config.takes_range else "",
            range_from=ask.range_from,
            range_to=ask.range_to,
            inputs=ask.inputs_text,
            request_key=request,
            request_digest=ask.digest if request else "",
        )

    async def _begin(self, runner: Runner, run: Run) -> Answer:
        recent = self.book.recent
        recent.reserve(run)
        is_durable = False
        try:
            unstored = await self.commands.publish(Start(run))
            is_durable = unstored is None
        finally:
            if is_durable:
                recent.confirm(run.run_id)
            else:
                recent.forget(run.run_id)
        if unstored is not None:
            return _unstored(unstored)
        answer = await self._whole(runner, run, [])
        location = ("Location", f"{PATH}/{run.run_id}")
        return msgspec.structs.replace(answer, headers=(*answer.headers, location))

    async def _again(self, runner: Runner, earlier: Run, ask: StartAsk) -> Answer:
        if earlier.request_digest != ask.digest:
            return refused_one(
                ErrorType.IDEMPOTENCY_KEY_REUSED,
                f"This Idempotency-Key began {earlier.run_id} with another body.",
            )
        return await self._whole(runner, earlier)

    async def _whole(self, runner: Runner, run: Run, tasks: list[RunTask] | None = None) -> Answer:
        if tasks is None:
            tasks = await self.book.tasks(run)
        version = await self.book.current_version(runner.tenant, run)
        config = runner.tenant.workflows.get(run.config_id)
        secret_names = sorted(config.secrets) if config else []
        return ok(verbose(run, tasks, current_version=version, secrets=secret_names))


def unknown_run() -> Answer:
    """Return the answer to an id that no run of the tenant has, whoever else may have it."""
    return refused_one(ErrorType.RUN_UNKNOWN, "This tenant has no run with this id.")


def _run_ended(run: Run) -> Answer:
    return refused_one(ErrorType.RUN_ENDED, f"The run has already {run.state}.")


def _too_many(config: WorkflowConfig, live: list[str]) -> Answer:
    named = ", ".join(live[:SHOWN_LIVE])
    more = f" and {len(live) - SHOWN_LIVE} more" if len(live) > SHOWN_LIVE else ""
    return refused_one(
        ErrorType.RUNS_AT_LIMIT,
        f"{config.config_id} may run {config.max_concurrent} at once, and these go on:"
        f" {named}{more}.",
    )


def _unstored(unstored: Unstored) -> Answer:
    return unavailable(unstored.error_type, unstored.detail, retry_after_s=unstored.retry_after_s)


_BAD_TOKEN: Final = wrong(
    "next_token is not one of this list: send the last page's, with the same filters, within 24"
    " hours; when it is empty there are no more pages."
)
