"""``sluice cost``: what it prints for people and for programs."""

import jsonschema_rs
import orjson
import pytest
from typer.testing import CliRunner

from sluice.cli.command_line import build_app
from sluice.core.errors import ConfigError
from sluice.cost.bill import PARTS
from sluice.cost.peers import PEERS

RUN = CliRunner()
WORDS = ["cost", "--events-per-day", "10000000", "--payload-bytes", "400"]
NUMBER = {"type": "number"}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "load", "needs", "items", "parts", "usd_per_month", "events_per_month", "usd_per_million",
        "prices", "figures", "figures_measured_on", "peers",
    ],
    "properties": {
        "load": {"type": "object"},
        "needs": {"type": "object", "additionalProperties": NUMBER},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["part", "name", "quantity", "price", "usd"],
                "properties": {"part": {"enum": list(PARTS)}, "quantity": NUMBER, "usd": NUMBER},
            },
        },
        "parts": {"type": "object", "additionalProperties": NUMBER, "required": list(PARTS)},
        "usd_per_month": NUMBER,
        "events_per_month": NUMBER,
        "usd_per_million": NUMBER,
        "prices": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["usd", "unit", "page", "seen", "is_confirmed"],
            },
        },
        "figures": {"type": "object", "additionalProperties": NUMBER},
        "figures_measured_on": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
        "peers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "plan", "usd_per_million", "list", "page", "seen"],
                "properties": {"usd_per_million": {"type": ["number", "null"]}},
            },
        },
    },
}  # fmt: skip


def test_program_gets_every_line_with_its_price() -> None:
    done = RUN.invoke(build_app(WORDS), [*WORDS, "--json"])
    assert done.exit_code == 0, done.output
    told = orjson.loads(done.output)
    jsonschema_rs.validator_for(SCHEMA).validate(told)
    assert sum(item["usd"] for item in told["items"]) == pytest.approx(told["usd_per_month"])
    assert {item["price"] for item in told["items"]} == set(told["prices"])


def test_person_gets_the_sum_and_what_others_list() -> None:
    done = RUN.invoke(build_app(WORDS), WORDS)
    assert done.exit_code == 0, done.output
    assert "US$ a million events" in done.output
    assert "not seen on the vendor's page" in done.output
    assert all(peer.name in done.output for peer in PEERS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--compute", "moon"], "--compute is 'moon'; it is one of gke, cloud-run"),
        (["--clickhouse", "x"], "--clickhouse is 'x'; it is one of cloud, own"),
        (["--batch-size", "1000"], "batch_size is 1000; it may be from 1 to 500"),
    ],
)
def test_wrong_word_is_said_in_one_line(words: list[str], said: str) -> None:
    asked = [*WORDS, *words]
    with pytest.raises(ConfigError, match=said):
        RUN.invoke(build_app(asked), asked, catch_exceptions=False)
