"""Each link leads to a file and a heading that exist; the index and llms.txt know every page."""

import re
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT, Page, Words, everything

PAGES = {page.name: page for page in everything()}
OUTSIDE = {"https", "http", "mailto"}
OURS = re.compile(r"(?:sluice|gateway|worker|tests|loadtest|docs|k8s|ops)/[\w./*-]+")
"""A path of this repository in the code of a page."""
INVENTED = {"gateway/sources/x.py", "worker/destinations/x.py", "worker/workflows/builtins/x.py"}
INVENTED |= {"sluice/cli/x.py", "sluice/warehouse/migrations/NNNN_what.sql"}
"""Files that docs/extending.md tells to write."""
FIGURES = {"sluice/events_per_core_s"}
"""Names of results that only look like paths."""
LISTED_LINE = re.compile(r"^- \[([^\]]+)\]\(([^)]+)\): \S.{15,}\.$")


def broken(link: Words) -> str:
    """Return what is wrong with a link; empty: nothing."""
    parts = urlsplit(link.text)
    if parts.scheme or parts.netloc:
        is_whole = parts.scheme in OUTSIDE and (parts.netloc or parts.path)
        return "" if is_whole and " " not in link.text else "is no address"
    target = (ROOT / link.page).parent / unquote(parts.path) if parts.path else ROOT / link.page
    try:
        name = str(target.resolve().relative_to(ROOT))
    except ValueError:
        return "leads out of the repository"
    if not target.exists():
        return "leads to nothing"
    if not parts.fragment:
        return ""
    page = PAGES.get(name)
    return "" if page and parts.fragment in page.anchors else "names a heading that is not there"


@pytest.mark.parametrize("name", PAGES)
def test_page_links_only_to_files_and_headings_that_exist(name: str) -> None:
    found = [(link.place, link.text, broken(link)) for link in PAGES[name].links]
    assert [one for one in found if one[2]] == []


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ("docs/settings.md", ""),
        ("docs/runs.md#tokens", ""),
        ("#the-http-api", ""),
        ("https://spec.openapis.org/arazzo/latest.html", ""),
        ("docs/nothing.md", "leads to nothing"),
        ("docs/runs.md#nothing", "names a heading that is not there"),
        ("../../etc/passwd", "leads out of the repository"),
        ("ftp://events.example/", "is no address"),
        ("https:///nothing", ""),
    ],
)
def test_link_is_judged(target: str, verdict: str) -> None:
    assert broken(Words("README.md", 1, target)) == verdict


@pytest.mark.parametrize("name", PAGES)
def test_file_that_a_page_names_exists(name: str) -> None:
    """``gateway/app.py``, ``tests/faults``; with ``*`` at least one that fits."""
    named = [words for words in PAGES[name].code if OURS.fullmatch(words.text)]
    gone = [
        (words.place, words.text)
        for words in named
        if not any(ROOT.glob(words.text.rstrip("/"))) and words.text not in INVENTED | FIGURES
    ]
    assert gone == []


def test_each_page_has_one_title() -> None:
    titles = [(name, page.title) for name, page in PAGES.items()]
    assert [name for name, title in titles if not title] == []


def pages_of_docs() -> set[str]:
    return {name for name in PAGES if name.startswith("docs/") and name != "docs/README.md"}


def reached_from(page: Page) -> set[str]:
    """Return the files that a page links to."""
    found = set()
    for link in page.links:
        path = urlsplit(link.text).path
        if path and not urlsplit(link.text).scheme:
            found.add(str((page.path.parent / unquote(path)).resolve().relative_to(ROOT)))
    return found


def test_index_lists_every_page() -> None:
    """Runbooks and decisions are listed by the page that is the index of their folder."""
    reached = reached_from(PAGES["docs/README.md"])
    for folder in ("docs/runbooks/README.md", "docs/decisions/README.md"):
        if folder in PAGES:
            reached |= reached_from(PAGES[folder])
    assert sorted(pages_of_docs() - reached) == []


def test_llms_txt_is_in_the_form_of_llmstxt_org() -> None:
    """A title, a summary as a quotation, then sections of links, each with its line."""
    lines = [line for line in (ROOT / "llms.txt").read_text().splitlines() if line]
    assert lines[0] == "# Sluice"
    assert lines[1].startswith("> ")
    sections = [line for line in lines if line.startswith("## ")]
    assert sections[-1] == "## Optional"
    first = lines.index(sections[0])
    assert [
        line for line in lines[first:] if not (line.startswith("## ") or LISTED_LINE.match(line))
    ] == []


def test_llms_txt_lists_every_page_of_the_docs_once() -> None:
    listed = [
        match[2]
        for line in (ROOT / "llms.txt").read_text().splitlines()
        if (match := LISTED_LINE.match(line))
    ]
    assert [one for one in listed if listed.count(one) > 1] == []
    gone = [one for one in listed if not (ROOT / one).exists()]
    assert gone == []
    single = {
        name for name in pages_of_docs() if name.count("/") == 1 or name.endswith("/README.md")
    }
    assert sorted(single - set(listed)) == []
