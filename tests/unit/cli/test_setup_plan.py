"""How ``sluice setup --dry-run`` shows the plan."""

from sluice.cli.setup_plan import columns, role_rows
from sluice.cli.setup_queue import QueuePart
from sluice.settings import load_settings


def test_columns_start_at_the_same_place() -> None:
    assert list(columns([("a", "bbb", "c"), ("aaa", "b", "")])) == ["a    bbb  c", "aaa  b"]


def test_queue_in_a_file_needs_no_roles() -> None:
    assert role_rows(load_settings()) == []


def test_part_is_one_line_with_what_was_mended_and_what_is_left() -> None:
    part = QueuePart(
        kind="subscription",
        name="projects/p/subscriptions/s",
        outcome="mended",
        mended=["ack deadline 60 s, not 10 s"],
        differs=["it has a filter"],
        remedy="delete it",
    )
    assert part.line == (
        "projects/p/subscriptions/s mended (ack deadline 60 s, not 10 s);"
        " not as planned: it has a filter -> delete it"
    )
