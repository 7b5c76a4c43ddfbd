"""docs/migrate.md says what the sources do."""

import re
from pathlib import Path

from gateway import sources
from gateway.core.source import MAX_BODY_BYTES, MAX_EVENTS
from gateway.sources.amplitude_http import BESIDE
from gateway.sources.segment import RULES
from gateway.sources.standard_webhooks import TOLERANCE_S, USER_FIELDS
from tests.peers.clients import PEERS

PAGE = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text()


def row(first: str) -> str:
    """The row of a table that starts with this cell."""
    match = re.search(rf"^\| {re.escape(first)} \|.*$", PAGE, re.MULTILINE)
    assert match is not None, first
    return match[0]


def test_page_names_every_path_and_source() -> None:
    for name in sources.NAMES:
        source = sources.load(name)
        assert f"`{source.name}`" in PAGE
        for route in source.routes:
            assert f"`POST {route.path}`" in PAGE or f"`{route.path}`" in PAGE


def test_page_has_the_rule_of_every_segment_message() -> None:
    for kind, rule in RULES.items():
        said = row(f"`{kind}`")
        assert rule.event_type is None or f"`{rule.event_type}`" in said
        for member in (rule.payload, *rule.members):
            assert f"`{member}`" in said


def test_page_names_what_of_amplitude_stands_in_the_payload() -> None:
    assert any(all(f"`{name}`" in line for name in BESIDE) for line in PAGE.splitlines())


def test_page_names_the_limits() -> None:
    assert f"{MAX_EVENTS:,} events and {MAX_BODY_BYTES:,} bytes" in PAGE
    assert f"{TOLERANCE_S} seconds" in PAGE
    assert all(f"`data.{name}`" in PAGE for name in USER_FIELDS)


def test_page_shows_every_library_that_is_tested() -> None:
    for peer in PEERS:
        assert PAGE.count(f"| `{peer.name}`") == 3
