"""Requests as a source sees them."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

import orjson
from multidict import CIMultiDict

from gateway.core.source import Arrival, Parsed, Source
from sluice.core.event import Candidate
from sluice.core.tenant import ApiKey, Directory, Tenant, digest_of

SECRET_KEY: Final = "sk_live_one"
PUBLIC_KEY: Final = "pk_live_one"
NOW: Final = 1_777_127_520.0
TENANT: Final = Tenant(
    slug="acme",
    api_keys=(
        ApiKey(digest=digest_of(SECRET_KEY), kind="secret"),
        ApiKey(digest=digest_of(PUBLIC_KEY), kind="public"),
    ),
)
DIRECTORY: Final = Directory({"acme": TENANT})


def arrival(
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    tail: str = "",
    now: float = NOW,
) -> Arrival:
    """A request; bytes are its body as they are, what is else is encoded; None: not read yet."""
    text = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
    given = CIMultiDict(headers or {})
    return Arrival(
        path=path,
        headers=given,
        authorizations=given.getall("Authorization", ()),
        now=now,
        tail=tail,
        body=text,
    )


def basic(key: str) -> dict[str, str]:
    """Basic authentication as Segment's libraries do it."""
    return {"Authorization": "Basic " + b64encode(f"{key}:".encode()).decode()}


def parsed(source: Source, given: Arrival, tenant: Tenant = TENANT) -> Parsed:
    """What a body holds; the body as a whole must be good."""
    found = source.parse(given, tenant)
    assert isinstance(found, Parsed), found
    return found


def only(source: Source, given: Arrival) -> Candidate:
    """The one event of a body."""
    found = parsed(source, given)
    assert not found.rejected, found.rejected
    (candidate,) = found.candidates
    return candidate
