"""Runs as people read them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sluice.cli.plain import duration, moment
from sluice.cli.runs_view import (
    File,
    files_of,
    head_of,
    lines_of,
    list_lines,
    steps_of,
    values_of,
)

NOW = datetime(2026, 4, 25, 14, 33, tzinfo=UTC)
DIGEST = "ab" * 32


def a_run(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "wf-20260425-52331-x9E9U",
        "name": "Nightly",
        "state": "started",
        "created_at": "2026-04-25T14:32:00.000Z",
        "task_instances": list(tasks),
        **more,
    }


def a_task(state: str, number: int = 1, **more: Any) -> dict[str, Any]:
    created = "2026-04-25T14:32:10.000Z"
    return {
        "id": f"t{number}",
        "label": f"s{number}",
        "state": state,
        "created_at": created,
        **more,
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (4.24, "4.2 s"),
        (200, "3 m 20 s"),
        (7_500, "2 h 5 m"),
        (190_000, "2 d 4 h"),
    ],
)
def test_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("text", [None, 7, "", "yesterday"])
def test_what_is_no_time_is_none(text: object) -> None:
    assert moment(text) is None


def test_only_steps_that_changed_get_a_line() -> None:
    before = steps_of(a_run(a_task("succeeded"), a_task("running", 2)), NOW)
    ended = a_task("failed", 2, ended_at="2026-04-25T14:32:11.500Z", error={"message": "No."})
    after = steps_of(a_run(a_task("succeeded"), ended, a_task("running", 3)), NOW)
    assert list(lines_of(before, after, NOW)) == [
        "14:33:00 s2 failed after 1.5 s: No (, )",
        "14:33:00 s3 running",
    ]


def test_run_that_says_nothing_of_itself_is_still_a_line() -> None:
    assert head_of({"id": "wf-1", "task_instances": None}, NOW) == "wf-1 : "
    assert steps_of({"task_instances": [None, 3]}, NOW) == []
    assert head_of(a_run(), NOW) == "wf-20260425-52331-x9E9U Nightly: started for 1 m 0 s"


def test_files_are_found_wherever_the_outputs_name_them() -> None:
    outputs = {
        "cohort": {"$file": "a.csv", "bytes": 7, "sha256": DIGEST},
        "again": [{"deep": {"$file": "a.csv", "bytes": 7, "sha256": DIGEST}}],
        "files": [{"name": "person.ndjson", "size_bytes": 0, "sha256": DIGEST}],
        "person": {"name": "Ann"},
    }
    assert files_of({"outputs": outputs}) == [
        File(name="a.csv", size_bytes=7, sha256=DIGEST),
        File(name="person.ndjson", size_bytes=0, sha256=DIGEST),
    ]


def test_long_value_is_cut_and_says_so() -> None:
    [title, line] = values_of("outputs", {"text": "x" * 5_000})
    assert title == "  outputs:"
    assert line.endswith("… (5,002 characters; --json shows all)")
    assert len(line) < 500


def test_list_has_columns_as_wide_as_they_need() -> None:
    head, first, second = list_lines([a_run(type="replay"), a_run(type="a-longer-type")], NOW)
    assert head.index("created") == first.index("2026-04-25 ") == second.index("2026-04-25 ")
