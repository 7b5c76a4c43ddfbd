"""The gateway's composition root: ``build_app`` is the route table, ``serve`` the process."""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import sluice
from gateway import sources
from gateway.admission import Admission
from gateway.core.auth import TokenKeys
from gateway.core.limits import RateLimits
from gateway.core.runs_error import PREFIX, reshaped
from gateway.core.runs_memory import RecentRuns
from gateway.core.runs_token import token_key
from gateway.dispatch import Dispatcher, Route
from gateway.fast_path import FastPath
from gateway.health import HealthProbe
from gateway.lifetime import Lifetime
from gateway.publisher import Publisher
from gateway.readers import Readers
from gateway.reads import Reads, reads_of
from gateway.rejections import Rejections
from gateway.reply import request_ids
from gateway.request_log import RequestLog
from gateway.room import MAX_AWAITED_BYTES, Room
from gateway.routes.console import console_routes
from gateway.routes.dead_letters import DeadLetterRoutes
from gateway.routes.docs import docs_routes
from gateway.routes.error_types import error_type_routes
from gateway.routes.health import HealthRoutes
from gateway.routes.ingest import Ingest
from gateway.routes.ops import Figures, OpsRoutes
from gateway.routes.reads import ReadRoutes, stats_cache
from gateway.routes.receipts import ReceiptRoutes
from gateway.routes.run_files import RunFileRoutes
from gateway.routes.runs import RunRoutes
from gateway.routes.session import SessionRoutes
from gateway.routes.shopify import ShopifyRoutes
from gateway.routes.sources import SourceRoutes
from gateway.routes.status import Backlogs, StatusRoutes
from gateway.routes.tail import TailRoutes
from gateway.run_book import RunBook
from gateway.run_callers import RunCallers
from gateway.run_commands import RunCommands
from gateway.run_reads import RunReads
from gateway.scrape import Scrape
from gateway.server import HttpServer, connection_bound, raise_file_limit
from gateway.siblings import Place, Siblings
from gateway.single_flight import SingleFlight
from gateway.stamps import Stamps
from gateway.tails import Tails
from gateway.token_keys import JwksSource, load_verifier, shared_secret
from gateway.traces import RequestTraces
from gateway.worker_link import WorkerLink
from sluice.core.errors import ConfigError
from sluice.core.tenant import Directory
from sluice.credentials import session_secret
from sluice.heap import keep_freed_memory
from sluice.loop_lag import watch_loop
from sluice.queue import messaging_system, open_edge_queue
from sluice.queue.protocol import Queue
from sluice.settings import Settings
from sluice.telemetry import note_build
from sluice.tenants import TenantsFile
from sluice.tracing import open_tracer
from sluice.warehouse.client import Warehouse
from sluice.warehouse.stats import Stats, Window
from sluice.workflows.catalogue import Catalogue
from sluice.workflows.files import RunFiles

BACKLOG: Final = 4_096
"""Connections that the system may hold while the loop is busy."""
GC_GEN0: Final = 20_000
PUBSUB_IN_FLIGHT: Final = 32
"""Publishes on their way to Pub/Sub at once; a file has one writer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the routes are made of; tests put in their own."""

    queue: Queue
    publisher: Publisher
    rejections: Rejections
    reads: Reads
    stats: SingleFlight[tuple[str, Window], Stats]
    run_reads: RunReads
    run_commands: RunCommands
    run_files: RunFiles
    catalogue: Catalogue
    probe: HealthProbe
    worker: WorkerLink
    tails: Tails
    directory: Callable[[], Directory]
    token_keys: Callable[[], TokenKeys]
    session_secret: str = field(repr=False)
    ask_for_keys: Callable[[], None] = lambda: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    stamps: Stamps
    new_request_id: Callable[[], str]
    scrape: Callable[[], Awaitable[bytes]]
    body_timeout_s: float = 10.0
    request_log: RequestLog = field(default_factory=RequestLog)
    traces: RequestTraces = field(default_factory=RequestTraces)


