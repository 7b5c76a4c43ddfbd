from dataclasses import replace
from pathlib import Path

import pytest

from loadtest import scenarios
from loadtest.options import Options, check_options, check_plans, check_target, cores_of
from loadtest.plan import MAX_SECONDS, Phase, PlanError, check
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


def test_slow_clients_come_one_after_the_other_before_what_is_measured() -> None:
    """Five hundred that connect at once, and end at once, would be felt as connections."""
    loads = [
        step for step in scenarios.load("slow-clients").steps(INPUTS) if isinstance(step, Load)
    ]
    plans = [load.plan for load in loads if load.plan.slow is not None]
    assert plans
    for plan in plans:
        assert plan.slow is not None
        arriving, measured = plan.phases
        assert arriving.seconds == plan.slow.within_s
        assert measured.name == "with"
        assert arriving.rate == measured.rate


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


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_warm_up_keeps_to_the_rate_when_what_is_measured_has_one(name: str) -> None:
    """It once found the ceiling of whatever server it was sent against, at ``--rate 50``."""
    scenario = scenarios.load(name)
    steps = scenario.steps(replace(INPUTS, rate=50))
    warming = [
        phase
        for step in steps
        if isinstance(step, Load) and not step.is_measured
        for phase in step.plan.phases
        if phase.name == "warm-up"
    ]
    if scenario.takes_rate:
        assert [phase.rate for phase in warming] == ([] if name == "catch-up" else [50])


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_rate_is_refused_exactly_when_a_scenario_sends_the_same_without_it(name: str) -> None:
    scenario = scenarios.load(name)

    def phases(rate: float) -> list[Phase]:
        steps = scenario.steps(replace(INPUTS, rate=rate))
        return [p for s in steps if isinstance(s, Load | CatchUp) for p in s.plan.phases]

    assert (phases(50) != phases(60)) == scenario.takes_rate
    options = Options(scenario=name, rate=50)
    if scenario.takes_rate:
        check_options(options, scenario)
    else:
        with pytest.raises(PlanError, match="leave it away"):
            check_options(options, scenario)


@pytest.mark.parametrize(
    "given",
    [
        {"seconds": 0.0},
        {"seconds": -1.0},
        {"seconds": float("nan")},
        {"rate": 0.0},  # which would be a closed loop: as fast as the server can
        {"rate": float("inf")},
        {"connections": 0},
        {"events": 0},
        {"rounds": 0},
        {"generators": -1},
    ],
)
def test_number_is_refused_by_its_name_when_it_is_not_above_nought(
    given: dict[str, float],
) -> None:
    (name,) = given
    options = Options(**({"scenario": "track"} | given))  # type: ignore[arg-type]  # of each case
    with pytest.raises(PlanError, match=f"--{name} is .*more than 0"):
        check_options(options, scenarios.load("track"))


def test_run_is_refused_when_its_generators_would_have_nothing_to_send() -> None:
    """At half a request a second for one second it once printed an empty table, and status 0."""
    track = scenarios.load("track")
    with pytest.raises(PlanError, match=r"only 0\.5 requests are due in 1 s of 'open'"):
        check_plans(Options(scenario="track", rate=0.5, seconds=1, generators=1), track)
    check_plans(Options(scenario="track", rate=2, seconds=1, generators=2), track)
    with pytest.raises(PlanError, match="one a generator"):
        check_plans(Options(scenario="track", rate=2, seconds=1, generators=3), track)


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_run_past_a_bound_is_refused_before_anything_starts(name: str) -> None:
    scenario = scenarios.load(name)
    check_plans(Options(scenario=name), scenario)
    with pytest.raises(PlanError, match="are more than"):
        check_plans(Options(scenario=name, seconds=100 * MAX_SECONDS), scenario)
