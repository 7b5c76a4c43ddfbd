"""What counts on the edge: plain numbers of one thread that become samples at a scrape.

The locks of the ordinary metrics would cost more than the rest of an answer. Metrics of both kinds
are declared in ``sluice.telemetry`` and are found in one registry.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

# A second series beside each metric, of which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it is not annotated
REGISTRY: Final = CollectorRegistry()
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_LABELLED: Final = 200
REST: Final = "other"


class Bounded:
    """The values that a label may have: the first so many that appear, and ``other`` for the rest.

    What one thread asks for; a value that has been given stays.
    """

    def __init__(self, most: int = MAX_LABELLED) -> None:
        self._most = most
        self._given: dict[str, str] = {}

    def __call__(self, value: str) -> str:
        """Return the label of a value."""
        label = self._given.get(value)
        if label is not None:
            return label
        if len(self._given) >= self._most:
            return REST
        self._given[value] = value
        return value


class LocalCounter(Collector):
    """A counter that one thread writes and a scrape reads; ``labels`` come from a closed set."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = tuple(labels)
        # One without labels is there from the start, so that its first event is a rise from 0.
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
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


class LocalGauge(Collector):
    """A level that only the process has which sets it: a 0 of the others would be a lie."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = tuple(labels)
        self._values: dict[tuple[str, ...], float] = {}
        REGISTRY.register(self)

    def set(self, value: float, *labels: str) -> None:
        """Note the level of now."""
        self._values[labels] = value

    def collect(self) -> Iterable[Metric]:
        """Yield the samples of one scrape."""
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
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
        if not labels:
            self._cells[()] = _Cells(len(self._bounds) + 1)
        REGISTRY.register(self)

    def observe(self, labels: tuple[str, ...], value: float, *, times: int = 1) -> None:
        """Count one observation, or as many equal ones."""
        cells = self._cells.get(labels)
        if cells is None:
            cells = self._cells[labels] = _Cells(len(self._bounds) + 1)
        cells.counts[bisect_left(self._bounds, value)] += times
        cells.total += value * times

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