def build_app(parts: Parts) -> Dispatcher:
    """Return what answers requests."""
    dispatcher: Dispatcher | None = None

    def is_ready() -> bool:
        return dispatcher is not None and not dispatcher.is_leaving

    limits = RateLimits()
    room, awaited = Room(), Room(MAX_AWAITED_BYTES)
    readers = Readers(
        directory=parts.directory,
        token_keys=parts.token_keys,
        ask_for_keys=parts.ask_for_keys,
        rejections=parts.rejections,
    )
    book = RunBook(
        reads=parts.run_reads, recent=RecentRuns(), catalogue=parts.catalogue, now=parts.now
    )
    callers = RunCallers(readers=readers, limits=limits, monotonic=parts.monotonic)
    figures = Figures(parts.queue, parts.monotonic)
    routes: list[Route] = [
        *Ingest(
            directory=parts.directory,
            token_keys=parts.token_keys,
            session_secret=parts.session_secret,
            limits=limits,
            monotonic=parts.monotonic,
            publisher=parts.publisher,
            rejections=parts.rejections,
            stamps=parts.stamps,
            body_timeout_s=parts.body_timeout_s,
            awaited=awaited,
        ).routes(),
        *SessionRoutes(
            directory=parts.directory,
            session_secret=parts.session_secret,
            limits=limits,
            monotonic=parts.monotonic,
            rejections=parts.rejections,
            now=parts.now,
            stamps=parts.stamps,
            body_timeout_s=parts.body_timeout_s,
        ).routes(),
        *ShopifyRoutes(
            directory=parts.directory,
            publisher=parts.publisher,
            commands=parts.run_commands,
            rejections=parts.rejections,
            stamps=parts.stamps,
            room=room,
            now=parts.now,
        ).routes(),
        *ReadRoutes(readers=readers, reads=parts.reads, now=parts.now, cache=parts.stats).routes(),
        *ReceiptRoutes(readers=readers, reads=parts.reads).routes(),
        *DeadLetterRoutes(readers=readers, reads=parts.reads).routes(),
        *error_type_routes(),
        *RunRoutes(
            callers=callers,
            book=book,
            commands=parts.run_commands,
            token_key=token_key(parts.session_secret),
            now=parts.now,
            body_timeout_s=parts.body_timeout_s,
        ).routes(),
        *RunFileRoutes(callers=callers, book=book, files=parts.run_files).routes(),
        *HealthRoutes(probe=parts.probe).routes(),
        *StatusRoutes(
            readers=readers,
            probe=parts.probe,
            worker=parts.worker,
            figures=figures,
            backlogs=Backlogs(parts.queue, parts.monotonic),
            now=parts.now,
            version=sluice.__version__,
        ).routes(),
        *TailRoutes(
            readers=readers,
            tails=parts.tails,
            directory=parts.directory,
            now=parts.now,
            monotonic=parts.monotonic,
        ).routes(),
        *OpsRoutes(
            figures=figures,
            scrape=parts.scrape,
            is_ready=is_ready,
        ).routes(),
        *SourceRoutes(
            sources=[sources.load(name) for name in sources.NAMES],
            directory=parts.directory,
            publisher=parts.publisher,
            rejections=parts.rejections,
            stamps=parts.stamps,
            body_timeout_s=parts.body_timeout_s,
            room=room,
            awaited=awaited,
            limits=limits,
            monotonic=parts.monotonic,
        ).routes(),
        *docs_routes(version=sluice.__version__),
        *console_routes(),
    ]
    dispatcher = Dispatcher(
        routes,
        rejections=parts.rejections,
        new_request_id=parts.new_request_id,
        shapes={PREFIX: reshaped},
        log=parts.request_log,
        traces=parts.traces,
    )
    return dispatcher


