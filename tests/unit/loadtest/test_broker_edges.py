from loadtest.broker_edges import LOCAL, PUBSUB, Edge, edge_rows, edge_table
from loadtest.emulator_alone import Taken, alone_table


def edge(name: str, rates: list[float], cpu_us: float) -> Edge:
    """An edge that was measured, the same for both kinds of requests."""
    kinds = ("track", "batch")
    return Edge(
        name,
        url="",
        api_key="",
        pids={},
        per_s=dict.fromkeys(kinds, rates),
        cpu_us={(kind, "gateway"): [cpu_us] for kind in kinds},
        p99_ms={kind: [4.0] for kind in kinds},
        group={kind: [32.0] for kind in kinds},
    )


def test_ratio_is_the_median_of_the_rounds_own_when_rounds_differ() -> None:
    local = edge(LOCAL, [100.0, 200.0, 50.0], 30.0)
    rows = edge_rows([local, edge(PUBSUB, [90.0, 160.0, 20.0], 40.0)])
    assert [row.ratio for row in rows] == ["0.80", "0.80"]


def test_table_leaves_the_emulator_empty_where_there_is_none() -> None:
    line = edge_table([edge(LOCAL, [1.0], 30.0), edge(PUBSUB, [1.0], 40.0)]).splitlines()[2]
    assert line.endswith("| local queue | 32 | 30.00 |  | 4.0 ms |")


def test_emulator_alone_is_shown_in_publishes_bytes_and_events() -> None:
    taken = [Taken(per_s=per_s, emulator_us=200.0, client_us=90.0) for per_s in (900, 1_000, 1_100)]
    line = alone_table({(32, 4): taken}).splitlines()[-1]
    assert line == "| 32 | 3,000 | 4 | 1,000 | 3.0 | 32,000 | 200 | 90 |"
