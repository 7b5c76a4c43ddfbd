"""The pages that people read: their code, links and anchors, as CommonMark has them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).parents[2]
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table")
_NO_PART_OF_AN_ANCHOR: Final = re.compile(r"[^\w\- ]")
_HTML_ANCHOR: Final = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    """Path of the page below the repository."""
    line: int
    """Of its fence, counted from 1."""
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        """Its first line, by which tables know it."""
        return self.text.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Words:
    """A link's target, or a piece of code within a line."""

    page: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Page:
    """One page, parsed."""

    path: Path
    tokens: tuple[Token, ...]

    @classmethod
    def read(cls, path: Path) -> "Page":
        """Return the page in a file."""
        return cls(path, tuple(_MARKDOWN.parse(path.read_text(encoding="utf-8"))))

    @property
    def name(self) -> str:
        """Its path below the repository."""
        return str(self.path.relative_to(ROOT))

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        return [
            Block(self.name, _line(token), token.info.strip(), token.content)
            for token in self.tokens
            if token.type == "fence"
        ]

    @property
    def code(self) -> list[Words]:
        """Its pieces of code within lines; a table's escaped ``|`` is one."""
        return [
            Words(self.name, line, token.content.replace("\\|", "|"))
            for line, token in self._inline()
            if token.type == "code_inline"
        ]

    @property
    def links(self) -> list[Words]:
        """What its links and images point to."""
        found = []
        for line, token in self._inline():
            target = token.attrs.get("href") or token.attrs.get("src")
            if target:
                found.append(Words(self.name, line, str(target)))
        return found

    @property
    def title(self) -> str:
        """Its first heading."""
        return next(iter(self._headings()), "")

    @property
    def anchors(self) -> set[str]:
        """The fragments by which its headings are reached, as Git hosts make them."""
        anchors: set[str] = set()
        seen: Counter[str] = Counter()
        for heading in self._headings():
            slug = _NO_PART_OF_AN_ANCHOR.sub("", heading.lower()).replace(" ", "-")
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return anchors | set(_HTML_ANCHOR.findall(self.path.read_text(encoding="utf-8")))

    def _headings(self) -> Iterator[str]:
        for opening, inline in zip(self.tokens, self.tokens[1:], strict=False):
            if opening.type == "heading_open":
                children = inline.children or []
                yield "".join(
                    one.content for one in children if one.type in {"text", "code_inline"}
                )

    def _inline(self) -> Iterator[tuple[int, Token]]:
        for token in self.tokens:
            if token.type == "inline":
                for child in token.children or []:
                    yield _line(token), child


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 1


def manual() -> list[Page]:
    """Return what a user reads: the README, docs/ and the READMEs of what is run by hand."""
    files = [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "tests" / "simulators").rglob("README.md")),
    ]
    return [Page.read(path) for path in files]


def everything() -> list[Page]:
    """Return every page of the repository that is ours."""
    others = [*ROOT.glob("*.md"), *(ROOT / "tests").rglob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return [Page.read(path) for path in sorted(set(others)) if "node_modules" not in path.parts]
