"""Every block of shell in README and docs is run, or is parsed where what it needs is not here."""

from pathlib import Path

import pytest

from sluice.tenants import TenantsFile
from tests.docs.entries import ENTRIES, Parsed, Run
from tests.docs.entries import PAGES as ELSEWHERE
from tests.docs.grammar import NOT_HERE
from tests.docs.pages import Block, manual
from tests.docs.sandbox import Sandbox, kept, promised, run_until_true, running_sandbox
from tests.docs.shell import commands

PAGES = manual()
ASKED = "curl \"$(cat sluice-data/warehouse.reader.url)\" --data-binary @- <<'END'\n{}END\n"
"""How a statement of a page is asked of ClickHouse: as its reader would."""
BLOCKS = [block for page in PAGES for block in page.blocks if block.language in {"sh", "sql"}]
WHAT_TO_DO = (
    "If the page is right, say in tests/docs/entries.py what must be there before, or what is"
    " another in a test (Run), or why it can only be parsed (Parsed)."
)


def belongs(name: tuple[str, str], block: Block) -> bool:
    """Whether an entry of that name is this block's."""
    page, beginning = name
    return block.page == page and block.first_line.startswith(beginning)


def entry_of(block: Block) -> Parsed | Run:
    """Return how the block is dealt with."""
    for name, entry in ENTRIES.items():
        if belongs(name, block):
            return entry
    for page, entry in ELSEWHERE.items():
        if block.page.startswith(page):
            return entry
    missing = sorted({one.program for one in commands(block.text)} & NOT_HERE)
    return Parsed(f"{', '.join(missing)} is not here") if missing else Run()


@pytest.mark.long(200)
@pytest.mark.timeout(900)
def test_sandbox_runs_every_block_of_the_pages(tmp_path: Path) -> None:
    """One Sluice for all: they are run in the order of the pages, as by one reader."""
    failed = []
    with running_sandbox(tmp_path / "checkout") as sandbox:
        prepare(sandbox)
        for block in BLOCKS:
            entry = entry_of(block)
            if isinstance(entry, Run):
                failed += trouble(sandbox, block, entry)
    assert failed == [], "\n\n".join(["", *failed, WHAT_TO_DO])


def prepare(sandbox: Sandbox) -> None:
    """Make what the pages take for granted: the tenant ``shop``, and its documents."""
    sandbox.values["shop_key"] = TenantsFile(sandbox.stack.tenants_file).add_tenant("shop")
    flows = sandbox.folder / "flows"
    flows.mkdir()
    (page,) = [page for page in PAGES if page.name == "docs/workflows.md"]
    texts = [block.text for block in page.blocks if block.language == "yaml"]
    for name, text in zip(("nightly.arazzo.yaml", "reports.openapi.yaml"), texts, strict=True):
        (flows / name).write_text(text)


def trouble(sandbox: Sandbox, block: Block, entry: Run) -> list[str]:
    """Run one block, and say what is wrong with it."""
    if entry.before:
        sandbox.prepare(block, entry.before)
    if block.language == "sql":
        block = Block(block.page, block.line, "sh", ASKED.format(block.text))
    outcome = run_until_true(sandbox, block, entry.replace, eventually=entry.eventually)
    if outcome.status == entry.status:
        return []
    return [
        f"{block.place}: this block ended with status {outcome.status}:\n"
        f"{block.text}\n{outcome.output[-1500:]}"
    ]


def test_each_entry_is_of_a_block_that_exists() -> None:
    """And of one only, so that nobody's block is another's by mistake."""
    counts = {name: sum(belongs(name, block) for block in BLOCKS) for name in ENTRIES}
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_promise_is_kept_in_order() -> None:
    block = Block("x.md", 1, "sh", 'curl x   # said\n# HTTP/1.1 202 …\n# {"queued":true}\n')
    assert promised(block) == ["HTTP/1.1 202", '{"queued":true}']
    assert kept(promised(block), 'HTTP/1.1 202 Accepted\n\n{"queued":true}')
    assert not kept(promised(block), '{"queued":true}\nHTTP/1.1 202 Accepted')
