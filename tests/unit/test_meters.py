"""What the meters of the edge become at a scrape, and the bound on a label's values."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.registry import Collector

from sluice.meters import (
    MAX_LABELLED,
    REGISTRY,
    REST,
    Bounded,
    LocalCounter,
    LocalGauge,
    LocalHistogram,
)


@contextmanager
def declared(meter: Collector) -> Iterator[None]:
    """Take a test's own meter out of the registry again."""
    try:
        yield
    finally:
        REGISTRY.unregister(meter)


def samples(meter: Collector) -> dict[str, float]:
    """Return the samples of a scrape by name and label values."""
    return {
        "/".join((sample.name, *sample.labels.values())): sample.value
        for family in meter.collect()
        for sample in family.samples
    }


def test_label_gives_the_first_values_their_names_and_all_others_one() -> None:
    label = Bounded()
    given = [label(f"tenant-{number}") for number in range(MAX_LABELLED + 50)]
    assert given[:MAX_LABELLED] == [f"tenant-{number}" for number in range(MAX_LABELLED)]
    assert set(given[MAX_LABELLED:]) == {REST}
    assert label("tenant-0") == "tenant-0"  # a value that was given stays


def test_counter_without_labels_starts_from_0() -> None:
    counter = LocalCounter("test_things", "Things.", ())
    with declared(counter):
        assert samples(counter) == {"test_things_total": 0.0}
        counter.add(2)
        assert samples(counter) == {"test_things_total": 2.0}


def test_gauge_says_nothing_until_it_is_set() -> None:
    gauge = LocalGauge("test_level", "A level.", ("place",))
    with declared(gauge):
        assert samples(gauge) == {}
        gauge.set(3, "here")
        gauge.set(4, "here")
        assert samples(gauge) == {"test_level/here": 4.0}


def test_histogram_counts_up_to_each_bound() -> None:
    histogram = LocalHistogram("test_seconds", "Seconds.", ("place",), bounds=(1.0, 2.0))
    with declared(histogram):
        for value in (0.5, 1.0, 1.5, 9.0):
            histogram.observe(("here",), value)
        histogram.observe(("here",), 1.25, times=4)
        assert samples(histogram) == {
            "test_seconds_bucket/here/1.0": 2.0,
            "test_seconds_bucket/here/2.0": 7.0,
            "test_seconds_bucket/here/+Inf": 8.0,
            "test_seconds_count/here": 8.0,
            "test_seconds_sum/here": 17.0,
        }
        assert histogram.count("here") == 8
