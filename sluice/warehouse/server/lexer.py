"""Just enough of ClickHouse's lexer to find words in SQL without being fooled by quotes.

It never decides what a statement means: the engine's own parser does that. It finds the first
keyword, where an INSERT's data begins, a trailing FORMAT clause, and every identifier.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["word", "quoted", "string", "other"]

# ASCII: what else the engine skips (a zero-width space) is a token here, and can be refused.
_SKIP: Final = re.compile(r"(?:[ \t\n\r\f\v]+|--[^\n]*|#[ !][^\n]*|/\*.*?(?:\*/|\Z))+", re.DOTALL)
_WORD: Final = re.compile(r"[^\W\d][\w$]*")
_HEREDOC: Final = re.compile(r"\$\w*\$")
_CURLY_ENDS: Final = {"‘": "’", "“": "”"}  # noqa: RUF001 - the lexer takes typographic quotes
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL; ``text`` is as written, ``start`` and ``end`` are offsets into it."""

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The text of a bare word in capitals, else empty."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def identifier(self) -> str:
        """The name that a bare or quoted identifier stands for, else empty."""
        if self.kind == "word":
            return self.text
        return _unescape(self.text[1:-1]) if self.kind == "quoted" else ""


def tokens(sql: str, start: int = 0) -> Iterator[Token]:
    """Yield the tokens of ``sql`` in order, without white space and comments.

    A quote that is never closed runs to the end, so that a half-received statement is safe to read.
    """
    at = start
    while True:
        skipped = _SKIP.match(sql, at)
        at = skipped.end() if skipped else at
        if at >= len(sql):
            return
        token = _token_at(sql, at)
        yield token
        at = token.end


def _token_at(sql: str, at: int) -> Token:
    char = sql[at]
    if char == "'":
        return _make("string", sql, at, _closing(sql, at, char))
    if char in '`"':
        return _make("quoted", sql, at, _closing(sql, at, char))
    if char in _CURLY_ENDS:
        end = sql.find(_CURLY_ENDS[char], at + 1)
        kind: Kind = "string" if char == "‘" else "quoted"  # noqa: RUF001 - see _CURLY_ENDS
        return _make(kind, sql, at, len(sql) if end < 0 else end + 1)
    if char == "$" and (tag := _HEREDOC.match(sql, at)):
        end = sql.find(tag[0], tag.end())
        return _make("string", sql, at, len(sql) if end < 0 else end + len(tag[0]))
    if word := _WORD.match(sql, at):
        return _make("word", sql, at, word.end())
    return _make("other", sql, at, at + 1)


def _make(kind: Kind, sql: str, start: int, end: int) -> Token:
    return Token(kind, sql[start:end], start, end)


def _closing(sql: str, at: int, quote: str) -> int:
    index = at + 1
    while index < len(sql):
        if sql[index] == "\\":
            index += 2
        elif sql[index] != quote:
            index += 1
        elif sql.startswith(quote, index + 1):
            index += 2
        else:
            return index + 1
    return len(sql)


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        escaped = match[1]
        return chr(int(escaped[1:], 16)) if len(escaped) == 3 else escaped

    return _ESCAPE.sub(replace, text.replace("``", "`").replace('""', '"'))
