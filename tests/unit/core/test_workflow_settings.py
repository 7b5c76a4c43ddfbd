"""The workflow tables of the tenants file."""

import pytest

from sluice.core.errors import ConfigError
from sluice.core.tenant_file import parse_directory
from sluice.core.workflow_settings import MAX_CONFIGS
from sluice.core.workflows import DEFAULTS, WorkflowConfig

SECRET = "8f2b-not-to-be-shown"


def _read(tables: str) -> dict[str, WorkflowConfig]:
    found = parse_directory(f"[tenants.shop]\n{tables}").by_slug["shop"].workflows
    return dict(found)


def _own(keys: str, config_id: str = "cg-nightly") -> WorkflowConfig:
    return _read(f"[tenants.shop.workflows.{config_id}]\n{keys}")[config_id]


def test_tenant_has_the_defaults_when_its_settings_name_no_workflow() -> None:
    assert _read("") == DEFAULTS
    assert _read("[tenants.shop.workflows]") == DEFAULTS


def test_table_over_a_default_changes_only_its_keys() -> None:
    found = _read(
        "[tenants.shop.workflows.cg-ingest]\nschedule = '15 3 * * *'\n"
        "secrets.apiKey = 'env:SHOP_KEY'\n"
    )
    default = DEFAULTS["cg-ingest"]
    assert found["cg-ingest"].schedule == "15 3 * * *"
    assert found["cg-ingest"].name == default.name
    assert found["cg-ingest"].secrets == {
        "apiKey": "env:SHOP_KEY",
        "basicAuth": "tenant:amplitude.basic_auth",
    }
    assert {**found, "cg-ingest": default} == DEFAULTS


def test_own_workflow_takes_every_key() -> None:
    found = _own(
        """
        type = "arazzo.nightly"
        name = "Nightly"
        enabled = false
        document = "night/nightly.arazzo.yaml"
        run_mode = "full"
        needs_range = true
        max_concurrent = 100
        schedule = "@daily"
        retention_days = 3650
        [tenants.shop.workflows.cg-nightly.inputs]
        cohort = "c1"
        limits = { most = 3, share = 0.5, on = true, list = [1, "two"] }
        [tenants.shop.workflows.cg-nightly.secrets]
        key = "file:/run/secrets/key"
        token = "tenant:amplitude.basic_auth"
        """
    )
    assert found == WorkflowConfig(
        config_id="cg-nightly",
        type="arazzo.nightly",
        name="Nightly",
        enabled=False,
        document="night/nightly.arazzo.yaml",
        run_mode="full",
        needs_range=True,
        max_concurrent=100,
        schedule="@daily",
        retention_days=3650,
        inputs={
            "cohort": "c1",
            "limits": {"most": 3, "share": 0.5, "on": True, "list": [1, "two"]},
        },
        secrets={"key": "file:/run/secrets/key", "token": "tenant:amplitude.basic_auth"},
    )


def test_own_workflow_has_what_holds_for_its_type_when_it_says_nothing() -> None:
    replay = _own("type = 'replay'")
    assert (replay.name, replay.needs_range, replay.max_concurrent) == ("cg-nightly", True, 1)
    cohort = _own("type = 'amplitude.export-cohort'", "og-second")
    assert cohort.secrets == {"basicAuth": "tenant:amplitude.basic_auth"}


def test_default_id_with_another_type_takes_nothing_of_the_default() -> None:
    found = _own("type = 'arazzo.mine'\ndocument = 'mine.yaml'", "cg-replay")
    assert (found.needs_range, found.max_concurrent, found.name) == (False, 5, "cg-replay")


def test_default_secret_is_taken_away_when_its_reference_is_empty() -> None:
    assert _own("secrets.basicAuth = ''", "og-cohort").secrets == {}


