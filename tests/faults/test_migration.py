"""In short what ``make faults-migration`` does for long, without the code of the first release."""

from pathlib import Path

import pytest

from sluice.warehouse.migrate import migrations
from tests.faults.broker.trial import Report
from tests.faults.migration import FIRST_SCHEMA, Load, Site, upgrade_schema


@pytest.mark.long(35)
@pytest.mark.timeout(170)
async def test_no_request_fails_and_totals_are_exact_when_the_first_schema_becomes_the_newest(
    tmp_path: Path,
) -> None:
    report = Report()
    load = Load(step_s=0.5, rate_per_s=200, history=10_000, seed=20261122)
    await upgrade_schema(Site(tmp_path), report, load)
    assert report.is_well, str(report)


def test_first_schema_is_made_of_migrations_that_are_still_there() -> None:
    names = [name for name, _ in migrations()]
    assert tuple(names[: len(FIRST_SCHEMA)]) == FIRST_SCHEMA
