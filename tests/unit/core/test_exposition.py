"""The metrics of several processes as one text."""

from prometheus_client.parser import text_string_to_metric_families

from sluice.core.exposition import merged

ONE = """\
# HELP things_total Things, in "kinds" {all}.
# TYPE things_total counter
things_total{kind="a } b"} 1.0
# HELP level A level.
# TYPE level gauge
level 2.0
"""
TWO = """\
# HELP level A level.
# TYPE level gauge
level +Inf
# HELP things_total Things, in "kinds" {all}.
# TYPE things_total counter
# HELP more_total More.
# TYPE more_total counter
more_total 5.0
"""


def test_each_family_comes_once_with_the_samples_of_all_processes() -> None:
    assert merged([("0", ONE), ("1", TWO)], label="process") == (
        '# HELP things_total Things, in "kinds" {all}.\n'
        "# TYPE things_total counter\n"
        'things_total{process="0",kind="a } b"} 1.0\n'
        "# HELP level A level.\n"
        "# TYPE level gauge\n"
        'level{process="0"} 2.0\n'
        'level{process="1"} +Inf\n'
        "# HELP more_total More.\n"
        "# TYPE more_total counter\n"
        'more_total{process="1"} 5.0\n'
    )


def test_merged_text_is_read_as_what_each_process_said() -> None:
    read = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(merged([("7", ONE)], label="process"))
        for sample in family.samples
    }
    assert read == {
        ("things_total", ("kind", "a } b"), ("process", "7")): 1.0,
        ("level", ("process", "7")): 2.0,
    }


def test_nothing_is_made_of_nothing() -> None:
    assert merged([], label="process") == ""
    assert merged([("0", "")], label="process") == ""
