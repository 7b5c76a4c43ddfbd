"""Samples of data and code in pages are what Sluice itself reads, writes or runs."""

import re
import tomllib
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml

from sluice.core.tenant_file import parse_directory
from tests.docs.api import schema_of
from tests.docs.pages import ROOT, Block, manual

BLOCKS = [block for page in manual() for block in page.blocks]
SCHEMAS = {
    "docs/receipts.md": ("Receipt",),
    "docs/console-api.md": ("StatusAnswer", "DeadLetterList"),
}
"""What the samples of JSON on a page are, one of them each."""
RUN_BY = {
    "python": "tests/integration/test_browser.py",
    "js": "tests/integration/test_browser.py",
    "hcl": "sluice/cli/docs.py",
}
"""Where samples of other languages are run, or made."""
COMPARED = {("docs/kubernetes.md", "hcl"): "tests/k8s/test_files.py"}
"""Those that are compared with what they belong to instead."""
WAREHOUSE_USERS = {"sluice_setup", "sluice_worker", "sluice_gateway"}
"""Of docs/clickhouse.md; no metrics."""
METRIC = re.compile(r"\bsluice_[a-z0-9_]+")
SETTING = re.compile(r"\bSLUICE_[A-Z][A-Z_]*[A-Z]\b")
OPENING = re.compile(r"^(`{3,}|~{3,})", re.MULTILINE)


def written_in(*languages: str) -> pytest.MarkDecorator:
    """Run a test for each block in one of the languages."""
    found = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.place)


@written_in("toml")
def test_toml_is_a_tenants_file(block: Block) -> None:
    """Of another file it would need a loader of its own here."""
    tenants = parse_directory(block.text)
    assert list(tenants.by_slug) == list(tomllib.loads(block.text)["tenants"])


@written_in("json")
def test_json_is_an_answer_of_the_api_or_a_line_of_a_log(block: Block) -> None:
    sample: Any = orjson.loads(block.text)
    if block.page == "docs/logs.md":
        assert {"event", "level", "timestamp"} <= set(sample)
        return
    found = [
        [
            error.message
            for error in jsonschema_rs.validator_for(schema_of(name)).iter_errors(sample)
        ]
        for name in SCHEMAS[block.page]
    ]
    assert [] in found, found


@written_in("yaml")
def test_yaml_can_be_read(block: Block) -> None:
    """The documents of docs/workflows.md are run by test_workflows.py."""
    assert isinstance(yaml.safe_load(block.text), dict)


@written_in("python", "js", "hcl")
def test_code_is_run_where_it_is_said(block: Block) -> None:
    """The guide's client is run by a browser, Terraform's text is generated and compared."""
    where = COMPARED.get((block.page, block.language), RUN_BY[block.language])
    runner = (ROOT / where).read_text()
    known = {
        "docs/client-apps.md": "docs/client-apps.md",
        "docs/pubsub.md": '"pubsub.md"',
        "docs/kubernetes.md": "docs/kubernetes.md",
    }
    assert known[block.page] in runner


def test_metrics_that_pages_name_exist() -> None:
    """In text and in tables; a name that ends in ``_`` stands for all that begin so."""
    declared = set(METRIC.findall((ROOT / "docs" / "metrics.md").read_text()))
    for page in manual():
        for words in page.code:
            for name in METRIC.findall(words.text):
                is_prefix = name.endswith("_") and any(one.startswith(name) for one in declared)
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                assert is_prefix or base in declared | WAREHOUSE_USERS, (words.place, name)


def test_settings_that_pages_name_exist() -> None:
    declared = set(SETTING.findall((ROOT / "docs" / "settings.md").read_text()))
    declared |= {"SLUICE_URL", "SLUICE_TOKEN", "SLUICE_API_KEY"}  # of commands and shells
    for page in manual():
        text = page.path.read_text()
        named = set(SETTING.findall(text))
        assert named <= declared, (page.name, named - declared)


def test_every_fence_is_closed() -> None:
    """One that is not would hide all that follows from every other test."""
    for page in manual():
        assert len(OPENING.findall(page.path.read_text())) % 2 == 0, page.name
