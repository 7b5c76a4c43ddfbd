"""``sluice workflow configs`` and ``configure``, and what ``sluice doctor`` says of workflows."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.cli import main
from sluice.cli.checks_workflows import check_workflows
from sluice.cli.doctor import line_of
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from tests.support.command import Ran
from tests.unit.worker.workflows.arazzo import SHOP, one_workflow

STEPS = "  - {stepId: a, operationId: listCarts}\n"
INPUTS = (
    "  inputs: {type: object, required: [apiKey, day],"
    " properties: {apiKey: {type: string}, day: {type: string}, n: {type: integer}}}\n"
)
SECRET = "very-secret-value"
MINE = ("type=arazzo.w", "document=a.yaml")

Command = Callable[..., Ran]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    TenantsFile(tmp_path / "tenants.toml").add_tenant("shop")
    monkeypatch.setenv("SLUICE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SHOP_KEY", raising=False)
    return tmp_path


@pytest.fixture
def workflow(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``sluice workflow`` in this process."""

    def run(*words: str) -> Ran:
        status: object = 0
        try:
            main(["workflow", *words])
        except SystemExit as end:
            status = end.code
        assert isinstance(status, int)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


def write(data_dir: Path, *, steps: str = STEPS) -> None:
    folder = data_dir / "workflows" / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    text = one_workflow(steps).decode().replace("  steps:\n", f"{INPUTS}  steps:\n")
    (folder / "a.yaml").write_text(text)
    (folder / "shop.yaml").write_bytes(SHOP)


def findings() -> list[str]:
    return [line_of(one) for one in asyncio.run(check_workflows(load_settings(data_dir=None)))]


def configured(workflow: Command, config_id: str) -> dict[str, Any]:
    [found] = [
        one
        for one in workflow("configs", "shop", "--json").json["workflows"]
        if one["config_id"] == config_id
    ]
    assert isinstance(found, dict)
    return found


def test_configs_say_what_each_default_needs(workflow: Command) -> None:
    ran = workflow("configs", "shop")
    assert ran.status == 0, ran
    assert "cg-replay: Replay stored events (replay)\n  needs a range\n" in ran.stdout
    assert "  secret apiKey: tenant:amplitude.api_key is not there: `sluice tenant" in ran.stdout
    erase = "og-erase: Erase people (erase)\n  needs one of the inputs shopify, user_ids\n"
    assert erase in ran.stdout


def test_own_workflow_is_configured_and_every_place_of_its_secret_is_looked_at(
    workflow: Command, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(data_dir)
    ran = workflow("configure", "shop", "cg-mine", *MINE, "secrets.apiKey=env:SHOP_KEY")
    assert ran.stdout == (
        "shop cg-mine: needs day; secret apiKey: env:SHOP_KEY is not in this shell's"
        " environment; the worker reads its own.\n"
    )
    monkeypatch.setenv("SHOP_KEY", SECRET)
    assert configured(workflow, "cg-mine")["secrets"] == {
        "apiKey": {"reference": "env:SHOP_KEY", "state": "there"}
    }
    file = data_dir / "key"
    workflow("configure", "shop", "cg-mine", f"secrets.apiKey=file:{file}")
    assert "cannot be read" in configured(workflow, "cg-mine")["secrets"]["apiKey"]["state"]
    file.write_text(SECRET)
    assert configured(workflow, "cg-mine")["secrets"]["apiKey"]["state"] == "there"
    assert SECRET not in workflow("configs", "shop").stdout


def test_configure_takes_values_by_the_schema_and_keeps_comments(
    workflow: Command, data_dir: Path
) -> None:
    write(data_dir)
    workflow("configure", "shop", "cg-mine", *MINE)
    file = data_dir / "tenants.toml"
    file.write_text(f"# kept\n{file.read_text()}")
    words = ("inputs.day=12", "inputs.n=12", "schedule=15 3 * * *", "max_concurrent=2")
    ran = workflow("configure", "shop", "cg-mine", *words, "--json")
    assert ran.json["workflow"]["inputs"] == {"day": "12", "n": 12}
    assert ran.json["workflow"]["next_at"].endswith("T03:15:00Z")
    assert file.read_text().startswith("# kept\n")
    ran = workflow("configure", "shop", "cg-mine", "inputs.n=many", "--json")
    assert ran.json["workflow"]["problem"].startswith("/inputs/n ")
    workflow("configure", "shop", "cg-mine", "schedule=", "inputs.n=")
    found = configured(workflow, "cg-mine")
    assert (found["schedule"], found["next_at"], found["inputs"]) == ("", None, {"day": "12"})
    assert found["max_concurrent"] == 2


def test_removed_workflow_is_gone_and_a_default_as_it_was(workflow: Command) -> None:
    workflow("configure", "shop", "og-cohort", "inputs.cohortId=c1", "name=Mine")
    assert configured(workflow, "og-cohort")["name"] == "Mine"
    assert workflow("configure", "shop", "og-cohort", "--remove").status == 0
    assert configured(workflow, "og-cohort")["name"] == "Export a cohort"
    again = workflow("configure", "shop", "og-cohort", "--remove")
    assert (again.status, again.error) == (
        2,
        "sluice: the settings of 'shop' have no workflow 'og-cohort'.",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shop", "cg-mine", "schedule=@daily"), "cg-mine.type is missing"),
        (("shop", "mine", *MINE), "has an id 'mine'"),
        (("shop", "cg-mine", *MINE, "shedule=x"), "'shedule' cannot be set: known are type"),
        (("shop", "cg-mine", *MINE, "shedule="), "'shedule' cannot be set: known are type"),
        (("shop", "cg-mine", *MINE, "enabled=perhaps"), "enabled is 'perhaps': use true or false"),
        (("shop", "cg-mine", *MINE, "schedule=daily"), "schedule is 'daily': use five fields"),
        (("shop", "cg-mine", *MINE, 'inputs.a={"b":null}'), "inputs.a.b is null"),
        (("shop", "cg-ingest", f"secrets.apiKey={SECRET}"), "secrets.apiKey is not a reference"),
        (("shop", "cg-ingest", f"inputs.apiKey={SECRET}"), "the input apiKey is secret"),
        (("shop", "cg-ingest"), "give KEY=VALUE, or --remove"),
        (("nobody", "cg-ingest", "name=x"), "there is no tenant 'nobody'"),
    ],
)
def test_configure_refuses_in_one_line_and_changes_nothing(
    workflow: Command, data_dir: Path, words: tuple[str, ...], said: str
) -> None:
    file = data_dir / "tenants.toml"
    before = file.read_text()
    ran = workflow("configure", *words)
    assert ran.status == 2
    assert said in ran.error
    assert SECRET not in ran.error
    assert file.read_text() == before


