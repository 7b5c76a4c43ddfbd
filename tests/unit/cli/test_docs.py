"""The generated pages."""

from sluice.cli.docs import errors_table, metrics_table, put_between, settings_table
from sluice.core.errors import ErrorType
from sluice.settings import SETTINGS


def test_settings_table_has_a_row_for_every_setting() -> None:
    table = settings_table()
    assert all(f"| `SLUICE_{name.upper()}` |" in table for name in SETTINGS)
    assert "| `8080` | whole number from 0 to 65,535 |" in table


def test_errors_table_has_a_row_for_every_error_type() -> None:
    table = errors_table()
    assert all(f"| `{error_type}` |" in table for error_type in ErrorType)


def test_metrics_table_names_type_and_labels() -> None:
    table = metrics_table()
    assert "| `sluice_events_accepted_total` | counter | `source`, `tenant` | gateway |" in table
    assert (
        "| `sluice_queue_oldest_age_seconds` | gauge | `subscription` | gateway, worker |" in table
    )


def test_table_is_put_between_its_marks_only() -> None:
    text = "a\n<!-- settings:begin -->\nold\n<!-- settings:end -->\nb\n"
    assert put_between(text, "| new |") == (
        "a\n<!-- settings:begin -->\n| new |\n<!-- settings:end -->\nb\n"
    )
    assert put_between("no marks", "| new |") == "no marks"


def test_every_cell_stays_in_its_row() -> None:
    for table in (settings_table(), errors_table(), metrics_table()):
        lines = table.splitlines()
        assert {line.count("|") for line in lines} == {lines[0].count("|")}
