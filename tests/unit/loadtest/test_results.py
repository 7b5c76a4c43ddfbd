import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.compare import compare, compare_values, differences
from loadtest.latencies import Latencies
from loadtest.page import BOTTOM, HEIGHT, TOP, number, page, plot
from loadtest.plan import MAX_SECONDS
from loadtest.results import (
    Machine,
    Result,
    Round,
    Sample,
    Target,
    load_figures,
    process_figures,
    read_result,
    shifted,
    trend,
)
from loadtest.seen import Group, Mark, Second, Seen

TICKS_AT, NAMES_AT = HEIGHT - BOTTOM + 16, TOP - 3


def histogram(*values_us: int) -> str:
    latencies = Latencies()
    latencies.add(values_us)
    return latencies.encode()


def result(*rates: float) -> Result:
    group = Group("open", "<track>", "good", 2, 2, histogram(1_000, 2_000))
    rounds = [
        Round(
            {"open/track/requests_per_s": rate, "none": 0.0},
            [group],
            [Second(0, 2, 1, 0, 2, histogram(1_000, 2_000, 9_000))],
            {"202": 2, "503": 1},
            {},
            [Sample("gateway", 0.0, 1.0, 80.0), Sample("gateway", 1.0, 1.5, 81.0)],
        )
        for rate in rates
    ]
    target = Target(
        url="",
        is_own=True,
        backend="local",
        parts=["gateway"],
        server_cores=[0],
        load_cores=[1],
        generators=1,
    )
    machine = Machine("a processor", 2, 1_024, "Linux")
    return Result(
        "track", "2026-01-01T00:00:00Z", "abc", {"python": "3.11"}, machine, target, {}, rounds
    )


def test_comparison_is_noise_when_rounds_overlap() -> None:
    overlapping = compare_values("x", [100, 110, 120], [118, 125, 130])
    assert overlapping.verdict == "noise"
    assert overlapping.ratio == pytest.approx(125 / 110)
    assert (overlapping.low, overlapping.high) == (118 / 120, 130 / 100)
    assert compare_values("x", [100, 110, 120], [121, 125, 130]).verdict == "higher"
    assert compare_values("x", [121, 125, 130], [100, 110, 120]).verdict == "lower"


def test_comparison_says_too_few_rounds_when_one_side_has_two() -> None:
    assert compare_values("x", [1, 1, 1], [2, 2]).verdict == "too few rounds"


def test_compare_leaves_figures_out_when_they_are_nought() -> None:
    (only,) = compare(result(1, 1, 1), result(2, 2, 2))
    assert (only.figure, only.ratio, only.verdict) == ("open/track/requests_per_s", 2.0, "higher")


def test_differences_name_what_is_not_the_same_when_machines_differ() -> None:
    a, b = result(1), result(1)
    assert differences(a, b) == []
    b.machine = msgspec.structs.replace(b.machine, cores=8)
    (said,) = differences(a, b)
    assert said.startswith("machine: ")


def test_result_is_the_same_when_written_and_read_and_refused_when_its_schema_is_new() -> None:
    written = msgspec.json.encode(result(1.0, 2.0))
    assert msgspec.json.encode(read_result(written)) == written
    newer = result(1)
    newer.schema = 99
    with pytest.raises(ValueError, match="schema 99"):
        read_result(msgspec.json.encode(newer))


def test_page_needs_nothing_from_outside_and_escapes_names_when_it_is_made() -> None:
    text = page(result(1.0, 2.0))
    assert "http" not in text.replace("http-equiv", "")
    assert "src=" not in text
    assert "<script" not in text
    assert "&lt;track&gt;" in text
    assert "<track>" not in text
    assert text.count("<svg") == 10


def words(text: str, y: int) -> list[str]:
    """Return what is written at a height of a plot."""
    return re.findall(rf'<text x="[\d.]+" y="{y}"[^>]*>([^<]*)</text>', text)


@given(st.floats(min_value=0.0, max_value=MAX_SECONDS))
def test_no_tick_is_there_twice_when_a_run_is_short_or_long(seconds: float) -> None:
    """A run of three seconds once had the ticks 0 s, 1 s, 1 s, 2 s."""
    ticks = words(plot("p", "s", {"good": [(0.0, 1.0), (seconds, 2.0)]}), TICKS_AT)
    assert ticks[0] == "0 s"
    assert len(set(ticks)) == len(ticks)
    assert 1 <= len(ticks) <= 8


def test_phases_are_marked_by_line_and_name_when_they_change() -> None:
    line = [(float(at), 1.0) for at in range(4)]
    text = plot("p", "s", {"good": line}, marks=[Mark("ceiling", 0.0), Mark("<half>", 2.0)])
    assert words(text, NAMES_AT) == ["ceiling", "&lt;half&gt;"]
    assert text.count('class="phase"') == 2