SWITCH_INTERVAL_S: Final = 0.0002
"""How long a busy loop may keep the queue's thread from the interpreter. The default of 5 ms is
longer than a commit, and everybody waits for the commit."""


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    *,
    reuse_port: bool = False,
    place: Place | None = None,
) -> None:
    """Serve until ``stop`` is set, then finish what is in hand within ``stop_timeout_s``.

    Args:
        settings: Where to listen, and every bound.
        stop: Set from outside, such as by SIGTERM.
        on_ready: Called once with the address, as soon as requests are answered.
        reuse_port: Listen beside other gateways on the same port.
        place: Which of several processes of one command this is; None: it is the only one.

    Raises:
        ConfigError: The address cannot be listened on, or a file of the data dir is broken.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    keep_freed_memory()
    note_build(settings.revision)
    tenants = TenantsFile(settings.tenants_path)
    jwks = JwksSource(settings.jwks_url) if settings.jwks_url else None
    secret = await asyncio.to_thread(session_secret, settings)
    shared = shared_secret(secret)
    async with AsyncExitStack() as stack:
        tracer = await stack.enter_async_context(open_tracer("gateway"))
        queue = await stack.enter_async_context(open_edge_queue(settings))
        warehouse = await stack.enter_async_context(Warehouse(settings, sees_all=False))
        publisher = await stack.enter_async_context(
            Publisher(
                queue,
                max_pending_bytes=settings.pending_max_bytes,
                timeout_s=settings.publish_timeout_s,
                max_in_flight=1 if settings.pubsub_project is None else PUBSUB_IN_FLIGHT,
            )
        )
        reads = reads_of(warehouse)
        worker = WorkerLink(settings.worker_urls)
        stack.push_async_callback(worker.close)
        tails = Tails(reads.tail)
        probe = HealthProbe(queue, worker=worker, ping=reads.ping)
        stamps = Stamps()
        new_request_id = request_ids()
        scrape = Scrape(queue, pending_bytes=lambda: publisher.pending_bytes)
        siblings = Siblings(place, scrape.text) if place else None
        parts = Parts(
            queue=queue,
            publisher=publisher,
            rejections=Rejections(publisher, new_ids=stamps.new_ids),
            reads=reads,
            stats=stats_cache(time.monotonic),
            run_reads=RunReads(warehouse),
            run_commands=RunCommands(queue, timeout_s=settings.publish_timeout_s),
            run_files=RunFiles(settings.run_files_path, max_bytes=settings.run_file_max_bytes),
            catalogue=Catalogue(settings.workflows_path),
            probe=probe,
            worker=worker,
            tails=tails,
            directory=lambda: tenants.directory,
            token_keys=(lambda: jwks.keys) if jwks else (lambda: shared),
            session_secret=secret,
            ask_for_keys=jwks.ask if jwks else lambda: None,
            stamps=stamps,
            new_request_id=new_request_id,
            scrape=siblings.text if siblings else scrape.text,
            body_timeout_s=settings.body_timeout_s,
            request_log=RequestLog(settings.log_requests),
            traces=RequestTraces(tracer, system=messaging_system(settings)),
        )
        app = build_app(parts)
        fast_path = FastPath(
            directory=parts.directory,
            token_keys=parts.token_keys,
            session_secret=parts.session_secret,
            app=app,
            publisher=publisher,
            rejections=parts.rejections,
            stamps=stamps,
            new_request_id=new_request_id,
        )
        admission = Admission(
            app=app,
            publisher=publisher,
            new_request_id=new_request_id,
            room=Room(settings.arriving_max_bytes),
        )
        http = HttpServer(
            app,
            new_request_id=new_request_id,
            max_connections=connection_bound(settings.max_connections, raise_file_limit()),
            keepalive_s=settings.keepalive_s,
            fast_path=fast_path,
            admission=admission,
        )
        listener = await _listen(http, settings, reuse_port=reuse_port)
        stack.callback(listener.close)
        lifetime = Lifetime(
            app=app,
            http=http,
            listener=listener,
            publisher=publisher,
            rejections=parts.rejections,
            watchers=[
                *(tenants.run, probe.watch, tails.run, http.sweep, watch_loop, load_verifier),
                parts.stats.run,
                *([jwks.run] if jwks else []),
                *([siblings.run] if siblings else []),
            ],
            stop_delay_s=settings.stop_delay_s,
            stop_timeout_s=settings.stop_timeout_s,
        )
        _spare_the_collector()
        await lifetime.run(stop, lambda: on_ready(_address(listener)))


def _spare_the_collector() -> None:
    # Requests make few cycles. Looking for them after every 700 objects, among all that was made
    # at the start, would cost a tenth of the speed.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_GEN0, 10, 10)


def _address(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _listen(http: HttpServer, settings: Settings, *, reuse_port: bool) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(
            http,
            settings.host,
            settings.port,
            backlog=BACKLOG,
            reuse_port=reuse_port or None,
            start_serving=False,
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = (
            f"cannot listen on {settings.host} port {settings.port} "
            f"(SLUICE_HOST, SLUICE_PORT): {reason}."
        )
        raise ConfigError(message) from None
