from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from loadtest.plan import (
    MAX_CONNECTIONS,
    MAX_REQUESTS,
    MAX_SECONDS,
    Phase,
    Plan,
    PlanError,
    Request,
    Slow,
    build_request,
    check,
    host_and_port,
    is_loopback,
    read_plan,
    share,
    write_plan,
)

PLAN = Plan(
    url="http://127.0.0.1:8080",
    requests=[Request("track", f"POST / {n}".encode()) for n in range(7)],
    phases=[Phase(name="open", seconds=10, rate=100, count=1_000)],
    connections=10,
    slow=Slow(connections=5),
    idle_connections=3,
)


@given(st.integers(min_value=1, max_value=10))
def test_share_divides_all_of_a_plan_when_generators_are_fewer_than_connections(parts: int) -> None:
    plans = share(PLAN, parts)
    assert len(plans) == parts
    assert sum(plan.connections for plan in plans) == PLAN.connections
    assert sum(plan.idle_connections for plan in plans) == PLAN.idle_connections
    assert sum(plan.slow.connections for plan in plans if plan.slow) == 5
    assert sum(plan.phases[0].count for plan in plans) == 1_000
    assert sum(plan.phases[0].rate for plan in plans) == pytest.approx(100)
    for plan in plans:
        assert sorted(each.raw for each in plan.requests) == sorted(r.raw for r in PLAN.requests)
    assert len({plan.seed for plan in plans}) == parts


@pytest.mark.parametrize(
    "changes",
    [
        {"requests": []},
        {"phases": []},
        {"connections": 0},
        {"connections": MAX_CONNECTIONS + 1},
        {"idle_connections": MAX_CONNECTIONS},
        {"slow": Slow(connections=MAX_CONNECTIONS)},
        {"phases": [Phase(name="none", seconds=0)]},
        {"phases": [Phase(name="nan", seconds=float("nan"))]},
        {"phases": [Phase(name="long", seconds=MAX_SECONDS + 1)]},
        {"phases": [Phase(name="much", seconds=10, rate=MAX_REQUESTS)]},
        {"url": "https://127.0.0.1"},
        {"url": "127.0.0.1:80"},
        {"url": "http://sluice.example"},
        {"url": "http://10.0.0.1"},
        {"url": "http://localhost.example"},
    ],
)
def test_check_refuses_plan_when_it_is_past_a_bound_or_leaves_this_machine(
    changes: dict[str, object],
) -> None:
    check(PLAN)
    with pytest.raises(PlanError):
        check(structs.replace(PLAN, **changes))


def test_check_takes_another_host_when_the_plan_says_that_it_may() -> None:
    check(structs.replace(PLAN, url="http://sluice.example", may_leave_this_machine=True))


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("8.8.8.8", False), ("a.b", False)],
)
def test_loopback_is_known_without_a_name_server_when_a_host_is_named(
    host: str, is_ours: bool
) -> None:
    assert is_loopback(host) is is_ours


def test_host_and_port_are_read_when_an_address_has_none_of_its_own() -> None:
    assert host_and_port("http://h") == ("h", 80)
    assert host_and_port("http://[::1]:8080/x") == ("::1", 8080)


def test_request_is_whole_when_it_has_a_body_and_when_not() -> None:
    assert build_request("/t", b"{}", {"A": "b"}) == (
        b"POST /t HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\nA: b\r\n\r\n{}"
    )
    assert build_request("/s", b"", {}, method="GET") == (
        b"GET /s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    )


def test_plan_is_the_same_when_it_was_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    write_plan(PLAN, path)
    assert read_plan(path) == PLAN
