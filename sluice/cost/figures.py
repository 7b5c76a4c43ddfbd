"""What an event costs in processor time and bytes: the one table of measured constants.

The cost meter (``sluice.cost.bill``) and the capacity model (``loadtest.capacity``) reckon with it.
``python -m loadtest.service_times`` measures every figure anew and prints it beside the one kept
here; to keep new ones, put them into ``MEASURED``, change ``MEASURED_ON``, and run ``make docs``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MEASURED_ON: Final = "2026-11-22"
"""The day of the figures below, on two cores (AMD EPYC), Linux 6.18, Python 3.11, with the local
queue, while nothing else used the machine."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Processor time in microseconds of one core, and bytes. ``MEANING`` says what each is."""

    gateway_request_us: float
    gateway_event_us: float
    gateway_kib_us: float
    gateway_loop_share: float
    worker_event_us: float
    worker_kib_us: float
    warehouse_event_us: float
    warehouse_kib_us: float
    event_bytes: float
    field_bytes: float
    first_event_bytes: float
    next_event_bytes: float
    disk_bytes: float
    answer_bytes: float


MEASURED: Final = Figures(
    gateway_request_us=20.9,
    gateway_event_us=2.85,
    gateway_kib_us=7.5,
    gateway_loop_share=0.66,
    worker_event_us=2.3,
    worker_kib_us=3.1,
    warehouse_event_us=9.0,
    warehouse_kib_us=15.9,
    event_bytes=487.0,
    field_bytes=107.0,
    first_event_bytes=548.0,
    next_event_bytes=90.2,
    disk_bytes=66.3,
    answer_bytes=275.0,
)

MEANING: Final[Mapping[str, tuple[str, str]]] = {
    "gateway_request_us": ("µs", "the gateway's processor time for a request, without its events"),
    "gateway_event_us": ("µs", "the gateway's processor time for an event of a batch"),
    "gateway_kib_us": ("µs", "more of it for each KiB that an event is larger"),
    "gateway_loop_share": ("", "what of a batch's time is on the event loop, which is one core"),
    "worker_event_us": ("µs", "the worker's processor time for an event"),
    "worker_kib_us": ("µs", "more of it for each KiB"),
    "warehouse_event_us": ("µs", "ClickHouse's: insert, merges, keys and rollups"),
    "warehouse_kib_us": ("µs", "more of it for each KiB"),
    "event_bytes": ("bytes", "JSON of one event of the log that all of this was measured with"),
    "field_bytes": ("bytes", "what of that is not its payload"),
    "first_event_bytes": ("bytes", "a message with one event, compressed, with its attributes"),
    "next_event_bytes": ("bytes", "what each further event adds to a message"),
    "disk_bytes": ("bytes", "a row of `events` on ClickHouse's disk"),
    "answer_bytes": ("bytes", "a 202 with its head"),
}
"""Unit and sentence of each figure."""
