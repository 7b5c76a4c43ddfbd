"""The simple commands of a piece of shell: enough of its grammar for what pages show.

Whether it is shell at all is asked of ``bash -n``; this only says which programs are called, and
with which words.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

OPERATORS: Final = frozenset(";|&()<>\n")
KEYWORDS: Final = {"do", "then", "else", "while", "until", "if", "!", "{", "time", "exec"}
ENDS: Final = {"done", "fi", "}"}
ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
INNER: Final = "\x00"
"""Stands for what ``$(…)`` printed."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its words."""

    words: tuple[str, ...]
    environment: tuple[str, ...] = ()
    """Assignments before it."""

    @property
    def program(self) -> str:
        """The program's name, without its folder."""
        return self.words[0].rpartition("/")[2] if self.words else ""


def commands(text: str) -> list[Command]:
    """Return the commands in the order of the text; those inside ``$(…)`` after theirs.

    Raises:
        ValueError: A quotation is not closed.
    """
    outer, inner = _without_inner(_without_comments(text).replace("\\\n", " "))
    found = list(_simple(outer))
    for one in inner:
        found += commands(one)
    return found


def _simple(text: str) -> Iterator[Command]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&()<>\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    skip = False
    for word in lexer:
        if word and set(word) <= OPERATORS:
            if set(word) <= {"<", ">", "&"} and word not in {"&", "&&"}:
                skip = True  # the next word is a file
                if words and words[-1].isdigit():
                    words.pop()
                continue
            yield from _command(words)
            words, skip = [], False
        elif skip:
            skip = False
        else:
            words.append(word)
    yield from _command(words)


def _command(words: list[str]) -> Iterator[Command]:
    while words and words[0] in KEYWORDS:
        words = words[1:]
    environment = []
    while words and ASSIGNMENT.match(words[0]):
        environment.append(words[0])
        words = words[1:]
    if words and words[0] not in ENDS and words[0] != "for":
        yield Command(tuple(words), tuple(environment))


def _without_comments(text: str) -> str:
    kept, quote = [], ""
    before = "\n"
    position = 0
    while position < len(text):
        char = text[position]
        if char == "#" and not quote and before.isspace():
            position = (text.find("\n", position) + 1 or len(text) + 1) - 1
            before = "\n"
            continue
        if char == "\\" and quote != "'":
            kept.append(text[position : position + 2])
            before = "x"
            position += 2
            continue
        if char in "'\"":
            quote = "" if quote == char else quote or char
        kept.append(char)
        before = char
        position += 1
    return "".join(kept)


def _without_inner(text: str) -> tuple[str, list[str]]:
    """Return the text with each outermost ``$(…)`` taken out, and what was in them."""
    inner = []
    while (start := text.find("$(")) >= 0:
        depth, end = 1, start + 2
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        inner.append(text[start + 2 : end - 1])
        text = text[:start] + INNER + text[end:]
    return text, inner
