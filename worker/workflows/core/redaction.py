"""Takes secrets out of texts and values, in the spellings that a request of ours can give them."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from html import escape
from typing import Final
from urllib.parse import quote, quote_plus

import orjson

from sluice.workflows.core.input_problem import MASK

MIN_CHARS: Final = 4
"""A shorter value is no secret, and taking it out would leave nothing to read."""


def _spellings(value: str) -> frozenset[str]:
    """Return a value as it is, in an address, in JSON, in HTML, and in Base64."""
    raw = value.encode()
    codes = {code.decode() for code in (b64encode(raw), urlsafe_b64encode(raw))}
    codes |= {code.rstrip("=") for code in codes}
    texts = {value, *codes}
    texts |= {quote(one, safe="") for one in texts} | {quote_plus(one) for one in texts}
    texts |= {quote(value), escape(value), escape(value, quote=False)}
    in_json = orjson.dumps(value).decode()[1:-1]
    texts |= {in_json, in_json.replace("/", "\\/")}
    return frozenset(one for one in texts if len(one) >= MIN_CHARS)


def spellings_of(values: Iterable[str]) -> tuple[str, ...]:
    """Return every spelling of some secrets, the longest first."""
    found = {one for value in values if len(value) >= MIN_CHARS for one in _spellings(value)}
    return tuple(sorted(found, key=len, reverse=True))


def redacted(text: str, values: Iterable[str]) -> str:
    """Return a text with ``***`` in the place of each secret.

    Args:
        text: For people.
        values: The secrets; those of fewer than ``MIN_CHARS`` characters stay.
    """
    return _masked(text, spellings_of(values))


def redacted_value(value: object, values: Iterable[str]) -> object:
    """Return a JSON value with the same done to every text in it, names of members too."""
    return _masked_value(value, spellings_of(values))


def _masked(text: str, spellings: tuple[str, ...]) -> str:
    for spelling in spellings:
        text = text.replace(spelling, MASK)
    return text


def _masked_value(value: object, spellings: tuple[str, ...]) -> object:
    match value:
        case str():
            return _masked(value, spellings)
        case list():
            return [_masked_value(one, spellings) for one in value]
        case dict():
            return {
                _masked(name, spellings): _masked_value(one, spellings)
                for name, one in value.items()
            }
        case _:
            return value