def test_names_of_phases_do_not_lie_on_each_other_when_they_change_often() -> None:
    marks = [Mark(f"phase {at}", at / 10) for at in range(100)]
    text = plot("p", "s", {"good": [(0.0, 1.0), (10.0, 1.0)]}, marks=marks)
    assert text.count('class="phase"') == 100
    assert 2 <= len(words(text, NAMES_AT)) < 20


def test_a_line_is_seen_when_it_has_one_point() -> None:
    (path,) = re.findall(r'points="([^"]*)"', plot("p", "s", {"good": [(0.0, 0.0)]}))
    assert len(set(path.split())) == 2


def test_result_without_marks_is_read_when_it_is_of_before() -> None:
    data = msgspec.json.decode(msgspec.json.encode(result(1.0)))
    del data["rounds"][0]["marks"]
    assert read_result(msgspec.json.encode(data)).rounds[0].marks == []


def test_marks_count_on_when_another_step_was_before() -> None:
    assert shifted([Mark("half", 1.5)], 10) == [Mark("half", 11.5)]


def test_figures_count_latency_of_every_answer_when_some_were_refused() -> None:
    seen = Seen(
        [
            Group("open", "track", "good", 3, 3, histogram(1_000, 1_000, 1_000)),
            Group("open", "track", "refused", 1, 0, histogram(50_000)),
        ],
        [],
        {"202": 3, "503": 1},
        histogram(),
        {"open": 2.0},
        0.1,
        0,
        0,
        {},
    )
    figures = load_figures(seen, {"open"})
    assert figures["open/track/requests_per_s"] == 1.5
    assert figures["open/track/refused_share"] == 0.25
    assert figures["open/track/max_ms"] == pytest.approx(50, rel=0.001)
    assert figures["open/track/good_p99_ms"] == pytest.approx(1, rel=0.001)
    assert "generator/late_p99_ms" not in figures


def test_lateness_is_beside_the_smallest_p99_of_open_loops_when_a_closed_one_was_faster() -> None:
    seen = Seen(
        [
            Group("ceiling", "track", "good", 1, 1, histogram(1_000)),
            Group("half", "track", "good", 1, 1, histogram(20_000)),
            Group("half", "stats", "good", 1, 0, histogram(40_000)),
        ],
        [],
        {"202": 3},
        histogram(5_000),
        {"ceiling": 1.0, "half": 1.0},
        0.1,
        0,
        0,
        {},
    )
    assert load_figures(seen, {"half"})["generator/late_share"] == pytest.approx(0.25, rel=0.01)
    assert "generator/late_share" not in load_figures(seen, set())


def test_good_p99_is_left_out_when_nothing_was_good() -> None:
    refused = Group("open", "track", "refused", 1, 0, histogram(50_000))
    seen = Seen([refused], [], {"401": 1}, histogram(), {"open": 2.0}, 0.1, 0, 0, {})
    figures = load_figures(seen, {"open"})
    assert "open/track/good_p99_ms" not in figures
    assert figures["open/track/refused_p99_ms"] == pytest.approx(50, rel=0.001)


def test_processor_time_is_that_of_sluice_alone_when_an_emulator_runs_beside_it() -> None:
    samples = [
        Sample("gateway", 0, 1.0, 80),
        Sample("emulator", 0, 0.0, 500),
        Sample("gateway", 1, 3.0, 90),
        Sample("emulator", 1, 9.0, 600),
    ]
    figures = process_figures(samples, 1_000, sluice=["gateway"])
    assert figures["sluice/events_per_core_s"] == 500
    assert figures["gateway/cpu_us_per_event"] == 2_000
    assert figures["gateway/peak_mb"] == 90
    assert figures["emulator/cpu_s"] == 9
    assert "emulator/cpu_us_per_event" not in figures


def test_memory_has_a_slope_with_its_error_when_samples_are_enough() -> None:
    flat = [Sample("gateway", float(at), 0, 80 + at % 2) for at in range(100)]
    figures = process_figures(flat, 0, sluice=[])
    slope = figures["gateway/memory_slope_mb_per_h"]
    assert abs(slope) < 2 * figures["gateway/memory_slope_error_mb_per_h"] + 1e-9
    assert "gateway/memory_slope_mb_per_h" not in process_figures(flat[:20], 0, sluice=[])


def test_trend_is_exact_when_points_lie_on_a_line() -> None:
    slope, error = trend([0, 1, 2, 3], [1, 3, 5, 7])
    assert slope == pytest.approx(2)
    assert error == pytest.approx(0)
    assert trend([1, 1, 1], [1, 2, 3]) == (0.0, 0.0)


def test_numbers_have_the_digits_that_say_something_when_they_are_written() -> None:
    assert [number(value) for value in (12_345.6, 99.94, 0.01234, 0)] == [
        "12,346", "99.9", "0.0123", "0",
    ]  # fmt: skip
