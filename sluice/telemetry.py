"""Every metric, declared once.

Names are ``sluice_<area>_<what>_<unit>[_total]``; labels come from closed sets, but for the tenant,
which is bounded (``tenant_label``). What is counted per request on the edge goes through the meters
of ``sluice.meters``.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

import sluice
from sluice.meters import REGISTRY as REGISTRY
from sluice.meters import SECONDS, Bounded, LocalCounter, LocalGauge, LocalHistogram

METRICS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BATCH_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
AGE_SECONDS: Final = (
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3_600.0, 21_600.0, 86_400.0),
)
ROWS: Final = (1, 10, 100, 500, 1_000, 5_000, 10_000, 25_000, 50_000)

tenant_label: Final[Callable[[str], str]] = Bounded()
"""The first 200 tenants of a process by their slugs, all others as ``other``."""

GATEWAY: Final = ("gateway",)
WORKER: Final = ("worker",)
BOTH: Final = ("gateway", "worker")
FILLED_BY: Final[Mapping[str, Sequence[str]]] = {
    "sluice_http_": GATEWAY,
    "sluice_events_": GATEWAY,
    "sluice_queue_": GATEWAY,
    "sluice_queue_oldest_age_seconds": BOTH,
    "sluice_queue_backlog_events": BOTH,
    "sluice_queue_time_to_loss_seconds": BOTH,
    "sluice_spool_": GATEWAY,
    "sluice_stats_": GATEWAY,
    "sluice_warehouse_": WORKER,
    "sluice_destination_": WORKER,
    "sluice_amplitude_": WORKER,
    "sluice_runs_": WORKER,
    "sluice_build_": BOTH,
    "sluice_loop_": BOTH,
    "sluice_process_": GATEWAY,
    "sluice_trace_": BOTH,
}
"""Which processes fill the metrics whose names begin so; the longest one counts."""


def processes_of(name: str) -> Sequence[str]:
    """Return which processes fill a metric.

    Raises:
        ValueError: It is of no area that there is.
    """
    return FILLED_BY[max(filter(name.startswith, FILLED_BY), key=len)]


def render_metrics() -> bytes:
    """Return all metrics of this process in the Prometheus text format."""
    return generate_latest(REGISTRY)


ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

# --- http: the edge ---------------------------------------------------------------------------

UNMATCHED: Final = "unmatched"
"""The route of requests that belong to none."""
HTTP_SECONDS: Final = LocalHistogram(
    "sluice_http_request_duration_seconds",
    "Time from the parsed request head to the answer; route `unmatched` is no path of ours, or no"
    " HTTP.",
    ("route", "status"),
)
HTTP_FAST_PATH: Final = LocalCounter(
    "sluice_http_fast_path_requests_total",
    "Requests for `track` and `track/batch` that were served on the fast path, because the"
    " same head had come before.",
    (),
)
HTTP_CONNECTIONS: Final = LocalGauge(
    "sluice_http_open_connections",
    "Client connections that are open now.",
)
HTTP_ARRIVING_BYTES: Final = LocalGauge(
    "sluice_http_arriving_bytes",
    "Bytes of requests above 16 KB that arrive or wait to be read.",
)
HTTP_OPEN_TAILS: Final = Gauge(
    "sluice_http_open_tails", "Live tails that are being watched now.", registry=REGISTRY
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
    "sluice_events_accepted_total",
    "Events answered with 2xx; past 200 tenants the others are tenant `other`.",
    ("source", "tenant"),
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
PUBLISH_ROWS: Final = LocalHistogram(
    "sluice_queue_publish_rows", "Rows of one group commit that became durable.", (), ROWS
)
PUBLISHED_EVENTS: Final = LocalCounter(
    "sluice_queue_published_events_total", "Rows that became durable, by kind.", ("kind",)
)
PENDING_BYTES: Final = LocalGauge(
    "sluice_queue_pending_bytes",
    "Bytes of accepted rows that are not durable yet.",
)
QUEUE_STORED_BYTES: Final = LocalGauge(
    "sluice_queue_stored_bytes",
    "Bytes that the queue stores.",
)
QUEUE_MAX_BYTES: Final = LocalGauge(
    "sluice_queue_max_bytes",
    "The bound on the bytes that the queue stores.",
)
QUEUE_TIME_TO_FULL: Final = LocalGauge(
    "sluice_queue_time_to_full_seconds",
    "Time until the local queue is full at the present rate; +Inf while it does not grow.",
)
SPOOL_BYTES: Final = LocalGauge(
    "sluice_spool_stored_bytes",
    "Bytes in the spool, waiting for a queue that is away.",
)
SPOOL_MAX_BYTES: Final = LocalGauge(
    "sluice_spool_max_bytes",
    "The bound on the bytes in the spool.",
)
SPOOL_OLDEST_AGE: Final = LocalGauge(
    "sluice_spool_oldest_age_seconds",
    "Age of the oldest envelope in the spool; 0 while it is empty.",
)
SPOOL_TIME_TO_FULL: Final = LocalGauge(
    "sluice_spool_time_to_full_seconds",
    "Time until the spool is full at the present rate; +Inf while it does not grow.",
)
SPOOL_IN_USE: Final = LocalGauge(
    "sluice_spool_in_use",
    "1 while new events go to the spool.",
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

QUEUE_TIME_TO_LOSS: Final = Gauge(
    "sluice_queue_time_to_loss_seconds",
    "Time until the oldest unacknowledged envelope expires; +Inf where nothing expires.",
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
FRESHNESS: Final = LocalHistogram(
    "sluice_warehouse_freshness_seconds",
    "Time from received_at at the edge until ClickHouse has confirmed the event, once for each"
    " event stored; all events of an envelope count as old as its oldest.",
    (),
    AGE_SECONDS,
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
FILTER_KEYS: Final = LocalGauge(
    "sluice_warehouse_filter_keys",
    "Keys in the filter that spares look-ups; 0 while every key is looked up.",
)
COPIES_DELETED: Final = Counter(
    "sluice_warehouse_copies_deleted_total",
    "Stored later copies that were deleted; no total counted them.",
    registry=REGISTRY,
)
RETENTION_LAST_SUCCESS: Final = LocalGauge(
    "sluice_warehouse_retention_last_success_timestamp_seconds",
    "When what tenants keep no longer was last looked for and ordered to go, in Unix time.",
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

DESTINATION_FAILURES: Final = Counter(
    "sluice_destination_failures_total",
    "Tries to hand a batch to the destination that failed as a whole: what opens the breaker.",
    ("destination",),
    registry=REGISTRY,
)
DESTINATION_LAST_DELIVERY: Final = Gauge(
    "sluice_destination_last_delivery_timestamp_seconds",
    "When the destination last took a batch, in Unix time; missing until it has.",
    ("destination",),
    registry=REGISTRY,
)
DESTINATION_BATCH: Final = Histogram(
    "sluice_destination_batch_rows",
    "Rows of one batch that was handed to the destination.",
    ("destination",),
    buckets=ROWS,
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
AMPLITUDE_HELD: Final = Counter(
    "sluice_amplitude_held_requests_total",
    "Requests after which a whole project waits: bad_credentials, project_throttled, unavailable"
    " or slow.",
    ("reason",),
    registry=REGISTRY,
)
AMPLITUDE_SECONDS: Final = Histogram(
    "sluice_amplitude_request_duration_seconds",
    "Time from a ready request to Amplitude's answer.",
    registry=REGISTRY,
    buckets=SECONDS,
)
AMPLITUDE_EVENTS: Final = Histogram(
    "sluice_amplitude_request_events",
    "Events of one request to Amplitude.",
    registry=REGISTRY,
    buckets=(1, 10, 50, 100, 250, 500, 1_000),
)
AMPLITUDE_TRUNCATED: Final = Counter(
    "sluice_amplitude_truncated_total",
    "Values cut because Amplitude takes no longer ones.",
    registry=REGISTRY,
)

# --- runs: what workers execute -----------------------------------------------------------------

RUNS_HELD: Final = LocalGauge(
    "sluice_runs_held",
    "Workflow runs that this worker has now.",
)
RUNS_ENDED: Final = Counter(
    "sluice_runs_ended_total",
    "Workflow runs by how they ended: succeeded, failed or canceled.",
    ("state",),
    registry=REGISTRY,
)
RUN_TRANSITIONS: Final = Counter(
    "sluice_runs_transitions_total", "Rows of workflow runs that became durable.", registry=REGISTRY
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

# --- stats: what is read -----------------------------------------------------------------------

STATS_RENEWALS: Final = LocalCounter(
    "sluice_stats_renewals_total",
    "Kept answers of stats that were looked up again behind who asks, by outcome: renewed or"
    " failed.",
    ("outcome",),
)
STATS_OVERDUE: Final = LocalCounter(
    "sluice_stats_overdue_answers_total",
    "Answers of stats that were given although more than five seconds had passed since they were"
    " looked up, because their renewal was still under way.",
    (),
)

# --- process ------------------------------------------------------------------------------------

BUILD_INFO: Final = Gauge(
    "sluice_build_info",
    "1; which Sluice this process is.",
    ("version", "revision", "python"),
    registry=REGISTRY,
)
LOOP_LAG: Final = LocalHistogram(
    "sluice_loop_lag_seconds", "How late a timer of the event loop fired; four times a second.", ()
)
SIBLINGS_LEFT_OUT: Final = LocalCounter(
    "sluice_process_left_out_total",
    "Other processes of one `sluice gateway --processes N` that a scrape went without.",
    (),
)


def note_build(revision: str) -> None:
    """Say which build this is; the revision is ``unknown`` where nobody gave it."""
    BUILD_INFO.labels(sluice.__version__, revision or "unknown", platform.python_version()).set(1)
