"""Measures how fresh the warehouse is, by the envelope, from what is known of it anyway."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from sluice.telemetry import FRESHNESS
from worker.core.freshness import Freshness, FreshnessWindow, age_of
from worker.warehouse_parts import Dead, Part


class FreshnessMeter:
    """Ages of events at the moment when ClickHouse has confirmed them.

    All events of an envelope count as old as its oldest, so that the figure is never too good. It
    is too high by at most the time in which the envelope gathered at the edge: some milliseconds,
    and never more than ``SLUICE_PUBLISH_TIMEOUT_S``. Copies, erased and dead rows do not count;
    what is delivered again after a crash counts again. Where the edge's clock is ahead, it is 0.
    """

    def __init__(self) -> None:
        self._window = FreshnessWindow()

    def note(self, parts: Sequence[Part], dead: Sequence[Dead]) -> None:
        """Count the events of parts that are stored now, but for the dead among them."""
        now, monotonic = datetime.now(UTC), time.monotonic()
        lost = Counter(id(one.source) for one in dead)
        for part in parts:
            source = part.source
            stored = source.envelope.count - len(part.left_out) - lost[id(source)]
            if stored > 0 and source.facts.received_from:
                age_s = age_of(source.facts.received_from, now)
                FRESHNESS.observe((), age_s, times=stored)
                self._window.add(monotonic, age_s, stored)

    def now(self) -> Freshness | None:
        """Return the quantiles of the last minute; None where nothing was stored."""
        return self._window.quantiles(time.monotonic())
