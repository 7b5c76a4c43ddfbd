"""Hypothesis strategies for JSON as text, with all the liberties that RFC 8259 allows a writer.

Libraries write one text for a value; clients write many. What Sluice stores must be the client's.
"""

from collections.abc import Callable
from typing import Final

import orjson
from hypothesis import strategies as st

MAX_LEVELS: Final = 32

NUMBERS: Final = (
    "0", "-0", "-0.0", "0.10", "1e400", "-1E-400", "1E+2", "18446744073709551615",
    "18446744073709551616", "-9223372036854775809", "3.141592653589793238462643383279502884",
    "123456789012345678901234567890" * 34, "1.7976931348623159e308", "0.1e1", "1e-7",
)  # fmt: skip
SPACES: Final = ("", " ", "\n", "\t", "\r\n", "  \n  ")
ESCAPES: Final = (
    r"\"", r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u0000", r"\u001f", r"\u0041",
    r"\u2028", r"\u2029", r"\uFFFD", r"\ud83d\ude00", r"\uD834\uDD1E", r"\u00e9", r"\u005c",
)  # fmt: skip
WORDS: Final = (
    "'; DROP TABLE events; --", "${jndi:ldap://x}", "<script>", "{tenant:String}", "\\N",
    "a\u2028b", "\u007f", "\ufeff", "e\u0301", "\u202e", "商品", "😀", "\x80", "{", "[", "}", "]",
    "//", "/* x */",
)  # fmt: skip

_plain = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=8
)
_raw_words = st.sampled_from([orjson.dumps(word).decode()[1:-1] for word in WORDS])


def strings() -> st.SearchStrategy[str]:
    """Return texts of JSON strings: plain characters, escapes, and what trips careless code."""
    piece = st.one_of(_plain, st.sampled_from(ESCAPES), _raw_words)
    return st.lists(piece, max_size=4).map(lambda pieces: '"' + "".join(pieces) + '"')


def numbers() -> st.SearchStrategy[str]:
    """Return texts of JSON numbers, also such as no float or 64-bit integer can hold."""
    return st.one_of(
        st.sampled_from(NUMBERS),
        st.integers().map(str),
        st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?\Z"),
    )


def values() -> st.SearchStrategy[str]:
    """Return texts of any JSON value."""
    scalars = st.one_of(strings(), numbers(), st.sampled_from(["true", "false", "null"]))
    return st.recursive(scalars, _containers, max_leaves=8)


def payloads() -> st.SearchStrategy[str]:
    """Return texts of JSON objects, up to 32 levels deep, with equal keys now and then."""
    return st.one_of(_objects(values()), st.integers(1, MAX_LEVELS).map(_nested))


def _containers(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(_lists(children), _objects(children))


def _lists(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return _joined(st.lists(children, max_size=4), "[", "]")


def _objects(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = st.one_of(strings(), st.sampled_from(['"a"', '""', '"payload"', '"user_id"']))
    member = st.tuples(keys, st.sampled_from(SPACES), children).map(
        lambda parts: f"{parts[0]}{parts[1]}:{parts[1]}{parts[2]}"
    )
    return _joined(st.lists(member, max_size=4), "{", "}")


def _joined(
    parts: st.SearchStrategy[list[str]], opening: str, closing: str
) -> st.SearchStrategy[str]:
    join: Callable[[tuple[list[str], str]], str] = lambda drawn: (  # noqa: E731
        opening + drawn[1] + f"{drawn[1]},".join(drawn[0]) + drawn[1] + closing
    )
    return st.tuples(parts, st.sampled_from(SPACES)).map(join)


def _nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)