MINE = "type = 'arazzo.mine'\ndocument = 'mine.yaml'\n"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("schedule = '0 0 * * *'", "cg-nightly.type is missing"),
        ("type = 7", "cg-nightly.type is not one of"),
        ("type = 'courier'", "cg-nightly.type is not one of"),
        ("type = 'arazzo.'", "cg-nightly.type is not one of"),
        ("type = 'arazzo.mine'", "cg-nightly.document is not the name of a file"),
        ("type = 'arazzo.mine'\ndocument = '../other/x.yaml'", "document is not the name"),
        ("type = 'arazzo.mine'\ndocument = '/etc/passwd'", "document is not the name"),
        ("type = 'arazzo.mine'\ndocument = 'a\\b.yaml'", "document is not the name"),
        ("type = 'arazzo.mine'\ndocument = '.'", "document is not the name"),
        ('type = "arazzo.mine"\ndocument = "a\\u0000.yaml"', "document is not the name"),
        ("type = 'replay'\ndocument = 'x.yaml'", "document: replay needs none"),
        ("type = 'replay'\nneeds_range = false", "needs_range is not true, as replay wants it"),
        (MINE + "name = 3", "name is not a string"),
        (MINE + 'name = "a\\nb"', "name is not one line"),
        (MINE + "enabled = 'no'", "enabled is not true or false"),
        (MINE + "run_mode = 'fast'", "run_mode is not source or refresh or full"),
        (MINE + "needs_range = 1", "needs_range is not true or false"),
        (MINE + "max_concurrent = 0", "max_concurrent is not a whole number from 1 to 100"),
        (MINE + "max_concurrent = 101", "max_concurrent is not a whole number"),
        (MINE + "max_concurrent = true", "max_concurrent is not a whole number"),
        (MINE + "retention_days = 3651", "retention_days is not a whole number from 1 to 3650"),
        (MINE + "schedule = 'nightly'", "schedule is 'nightly': use five fields"),
        (MINE + "schedule = '0 0 30 2 *'", "schedule is '0 0 30 2 *'"),
        (MINE + "schedule = 5", "schedule is not a string"),
        (MINE + "shedule = '@daily'", "has an unknown 'shedule': known are type"),
        (MINE + "inputs = 3", "inputs is not a table"),
        (MINE + "inputs.day = 2026-11-21", "inputs.day is no value of JSON: write it as a string"),
        (MINE + "inputs.a = [1, {b = nan}]", "inputs.a[1].b is no number that JSON has"),
        (MINE + "inputs.n = 9223372036854775808", "inputs.n is no number that JSON has"),
        (MINE + 'inputs."a\\nb" = 1', "inputs has the name 'a"),
        (MINE + f"inputs.a = {'[' * 40}{']' * 40}", "is nested over 32 levels deep"),
        (MINE + f"inputs.a = '{'x' * 70_000}'", "inputs is longer than 65,536 bytes"),
        (MINE + "secrets = []", "secrets is not a table"),
        (MINE + f"secrets.key = '{SECRET}'", "secrets.key is not a reference: put the secret"),
        (MINE + f"secrets.key = ['{SECRET}']", "secrets.key is not a reference"),
        (MINE + "secrets.key = 'file:relative'", "secrets.key is not a reference"),
        (MINE + "secrets.key = 'env:'", "secrets.key is not a reference"),
        (MINE + "secrets.key = 'env:sluice_JWT_SECRET'", "secrets.key is not a reference"),
        (MINE + "secrets.key = 'tenant:name'", "secrets.key is not a reference"),
        (f"type = 'amplitude.ingest-and-segment'\ninputs.apiKey = '{SECRET}'", "apiKey is secret"),
    ],
)
def test_wrong_value_is_refused_with_its_path_and_no_secret(keys: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _own(keys)
    text = str(refused.value)
    assert text.startswith("tenants.shop.workflows.cg-nightly")
    assert said in text
    assert SECRET not in text
    assert len(text) < 700


@pytest.mark.parametrize(
    ("config_id", "keys", "said"),
    [
        ("nightly", MINE, "tenants.shop.workflows has an id 'nightly': use cg-"),
        ("cg-x", MINE, "has an id 'cg-x'"),
        ("og-erase", "type = 'replay'", "og-erase: a range of time can be given only to ids"),
        ("og-erase", "run_mode = 'source'", "og-erase.run_mode can be given only to ids"),
        ("og-erase", "needs_range = true", "og-erase: a range of time"),
    ],
)
def test_workflow_is_refused_when_its_id_does_not_go_with_it(
    config_id: str, keys: str, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        _own(keys, config_id)
    assert said in str(refused.value)


@pytest.mark.parametrize("mode", ["source", "refresh"])
def test_mode_is_refused_when_the_type_would_send_all_the_same(mode: str) -> None:
    own = f"{MINE}run_mode = '{mode}'"
    with pytest.raises(
        ConfigError, match=rf"cg-nightly\.run_mode is {mode}: arazzo\.\S+ knows full"
    ):
        _own(own)
    with pytest.raises(ConfigError, match=r"cg-ingest\.run_mode is .* would send all the same"):
        _own(f"run_mode = '{mode}'", "cg-ingest")
    assert _own(f"run_mode = '{mode}'", "cg-replay").run_mode == mode
    assert _own(f"run_mode = '{mode}'", "cg-reconcile").run_mode == mode


def test_workflows_are_refused_when_they_are_no_table_or_too_many() -> None:
    with pytest.raises(ConfigError, match=r"tenants\.shop\.workflows is not a table"):
        _read("workflows = []")
    with pytest.raises(ConfigError, match=r"tenants\.shop\.workflows\.cg-one is not a table"):
        _read("workflows.cg-one = 3")
    many = "".join(f"[tenants.shop.workflows.cg-w{i}]\n{MINE}" for i in range(MAX_CONFIGS + 1))
    with pytest.raises(ConfigError, match=f"has {MAX_CONFIGS + 1} configurations"):
        _read(many)


def test_file_is_refused_when_its_nesting_would_never_end() -> None:
    with pytest.raises(ConfigError, match="nested too deep"):
        parse_directory(f"a = {'[' * 50_000}")
