"""Every metric, declared once, and the logging set-up.

Names are ``sluice_<area>_<what>_<unit>[_total]``; labels come from closed sets. What is counted
per request on the edge goes through ``LocalCounter`` and ``LocalHistogram``: plain numbers that
only one thread writes and that become samples when somebody scrapes, because the locks of the
ordinary metrics would cost more than the rest of the answer.
"""

import logging
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from structlog.typing import Processor

# A second series beside each metric, of which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it is not annotated
REGISTRY: Final = CollectorRegistry()
METRICS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS: Final = (1, 10, 100, 500, 1_000, 5_000, 10_000, 25_000, 50_000)


class LocalCounter(Collector):
    """A counter that one thread writes and a scrape reads; ``labels`` come from a closed set."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = tuple(labels)
        self._values: dict[tuple[str, ...], float] = {}
        REGISTRY.register(self)

    def add(self, amount: float, *labels: str) -> None:
        """Count ``amount`` more."""
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        """Return what was counted so far."""
        return self._values.get(labels, 0.0)

    def collect(self) -> Iterable[Metric]:
        """Yield the samples of one scrape."""
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for labels, value in list(self._values.items()):
            family.add_metric(labels, value)
        yield family


class _Cells:
    """The numbers of one label set of a ``LocalHistogram``."""

    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.total = 0.0


class LocalHistogram(Collector):
    """A histogram that one thread writes and a scrape reads."""

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float] = SECONDS
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._cells: dict[tuple[str, ...], _Cells] = {}
        REGISTRY.register(self)

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count one observation."""
        cells = self._cells.get(labels)
        if cells is None:
            cells = self._cells[labels] = _Cells(len(self._bounds) + 1)
        cells.counts[bisect_left(self._bounds, value)] += 1
        cells.total += value

    def count(self, *labels: str) -> int:
        """Return how many observations were made."""
        cells = self._cells.get(labels)
        return sum(cells.counts) if cells else 0

    def collect(self) -> Iterable[Metric]:
        """Yield the samples of one scrape."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        edges = [str(float(bound)) for bound in self._bounds] + ["+Inf"]
        for labels, cells in list(self._cells.items()):
            running = 0
            buckets: list[tuple[str, float]] = []
            for edge, count in zip(edges, cells.counts, strict=True):
                running += count
                buckets.append((edge, running))
            family.add_metric(labels, buckets, cells.total)
        yield family


def render_metrics() -> bytes:
    """Return all metrics of this process in the Prometheus text format."""
    return generate_latest(REGISTRY)


ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

# --- http: the edge ---------------------------------------------------------------------------

HTTP_SECONDS: Final = LocalHistogram(
    "sluice_http_request_duration_seconds",
    "Time from the parsed request head to the answer.",
    ("route", "status"),
)
HTTP_CONNECTIONS: Final = Gauge(
    "sluice_http_open_connections", "Client connections that are open now.", registry=REGISTRY
)
HTTP_REFUSED_CONNECTIONS: Final = LocalCounter(
    "sluice_http_refused_connections_total",
    "Connections closed at once because the bound on open ones was reached.",
    (),
)
HTTP_TIMED_OUT_HEADS: Final = LocalCounter(
    "sluice_http_timed_out_heads_total",
    "Connections closed because a request head did not arrive whole in time.",
    (),
)

# --- events: what was accepted and refused ----------------------------------------------------

EVENTS_ACCEPTED: Final = LocalCounter(
    "sluice_events_accepted_total", "Events answered with 2xx.", ("source",)
)
EVENTS_REJECTED: Final = LocalCounter(
    "sluice_events_rejected_total",
    "Refused requests and skipped events.",
    ("source", "error_type"),
)
EVENTS_NORMALISED: Final = LocalCounter(
    "sluice_events_normalised_total",
    "Events accepted after a documented repair of their payload.",
    ("reason",),
)
SESSIONS_OPENED: Final = LocalCounter(
    "sluice_events_sessions_opened_total",
    "Sessions given to client apps, by whether a server had signed the user_id.",
    ("verified",),
)
ERROR_RECORDS: Final = LocalCounter(
    "sluice_events_error_records_total",
    "Error records by outcome: published, folded into another one, or dropped at the bound.",
    ("outcome",),
)

# --- queue: the way to durability -------------------------------------------------------------

PUBLISH_SECONDS: Final = LocalHistogram(
    "sluice_queue_publish_duration_seconds",
    "Time of one group commit, by outcome.",
    ("outcome",),
)
PUBLISHED_EVENTS: Final = LocalCounter(
    "sluice_queue_published_events_total", "Rows that became durable, by kind.", ("kind",)
)
PENDING_BYTES: Final = Gauge(
    "sluice_queue_pending_bytes",
    "Bytes of accepted rows that are not durable yet.",
    registry=REGISTRY,
)
QUEUE_STORED_BYTES: Final = Gauge(
    "sluice_queue_stored_bytes", "Bytes that the queue stores.", registry=REGISTRY
)
QUEUE_MAX_BYTES: Final = Gauge(
    "sluice_queue_max_bytes", "The bound on the bytes that the queue stores.", registry=REGISTRY
)
SPOOL_BYTES: Final = Gauge(
    "sluice_spool_stored_bytes",
    "Bytes in the spool, waiting for a queue that is away.",
    registry=REGISTRY,
)
SPOOL_MAX_BYTES: Final = Gauge(
    "sluice_spool_max_bytes", "The bound on the bytes in the spool.", registry=REGISTRY
)
SPOOL_OLDEST_AGE: Final = Gauge(
    "sluice_spool_oldest_age_seconds",
    "Age of the oldest envelope in the spool; 0 while it is empty.",
    registry=REGISTRY,
)
SPOOL_TIME_TO_FULL: Final = Gauge(
    "sluice_spool_time_to_full_seconds",
    "Time until the spool is full at the present rate; +Inf while it does not grow.",
    registry=REGISTRY,
)
SPOOL_IN_USE: Final = Gauge(
    "sluice_spool_in_use", "1 while new events go to the spool.", registry=REGISTRY
)
SPOOLED_ENVELOPES: Final = LocalCounter(
    "sluice_spool_envelopes_total",
    "Envelopes by outcome: spooled, or drained to the queue.",
    ("outcome",),
)
QUEUE_OLDEST_AGE: Final = Gauge(
    "sluice_queue_oldest_age_seconds",
    "Age of the oldest unacknowledged envelope.",
    ("subscription",),
    registry=REGISTRY,
)
QUEUE_BACKLOG_EVENTS: Final = Gauge(
    "sluice_queue_backlog_events",
    "Events that a subscription has not acknowledged.",
    ("subscription",),
    registry=REGISTRY,
)

# --- warehouse: the worker's way to ClickHouse ------------------------------------------------

INSERT_SECONDS: Final = Histogram(
    "sluice_warehouse_insert_duration_seconds",
    "Time of one insert of events.",
    buckets=BATCH_SECONDS,
    registry=REGISTRY,
)
INSERT_ROWS: Final = Histogram(
    "sluice_warehouse_insert_rows", "Rows of one insert of events.", buckets=ROWS, registry=REGISTRY
)
DUPLICATES: Final = Counter(
    "sluice_warehouse_duplicates_total",
    "Later copies of an event that a client sent again.",
    registry=REGISTRY,
)
ERASED: Final = Counter(
    "sluice_destination_erased_events_total",
    "Rows left out on their way to a destination because their person was erased.",
    ("destination",),
    registry=REGISTRY,
)
INSERTED: Final = Counter(
    "sluice_warehouse_inserted_rows_total",
    "Rows that ClickHouse took, by kind; redelivered ones count again.",
    ("kind",),
    registry=REGISTRY,
)
DEAD_LETTERS: Final = Counter(
    "sluice_warehouse_dead_letters_total",
    "Rows judged undeliverable and kept in dead_letters.",
    registry=REGISTRY,
)
KEYS_LOOKED_UP: Final = Counter(
    "sluice_warehouse_keys_looked_up_total",
    "Client-named events whose earlier copies were looked for in ClickHouse.",
    registry=REGISTRY,
)
FILTER_KEYS: Final = Gauge(
    "sluice_warehouse_filter_keys",
    "Keys in the filter that spares look-ups; 0 while every key is looked up.",
    registry=REGISTRY,
)
COPIES_DELETED: Final = Counter(
    "sluice_warehouse_copies_deleted_total",
    "Stored later copies that were deleted; no total counted them.",
    registry=REGISTRY,
)
ROLLUP_SECONDS: Final = Histogram(
    "sluice_warehouse_rollup_duration_seconds",
    "Time of recomputing the touched hours once.",
    buckets=BATCH_SECONDS,
    registry=REGISTRY,
)

# --- destination: every way out ---------------------------------------------------------------

DESTINATION_BREAKER: Final = Gauge(
    "sluice_destination_breaker_open",
    "1 while the destination is left alone after failures.",
    ("destination",),
    registry=REGISTRY,
)

# --- forwarding ---------------------------------------------------------------------------------

OUTCOMES: Final = Counter(
    "sluice_destination_outcomes_total",
    "Events by what became of them at a destination: delivered, parked, dead or filtered.",
    ("destination", "outcome"),
    registry=REGISTRY,
)
PARKED_EVENTS: Final = Gauge(
    "sluice_destination_parked_events",
    "Events that wait on this worker's disk until the destination takes them.",
    ("destination",),
    registry=REGISTRY,
)
AMPLITUDE_REQUESTS: Final = Counter(
    "sluice_amplitude_requests_total",
    "Requests to Amplitude by what the answer meant.",
    ("verdict",),
    registry=REGISTRY,
)
AMPLITUDE_SECONDS: Final = Histogram(
    "sluice_amplitude_request_duration_seconds",
    "Time from a ready request to Amplitude's answer.",
    registry=REGISTRY,
    buckets=SECONDS,
)
AMPLITUDE_TRUNCATED: Final = Counter(
    "sluice_amplitude_truncated_total",
    "Values cut because Amplitude takes no longer ones.",
    registry=REGISTRY,
)

# --- runs: what workers execute -----------------------------------------------------------------

RUNS_HELD: Final = Gauge(
    "sluice_runs_held", "Workflow runs that this worker has now.", registry=REGISTRY
)
RUNS_ENDED: Final = Counter(
    "sluice_runs_ended_total",
    "Workflow runs by how they ended: succeeded, failed or canceled.",
    ("state",),
    registry=REGISTRY,
)
RUN_TRANSITIONS: Final = Counter(
    "sluice_runs_transitions_total",
    "Rows of workflow runs that became durable.",
    registry=REGISTRY,
)
RUN_COMMANDS: Final = Counter(
    "sluice_runs_commands_total",
    "Commands by what became of them: started, duplicate, stopped, or dropped as malformed.",
    ("outcome",),
    registry=REGISTRY,
)

# --- traces -------------------------------------------------------------------------------------

TRACE_SPANS: Final = Counter(
    "sluice_trace_spans_total",
    "Spans by what became of them: exported, failed (the collector did not take them) or dropped"
    " (too many in one second, or too many waited for the collector).",
    ("outcome",),
    registry=REGISTRY,
)
TRACE_CONTEXTS_DROPPED: Final = Counter(
    "sluice_trace_contexts_dropped_total",
    "Contexts of sampled requests that did not go on, because one envelope or batch had too many.",
    ("where",),
    registry=REGISTRY,
)

# --- process ----------------------------------------------------------------------------------


class LogSettings(Protocol):
    """The part of the settings that logging needs."""

    @property
    def log_format(self) -> str:
        """``json``, ``text`` or ``auto``."""

    @property
    def log_level(self) -> str:
        """``debug``, ``info``, ``warning`` or ``error``."""


def configure_logging(settings: LogSettings) -> None:
    """Send all logs, ours and the libraries', to stderr: JSON lines, or text on a terminal."""
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    last: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The usual one shows the values of local variables: keys and people are among them.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in ("sluice", "gateway", "worker"):
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
