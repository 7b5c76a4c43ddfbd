"""Documents and sources on a real file system: what is read, and what never is (rule K8)."""

import os
from pathlib import Path

import pytest

from sluice.workflows.core.refusals import Refusal
from sluice.workflows.core.yaml_text import MAX_DOCUMENT_BYTES, MAX_SOURCE_BYTES
from sluice.workflows.loading import (
    MAX_ALL_SOURCES_BYTES,
    Opened,
    open_document,
    shipped_files,
)
from tests.unit.worker.workflows.arazzo import SHOP, one_workflow
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan

OUTSIDE = "lies outside of the folder of workflows"
MISSING = "leads to a file that cannot be read: No such file or directory"


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    folder = tmp_path / "flows"
    folder.mkdir()
    (tmp_path / "secret.yaml").write_bytes(SHOP)
    return folder


def document(folder: Path, url: str = "shop.yaml", *, more: str = "", rest: str = "") -> Path:
    """Write a document whose source has this address, perhaps with more sources."""
    text = one_workflow("  - {stepId: a, operationId: $sourceDescriptions.shop.listCarts}\n")
    sources = f"url: '{url}', type: openapi}}\n{more}"
    file = folder / "a.arazzo.yaml"
    file.write_text(text.decode().replace("url: shop.yaml, type: openapi}\n", sources) + rest)
    return file


def source(file: Path, *, root: Path | None = None, name: str = "shop") -> bytes | str:
    """What the source holds, or why it was not read."""
    opened = open_document(file, root=root)
    assert isinstance(opened, Opened), opened
    return opened.sources[name]


def test_shipped_documents_are_planned_from_their_files() -> None:
    files = shipped_files()
    assert [file.name.partition(".")[0] for file in files] == [
        "export-cohort-members",
        "ingest-and-segment",
    ]
    for file in files:
        opened = open_document(file)
        assert isinstance(opened, Opened)
        assert isinstance(plan(opened.document, opened.sources), Plan)


@pytest.mark.parametrize("url", ["shop.yaml", "./x/../shop.yaml", "sh%6Fp.yaml", "link.yaml"])
def test_source_beside_the_document_is_read(flows: Path, url: str) -> None:
    (flows / "shop.yaml").write_bytes(SHOP)
    (flows / "link.yaml").symlink_to("shop.yaml")
    assert source(document(flows, url)) == SHOP


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("../secret.yaml", OUTSIDE),
        ("%2e%2e/secret.yaml", OUTSIDE),
        ("/etc/hostname", OUTSIDE),
        ("link.yaml", OUTSIDE),
        ("folder/secret.yaml", OUTSIDE),
        ("link-of-link.yaml", OUTSIDE),
        ("nowhere.yaml", MISSING),
        ("dangling.yaml", MISSING),
        ("circle.yaml", "leads to a file that cannot be read: Too many levels of symbolic links"),
        (".", "leads to a file that cannot be read: Is a directory"),
        ("pipe.yaml", "leads to a file that cannot be read: It is not a file"),
        ("a%00b.yaml", "holds a character that no file name may have"),
        ("file:///etc/hostname", "must be a file beside the document, or http(s)"),
        ("http://[", "is no address"),
        (
            "https://specs.example/shop.yaml",
            "is on the web, and nothing is fetched: keep a copy beside the document",
        ),
    ],
)
def test_source_that_may_not_or_cannot_be_read_has_the_reason(
    flows: Path, url: str, reason: str
) -> None:
    (flows / "link.yaml").symlink_to("../secret.yaml")
    (flows / "folder").symlink_to("..")
    (flows / "link-of-link.yaml").symlink_to("link.yaml")
    (flows / "dangling.yaml").symlink_to("nothing")
    (flows / "circle.yaml").symlink_to("circle.yaml")
    os.mkfifo(flows / "pipe.yaml")
    assert source(document(flows, url)) == reason


def test_sources_may_lie_below_a_root_that_is_named(flows: Path) -> None:
    file = document(flows, "../secret.yaml")
    assert source(file, root=flows.parent) == SHOP
    (flows / "shop.yaml").symlink_to("/dev/null")
    assert source(document(flows), root=flows.parent) == OUTSIDE


def test_document_that_is_a_link_has_its_sources_where_it_really_lies(flows: Path) -> None:
    (flows / "shop.yaml").write_bytes(SHOP)
    link = flows.parent / "link.arazzo.yaml"
    link.symlink_to(document(flows))
    assert source(link) == SHOP


def test_document_that_is_too_large_is_refused_unread(flows: Path) -> None:
    file = flows / "huge.yaml"
    with file.open("wb") as huge:
        huge.truncate(1 << 40)  # a hole: it takes no room, and would not fit into memory
    refused = open_document(file)
    assert isinstance(refused, tuple)
    reason = f"is longer than {MAX_DOCUMENT_BYTES:,} bytes"
    assert refused == (Refusal(1, 1, "", reason, "too-large"),)


def test_source_that_is_too_large_is_refused_at_its_line(flows: Path) -> None:
    file = document(flows)
    with (flows / "shop.yaml").open("wb") as huge:
        huge.truncate(1 << 40)
    opened = open_document(file)
    assert isinstance(opened, Opened)
    assert len(opened.sources["shop"]) == MAX_SOURCE_BYTES + 1
    refused = plan(opened.document, opened.sources)
    assert isinstance(refused, tuple)
    assert [(one.line, one.rule) for one in refused] == [(4, "too-large")]


def test_sources_are_bounded_together(flows: Path) -> None:
    (flows / "big.yaml").write_bytes(b"#" * MAX_SOURCE_BYTES)
    (flows / "shop.yaml").write_bytes(SHOP)
    more = "".join(f"- {{name: s{at}, url: big.yaml}}\n" for at in range(5))
    opened = open_document(document(flows, more=more))
    assert isinstance(opened, Opened)
    reason = f"makes the sources longer than {MAX_ALL_SOURCES_BYTES:,} bytes together"
    refused = [name for name, text in opened.sources.items() if text == reason]
    assert refused == ["s3", "s4"]


@pytest.mark.parametrize("name", ["nowhere", ".", "pipe"])
def test_document_that_cannot_be_read_says_so(flows: Path, name: str) -> None:
    os.mkfifo(flows / "pipe")
    with pytest.raises(OSError, match=r"No such file|Is a directory|not a file"):
        open_document(flows / name)


def test_relative_source_of_a_document_that_calls_the_web_its_home_is_not_fetched(
    flows: Path,
) -> None:
    (flows / "shop.yaml").write_bytes(SHOP)
    file = document(flows, rest="$self: https://flows.example/a.yaml\n")
    file.write_text(file.read_text().replace("arazzo: 1.0.1", "arazzo: 1.1.0"))
    assert str(source(file)).startswith("is on the web")
