import re

import pytest

from sluice.warehouse import (
    ledger_amplitude,
    ledgers,
    letters,
    queries,
    replays,
    run_queries,
    tail,
)
from sluice.warehouse.ledger_amplitude import AMPLITUDE_QUERIES
from sluice.warehouse.ledgers import LEDGER_QUERIES
from sluice.warehouse.letters import LETTER_QUERIES
from sluice.warehouse.queries import TENANT_QUERIES, Query
from sluice.warehouse.replays import REPLAY_QUERIES
from sluice.warehouse.run_queries import RUN_QUERIES
from sluice.warehouse.tail import TAIL_QUERIES

TABLE = re.compile(
    r"\bFROM\s+(events|rollups|rollup_spans|touched_hours|event_duplicates|errors|runs|event_keys|outcomes"
    r"|dead_letters|workflow_runs|workflow_tasks|workflow_claims|erasure_targets|accepted"
    r"|accepted_erased|amplitude_exports)\b"
)
ALL = (
    *TENANT_QUERIES,
    *REPLAY_QUERIES,
    *LEDGER_QUERIES,
    *AMPLITUDE_QUERIES,
    *RUN_QUERIES,
    *TAIL_QUERIES,
    *LETTER_QUERIES,
)


@pytest.mark.parametrize("query", ALL, ids=lambda query: query.name)
def test_query_binds_the_tenant_for_every_table_that_it_reads(query: Query) -> None:
    reads = len(TABLE.findall(query.sql))
    binds = len(re.findall(r"WHERE tenant = \{tenant:String\}", query.sql))
    assert reads
    assert binds == reads


def test_every_query_of_the_module_is_in_the_list() -> None:
    for module, listed in (
        (queries, TENANT_QUERIES),
        (replays, REPLAY_QUERIES),
        (run_queries, RUN_QUERIES),
        (tail, TAIL_QUERIES),
        (letters, LETTER_QUERIES),
        (ledgers, (*LEDGER_QUERIES, ledgers.BEGAN)),
        (ledger_amplitude, AMPLITUDE_QUERIES),
    ):
        defined = {value for value in vars(module).values() if isinstance(value, Query)}
        assert defined == set(listed)


@pytest.mark.parametrize("query", ALL, ids=lambda query: query.name)
def test_query_has_no_place_that_text_could_be_put_into(query: Query) -> None:
    braces = re.findall(r"\{[^}]*\}", query.sql)
    assert all(re.fullmatch(r"\{[a-z_]+:[A-Za-z0-9()]+\}", brace) for brace in braces)


@pytest.mark.parametrize("query", [*TAIL_QUERIES, *LETTER_QUERIES], ids=lambda query: query.name)
def test_query_that_a_page_repeats_is_bounded_in_time_and_rows(query: Query) -> None:
    assert "max_execution_time = 5" in query.sql
    assert "LIMIT" in query.sql or query.sql.strip().startswith("SELECT count() FROM")
