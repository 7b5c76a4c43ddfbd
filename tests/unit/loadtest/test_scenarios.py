from pathlib import Path

import pytest

from loadtest import scenarios
from loadtest.plan import PlanError, check
from loadtest.run import Options, check_target, cores_of
from loadtest.scenario import CatchUp, Inputs, Load, TenantKey

LINE = b'{"user_id":"u","event_type":"seen","payload":{"text":"' + b"x" * 200 + b'"}}'
INPUTS = Inputs(
    url="http://127.0.0.1:8080",
    tenants=[TenantKey("load", "k")] * 3,
    token="t",
    shopify_secret="s",
    logs={name: [LINE] * 5 for name in ("wikiticker", "online_retail", "bay_area_bike_share")},
)


def test_scenarios_are_exactly_the_files_when_they_are_listed() -> None:
    assert scenarios.__file__ is not None
    files = {path.stem for path in Path(scenarios.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == {name.replace("-", "_") for name in scenarios.NAMES}
    with pytest.raises(KeyError):
        scenarios.load("nonesuch")


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_scenario_sends_only_plans_within_the_bounds_when_run_with_its_defaults(name: str) -> None:
    scenario = scenarios.load(name)
    steps = scenario.steps(INPUTS)
    plans = [step.plan for step in steps if isinstance(step, Load | CatchUp)]
    assert plans
    for plan in plans:
        check(plan)
    assert scenario.needs_own == any(not isinstance(step, Load) for step in steps) or (
        name == "stats-under-load"
    )


def test_mixed_has_the_proportions_of_the_logs_when_it_is_made() -> None:
    load = scenarios.load("mixed").steps(INPUTS)[-1]
    assert isinstance(load, Load)
    kinds = [request.kind for request in load.plan.requests]
    half = kinds[: len(kinds) // 2]
    for name, events in (("wikiticker", 39_244), ("online_retail", 22_190)):
        assert kinds.count(name) / len(kinds) == pytest.approx(events / 91_550, abs=0.01)
        assert half.count(name) / len(half) == pytest.approx(events / 91_550, abs=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"against": "http://example.com", "api_keys": ("k",)}, "--i-own-this-host"),
        ({"against": "http://127.0.0.1:1"}, "--api-key"),
        ({"against": "http://127.0.0.1:1", "api_keys": ("k",), "scenario": "catch-up"}, "stops"),
        (
            {"against": "http://127.0.0.1:1", "api_keys": ("k",), "scenario": "stats-under-load"},
            "--token",
        ),
    ],
)
def test_run_is_refused_before_anything_is_sent_when_its_target_is_not_good(
    options: dict[str, object], said: str
) -> None:
    chosen = Options(**({"scenario": "track"} | options))  # type: ignore[arg-type]  # of each case
    with pytest.raises(PlanError, match=said):
        check_target(chosen, scenarios.load(chosen.scenario))


def test_generators_keep_away_from_the_server_when_the_machine_has_cores_for_both() -> None:
    server, load = cores_of(Options(scenario="track"))
    assert load
    assert server.isdisjoint(load) or len(server | load) == 1
    chosen = Options(scenario="track", server_cores=frozenset({0}), load_cores=frozenset({0}))
    assert cores_of(chosen) == ({0}, {0})
