"""What this server must know of a statement before the engine sees it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from sluice.warehouse.server.lexer import Token, tokens

Kind = Literal["read", "insert", "write", "session"]

READ_WORDS: Final = frozenset(
    ("SELECT", "WITH", "FROM", "(", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK")
)
SELECT_WORDS: Final = frozenset(("SELECT", "WITH", "FROM", "("))
"""What a statement begins with whose result the engine can give part by part."""
SESSION_WORDS: Final = frozenset(("SET", "USE"))
STREAMED_FORMATS: Final = frozenset(
    (
        "NATIVE",
        "TABSEPARATED",
        "TSV",
        "TABSEPARATEDRAW",
        "TSVRAW",
        "RAW",
        "CSV",
        "JSONEACHROW",
        "JSONLINES",
        "NDJSON",
        "JSONSTRINGSEACHROW",
        "JSONCOMPACTEACHROW",
        "JSONCOMPACTSTRINGSEACHROW",
        "ROWBINARY",
        "RAWBLOB",
        "LINEASSTRING",
    )
)
"""Formats whose parts may be joined: nothing stands before the first row or behind the last."""

CONTENT_TYPES: Final[dict[str, str]] = {
    "TABSEPARATED": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TABSEPARATEDRAW": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWITHNAMES": "text/csv; charset=UTF-8; header=present",
    "CSVWITHNAMESANDTYPES": "text/csv; charset=UTF-8; header=present",
    "XML": "application/xml; charset=UTF-8",
    "JSONEACHROW": "application/x-ndjson; charset=UTF-8",
    "NATIVE": "application/octet-stream",
    "ROWBINARY": "application/octet-stream",
    "ROWBINARYWITHNAMES": "application/octet-stream",
    "ROWBINARYWITHNAMESANDTYPES": "application/octet-stream",
    "PARQUET": "application/octet-stream",
    "ARROW": "application/octet-stream",
    "ARROWSTREAM": "application/octet-stream",
    "ORC": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT whose data follows: the statement without FORMAT, the format, where data begins."""

    sql: str
    format: str
    data_at: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What was found out about a statement that carries no data."""

    sql: str
    kind: Kind
    format: str | None
    """The format that the text itself asks for."""
    is_select: bool = False


def content_type(output_format: str) -> str:
    """Return the Content-Type that ClickHouse sends with a format."""
    name = output_format.upper()
    if name.startswith("JSON"):
        return CONTENT_TYPES.get(name, "application/json; charset=UTF-8")
    if name.startswith(("TABSEPARATED", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    return CONTENT_TYPES.get(name, "text/plain; charset=UTF-8")


def read_statement(sql: str) -> Statement:
    """Return what the text says of itself; the engine judges whether it is valid."""
    found = list(tokens(sql))
    while found and found[-1].text == ";":
        sql = sql[: found[-1].start]
        found.pop()
    if not found:
        return Statement(sql, "read", None)
    first = found[0].upper or found[0].text
    return Statement(sql, _kind(first), _format(found), first in SELECT_WORDS)


def _kind(word: str) -> Kind:
    if word in SESSION_WORDS:
        return "session"
    if word == "INSERT":
        return "insert"
    return "read" if word in READ_WORDS else "write"


def _format(found: list[Token]) -> str | None:
    depth = 0
    for index, token in enumerate(found[:-1]):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.upper == "FORMAT" and found[index + 1].kind == "word" and index:
            follower = found[index + 2] if index + 2 < len(found) else None
            if follower is None or follower.upper in ("SETTINGS", "INTO"):
                return found[index + 1].text
    return None


def find_insert(text: str, *, default_format: str | None, is_whole: bool) -> Insert | None:
    """Return where the data of an INSERT begins, or None if ``text`` carries none.

    Args:
        text: The beginning of the query and body.
        default_format: What the request asks for where the statement names no format.
        is_whole: Whether nothing comes after ``text``.

    Returns:
        None for anything but an INSERT with data, and for one that is cut off before its data.
    """
    found = tokens(text)
    if (first := next(found, None)) is None or first.upper != "INSERT":
        return None
    depth = 0
    for token in found:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth:
            continue
        match token.upper:
            case "SELECT" | "WITH" | "WATCH" | "FROM":
                return None
            case "VALUES":
                return Insert(text[: token.start], "Values", token.end)
            case "FORMAT":
                return _insert_format(text, token, found, is_whole=is_whole)
            case _:
                pass
    if not is_whole:
        return None
    return Insert(text, default_format or "Values", len(text))


def _insert_format(
    text: str, word: Token, found: Iterable[Token], *, is_whole: bool
) -> Insert | None:
    name = next(iter(found), None)
    if name is None or name.kind != "word" or (name.end == len(text) and not is_whole):
        return None
    at = name.end
    while at < len(text) and text[at] in " \t\f":
        at += 1
    at += text.startswith("\r", at)
    at += text.startswith("\n", at)
    return Insert(text[: word.start], name.text, at)
