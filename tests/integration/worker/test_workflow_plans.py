"""Plans of configurations: made once, for the tenant's region, and refused with a line."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.core.amplitude import AmplitudeConfig
from sluice.core.tenant import Tenant
from sluice.core.workflows import DEFAULTS, WorkflowConfig
from sluice.settings import Settings
from sluice.workflows.catalogue import Catalogue
from tests.support.workflows import description, document
from worker.workflows import plans as plans_module
from worker.workflows.core.planned import Plan
from worker.workflows.plans import Plans

EXPORT = DEFAULTS["og-cohort"]
OWN = WorkflowConfig(
    config_id="cc-own", type="arazzo.w", name="Own", document="own.yaml", secrets={}
)


@pytest.fixture
def plans() -> Iterator[Plans]:
    with closing(Plans(Settings())) as made:
        yield made


def tenant(region: str = "us") -> Tenant:
    config = AmplitudeConfig(api_key="k", region="eu" if region == "eu" else "us")
    return Tenant(slug="shop", amplitude=config)


def bases(made: Plan | str) -> set[str]:
    """Where the requests of a plan go."""
    assert isinstance(made, Plan), made
    steps = made.workflows[made.root].steps
    return {one.call.base for one in steps if one.call is not None}


async def test_plan_is_made_once_for_a_tenant_and_its_region(plans: Plans, tmp_path: Path) -> None:
    entry = await Catalogue(tmp_path).entry("shop", EXPORT)
    first = await plans.planned_for(entry, tenant())
    assert bases(first) == {"https://amplitude.com"}
    assert await plans.planned_for(entry, tenant()) is first
    assert bases(await plans.planned_for(entry, tenant("eu"))) == {
        "https://analytics.eu.amplitude.com"
    }
    assert bases(await plans.planned_for(entry, Tenant(slug="other"))) == {"https://amplitude.com"}


async def test_plan_leads_to_the_address_that_replaces_amplitudes(tmp_path: Path) -> None:
    entry = await Catalogue(tmp_path).entry("shop", EXPORT)
    settings = Settings(amplitude_url="http://127.0.0.1:9")
    with closing(Plans(settings)) as plans:
        assert bases(await plans.planned_for(entry, tenant())) == {"http://127.0.0.1:9"}


async def test_document_that_cannot_be_planned_is_refused_with_its_line(
    plans: Plans, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "api.yaml").write_bytes(description("http://a.example", call={}))
    (folder / "own.yaml").write_bytes(document({"stepId": "a", "operationId": "nothing"}))
    catalogue = Catalogue(tmp_path)
    refused = await plans.planned_for(await catalogue.entry("shop", OWN), tenant())
    assert isinstance(refused, str)
    assert refused.startswith("The document is refused: line 1, /workflows/0/steps/0/operationId ")
    (folder / "own.yaml").write_bytes(document({"stepId": "a", "operationId": "call"}))
    mended = await plans.planned_for(await catalogue.entry("shop", OWN), tenant())
    assert bases(mended) == {"http://a.example"}


async def test_configuration_without_a_document_has_no_plan(plans: Plans, tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    missing = await catalogue.entry("shop", replace(OWN, document="missing.yaml"))
    for entry in (missing, await catalogue.entry("shop", DEFAULTS["cg-replay"])):
        assert isinstance(await plans.planned_for(entry, tenant()), str)


async def test_document_is_planned_however_long_others_take(
    plans: Plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.workflows.plans.PLANNING_TIMEOUT_S", 0.5)
    entry = await Catalogue(tmp_path).entry("shop", EXPORT)
    made = plans_module._plan

    def slow(*given: Any) -> Plan | str:
        time.sleep(0.2)
        return made(*given)

    monkeypatch.setattr("worker.workflows.plans._plan", slow)
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(plans.planned_for(entry, Tenant(slug=f"t{number}")))
            for number in range(5)
        ]
    assert all(isinstance(one.result(), Plan) for one in asked)