def test_doctor_says_nothing_of_workflows_that_nobody_configured(data_dir: Path) -> None:
    assert findings() == []


def test_doctor_names_what_keeps_a_workflow_from_running(
    workflow: Command, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow("configure", "shop", "cg-mine", *MINE, "schedule=@daily")
    [line] = findings()
    assert line.startswith(
        "fail  workflow cg-mine of shop: The document a.yaml cannot be read: No such file or"
        f" directory ({data_dir}/workflows/shop/a.yaml) -> "
    )
    said = workflow("configure", "shop", "cg-mine", "name=Mine").stdout
    assert f"directory ({data_dir}/workflows/shop/a.yaml); next at " in said
    assert ".;" not in said
    write(data_dir)
    said = workflow("configure", "shop", "cg-mine", "type=arazzo.other", "schedule=").stdout
    assert said == (
        "shop cg-mine: The document a.yaml has no workflow other: it has w"
        f" ({data_dir}/workflows/shop/a.yaml).\n"
    )
    workflow("configure", "shop", "cg-mine", *MINE, "schedule=@daily")
    write(data_dir, steps="  - {stepId: a, operationId: noSuchThing}\n")
    [line] = findings()
    assert line.startswith("fail  workflow cg-mine of shop: The document is refused: line ")
    write(data_dir)
    lines = findings()
    assert [line.partition(" -> ")[0] for line in lines] == [
        "warn  workflow cg-mine of shop: secret apiKey: not set: `sluice workflow configure shop"
        " cg-mine secrets.apiKey=env:NAME`",
        "warn  workflow cg-mine of shop: its schedule cannot start it: needs day",
    ]
    workflow("configure", "shop", "cg-mine", "inputs.day=1", "secrets.apiKey=env:SHOP_KEY")
    monkeypatch.setenv("SHOP_KEY", SECRET)
    [line] = findings()
    assert line.startswith("ok    workflows of shop: 1 configured; next at ")
    workflow("configure", "shop", "cg-mine", "enabled=false", "document=gone.yaml")
    assert findings() == []


def test_setting_that_a_workflow_does_not_know_is_said_with_what_takes_it_away(
    workflow: Command, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRET)
    write(data_dir)
    good = (*MINE, "inputs.day=1", "secrets.apiKey=env:SHOP_KEY")
    ran = workflow("configure", "shop", "cg-mine", *good, "inputs.dayy=2")
    ran = workflow("configure", "shop", "cg-mine", "inputs.day=2")
    said = "w has no input dayy; known are day, n"
    assert ran.stdout == f"shop cg-mine: {said}; secret apiKey: there.\n"
    assert configured(workflow, "cg-mine")["unknown_inputs"] == ["dayy"]
    assert findings() == [
        f"warn  workflow cg-mine of shop: {said} -> `sluice workflow configure shop cg-mine"
        " inputs.dayy=` takes it away"
    ]
    workflow("configure", "shop", "cg-mine", "inputs.dayy=", "secrets.apiKeyy=env:SHOP_KEY")
    [line] = findings()
    assert line == (
        "fail  workflow cg-mine of shop: w has no secret input apiKeyy: what is not secret stands"
        f" under inputs ({data_dir}/workflows/shop/a.yaml) -> `sluice workflow configure"
        " shop cg-mine secrets.apiKeyy=` takes it away"
    )
    workflow("configure", "shop", "cg-mine", "secrets.apiKeyy=")
    [line] = findings()
    assert line.startswith("ok ")


def test_input_that_a_built_in_type_does_not_know_is_said(workflow: Command) -> None:
    ran = workflow("configure", "shop", "cg-replay", "inputs.regionn=eu")
    assert "replay has no input regionn; known are dead_letters, destination" in ran.stdout
