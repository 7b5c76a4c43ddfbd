import re

from sluice.warehouse.migrate import DURABLE, migrations, statements


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [int(name.split("_")[0]) for name, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_statement_may_run_twice() -> None:
    found = [part for _, text in migrations() for part in statements(text, durable=True)]
    assert len(found) >= 9
    for statement in found:
        code = re.sub(r"^--.*$", "", statement, flags=re.MULTILINE).strip()
        assert re.match(
            r"CREATE (TABLE|VIEW) IF NOT EXISTS|ALTER TABLE \w+ ADD (COLUMN|INDEX) IF NOT EXISTS"
            # The same rows again are the same runs: the table replaces by its sorting key.
            r"|INSERT INTO (workflow_runs|rollup_spans) \(|ALTER TABLE \w+ MODIFY TTL ",
            code,
        )


def test_every_table_syncs_its_inserts_when_the_warehouse_is_embedded() -> None:
    for _, text in migrations():
        for statement in statements(text, durable=True):
            if "CREATE TABLE" in statement:
                assert DURABLE in statement
        assert "fsync_after_insert" not in "".join(statements(text, durable=False))
        assert "@fsync@" not in "".join(statements(text, durable=False))


def test_statement_ends_at_a_semicolon_that_ends_a_line() -> None:
    text = "-- a; b\nSELECT ';' AS x;\n\nSELECT 2 ;  \n-- only words\n"
    assert statements(text, durable=False) == ["-- a; b\nSELECT ';' AS x", "SELECT 2"]
