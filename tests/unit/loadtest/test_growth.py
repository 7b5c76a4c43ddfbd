import re
from xml.etree import ElementTree

import pytest

from loadtest.growth import Dot, Found, Series, Slope, slope_of, verdict
from loadtest.loglog import Point, loglog


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_slope_is_the_power_with_which_a_cost_grows(power: float) -> None:
    xs = [1.0, 10.0, 100.0]
    rounds = [[noise * x**power for x in xs] for noise in (3.0, 4.0, 5.0)]
    for points in (xs, xs[:2]):
        found = slope_of(points, [costs[: len(points)] for costs in rounds])
        assert found.value == pytest.approx(power)
        assert found.error == pytest.approx(0.0, abs=1e-9)


def test_slope_is_within_its_bound_when_chance_explains_the_rest() -> None:
    assert Slope(1.1, 0.05).is_within(1.0)
    assert not Slope(1.2, 0.05).is_within(1.0)


def found_of(costs: list[float], bound: float) -> Found:
    series = Series("key", "a request", bound, [Dot(x, 1, []) for x in (1, 10, 100, 200)])
    return Found(series, [costs, costs, costs])


def test_growth_is_found_at_the_end_when_a_fixed_cost_hides_it() -> None:
    """All four points together fit a line that is gentle."""
    square = found_of([1_000 + x * x * 0.5 for x in (1, 10, 100, 200)], 1.0)
    assert square.whole.is_within(1.0)
    assert not square.is_good
    assert "a request" in verdict([square])
    straight = found_of([1_000 + x * 5.0 for x in (1, 10, 100, 200)], 1.0)
    assert straight.is_good
    assert "Nothing grows" in verdict([straight])


def test_plot_has_a_mark_and_a_bar_for_each_point() -> None:
    line = [Point(1, 5, 4, 6), Point(10, 50, 40, 60), Point(100, 500, 400, 600)]
    svg = loglog("Cost < time", "events", {"a & b": line})
    ElementTree.fromstring(svg)  # noqa: S314 - our own text
    marks = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    (x1, y1), (x2, y2), (x3, y3) = [(float(x), float(y)) for x, y in marks]
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert y1 > y3, "what costs more is higher up"
