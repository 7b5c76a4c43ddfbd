"""A scheduled run is the same one, whoever starts it."""

from dataclasses import replace
from datetime import UTC, datetime

from sluice.core.workflows import DEFAULTS
from sluice.workflows.catalogue import Entry
from worker.workflows.schedules import scheduled_run

DUE = datetime(2026, 3, 1, 4, 15, tzinfo=UTC)


def entry(config_id: str) -> Entry:
    config = replace(DEFAULTS[config_id], schedule="15 4 * * *")
    return Entry(config=config, workflow_id=config.type, schema=None, digest="d")


def test_run_is_named_after_its_configuration_and_its_time() -> None:
    run = scheduled_run("acme", entry("cg-reconcile"), DUE)
    assert run == scheduled_run("acme", entry("cg-reconcile"), DUE)
    assert run.run_id.startswith("wf-20260301-15300-")
    others = [
        scheduled_run("other", entry("cg-reconcile"), DUE),
        scheduled_run("acme", entry("cg-replay"), DUE),
        scheduled_run("acme", entry("cg-reconcile"), DUE.replace(minute=16)),
    ]
    assert len({run.request_key, *(one.request_key for one in others)}) == 4
    assert len({run.run_id, *(one.run_id for one in others)}) == 4


def test_configuration_that_needs_a_range_gets_the_day_before() -> None:
    run = scheduled_run("acme", entry("cg-replay"), DUE)
    assert (run.range_from, run.range_to) == ("2026-02-28T00:00:00.000", "2026-03-01T00:00:00.000")
    cohort = scheduled_run("acme", entry("og-cohort"), DUE)
    assert (cohort.range_from, cohort.range_to, cohort.run_mode) == (None, None, "")
