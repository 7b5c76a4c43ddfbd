"""Requests: from a step's values to bytes, with every value encoded for its place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

import orjson

from worker.workflows.core.openapi import Declared
from worker.workflows.core.templates import as_text

MAX_URL_CHARS: Final = 16_000
MAX_HEADER_CHARS: Final = 8_000
MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_REDIRECTS: Final = 5
_BANNED_IN_HEADER: Final = re.compile(r"[\r\n\x00]").search
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""What the connection sets; a document that sets it could smuggle a request."""
_FOR_EVERYONE: Final = frozenset({"accept", "accept-language", "user-agent"})
"""Headers that go to another origin; any other may hold credentials of the first."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FORM: Final = "application/x-www-form-urlencoded"
_DELIMITERS: Final = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request in parts, as adapters see it: encoded is only what is in ``path``."""

    method: str
    base: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    """Encoded pairs of name and value."""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str | None = None
    body: object = None
    """JSON value, or text; meant only with a ``content_type``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What goes over the wire. Its text holds secrets: it is not shown, logged or stored."""

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes | None = field(repr=False)


class UnsendableError(ValueError):
    """A request cannot be sent as it is; the words hold no value."""


def encode(call: Call) -> Request:
    """Return the bytes of a call.

    Raises:
        UnsendableError: A header holds a line break, or something is above its bound.
    """
    query = "&".join(f"{name}={value}" for name, value in call.query)
    url = f"{call.base}{call.path}" + (f"?{query}" if query else "")
    if len(url) > MAX_URL_CHARS:
        raise UnsendableError(f"its address is longer than {MAX_URL_CHARS:,} characters")
    headers = list(call.headers)
    body = None
    if call.content_type is not None:
        body = _encoded_body(call.body, call.content_type)
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", call.content_type))
    for name, value in headers:
        _check_header(name, value)
    return Request(method=call.method, url=url, headers=tuple(headers), body=body)


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME(name) or name.lower() in _OWN_HEADERS:
        raise UnsendableError(f"the header {name[:50]!r} may not be set")
    if _BANNED_IN_HEADER(value):
        raise UnsendableError(f"the header {name} holds a line break")
    if len(value) > MAX_HEADER_CHARS:
        raise UnsendableError(f"the header {name} is longer than {MAX_HEADER_CHARS:,} characters")


def _encoded_body(body: object, content_type: str) -> bytes:
    media_type = content_type.partition(";")[0].strip().lower()
    if isinstance(body, str):
        encoded = body.encode()
    elif media_type == _FORM and isinstance(body, dict):
        pairs = [(name, as_text(value)) for name, value in body.items()]
        encoded = urlencode(pairs).encode()
    elif is_json(media_type):
        encoded = _dumped(body)
    else:
        raise UnsendableError(f"a body of {media_type[:100]} must be text")
    if len(encoded) > MAX_BODY_BYTES:
        raise UnsendableError(f"its body is longer than {MAX_BODY_BYTES:,} bytes")
    return encoded


def _dumped(body: object) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise UnsendableError("its body is nested too deep") from error


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON."""
    plain = media_type.partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json")


def encode_path(template: str, values: Mapping[str, object]) -> str:
    """Return a path with each variable as one encoded segment."""
    for name, value in values.items():
        text = quote(as_text(value), safe="")
        # A segment of dots would change the path that the server sees.
        text = text.replace(".", "%2E") if text in (".", "..") else text
        template = template.replace(f"{{{name}}}", text)
    return template


def encode_query(
    name: str, value: object, declared: Declared | None
) -> tuple[tuple[str, str], ...]:
    """Return the pairs of one query parameter (rule K13: ``style`` and ``explode`` for arrays).

    A parameter that is not declared is written as OpenAPI does without a style: name by name.
    """
    key = quote(name, safe="")
    if not isinstance(value, list):
        return ((key, quote(as_text(value), safe="")),)
    parts = [quote(as_text(item), safe="") for item in value]
    if declared is None or declared.explode:
        return tuple((key, part) for part in parts)
    return ((key, _DELIMITERS.get(declared.style, ",").join(parts)),)


def redirected(request: Request, location: str) -> Request | str:
    """Return the request that a redirect asks for, or why it is not followed.

    Only what reads is followed; credentials stay behind when the origin changes, and so does a
    body. Whether the new address may be reached at all (loopback, private networks) is for the one
    who connects.
    """
    if request.method not in ("GET", "HEAD"):
        return f"a {request.method} is not redirected"
    try:
        url = urljoin(request.url, location)
        old, new = urlsplit(request.url), urlsplit(url)
    except ValueError:  # brackets that do not match
        return "the new address is none"
    if len(url) > MAX_URL_CHARS:
        return f"the new address is longer than {MAX_URL_CHARS:,} characters"
    if new.scheme not in ("http", "https") or not new.hostname or new.username is not None:
        return "the new address is not http(s)"
    if (old.scheme, new.scheme) == ("https", "http"):
        return "the new address is not encrypted"
    if is_same_origin(request.url, url):
        return replace(request, url=url)
    headers = tuple(one for one in request.headers if one[0].lower() in _FOR_EVERYONE)
    return replace(request, url=url, headers=headers, body=None)


def is_same_origin(one: str, other: str) -> bool:
    """Whether two addresses have scheme, host and port in common, letter by letter."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]
