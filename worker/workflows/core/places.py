"""Where descriptions lie and where requests go: rules about addresses, decided without looking.

Rule K8: a source lies beside its document or is fetched from a host on a list. Rule K9: which of
the servers of a description is meant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from worker.workflows.core.openapi import Operation, Server

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
OUTSIDE: Final = "lies outside of the folder of workflows"
NOT_FETCHED: Final = "is on the web, and nothing is fetched: keep a copy beside the document"
AMPLITUDE: Final = re.compile(r"([a-z0-9-]+\.)*amplitude\.com").fullmatch


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file. Its real path must still be below a root: a link may lead out of it."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A document to fetch."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where sources may come from."""

    roots: tuple[PurePosixPath, ...]
    """Real paths of folders."""
    hosts: frozenset[str] = frozenset()
    """None: nothing is fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """What the tenant and the operator say of base addresses."""

    region: str = "us"
    amplitude_url: str | None = None
    """Takes the place of the origin of Amplitude's servers."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of server addresses; they come before the defaults of a description."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """Base addresses by the name of the source; they come before everything."""


def source_place(
    url: str, document: PurePosixPath, bounds: Bounds, self_url: str | None = None
) -> LocalSource | RemoteSource | str:
    """Return where a source lies, or why it may not be read.

    Args:
        url: As the document has it.
        document: The real path of the document's own file.
        bounds: Where sources may come from.
        self_url: The document's ``$self``; an absolute one is the base of relative addresses.
    """
    try:
        if self_url is not None and urlsplit(self_url).scheme:
            url = urljoin(self_url, url)
        parts = urlsplit(url)
    except ValueError:  # brackets that do not match
        return "is no address"
    if parts.scheme in ("http", "https"):
        if not bounds.hosts:
            return NOT_FETCHED
        is_listed = parts.hostname in bounds.hosts and parts.username is None
        return RemoteSource(url) if is_listed else "is on a host that is not on the list"
    if parts.scheme or parts.netloc or parts.query:
        return "must be a file beside the document, or http(s)"
    path = PurePosixPath(normpath(document.parent / unquote(parts.path)))
    if not is_below(path, bounds.roots):
        return OUTSIDE
    return LocalSource(path)


def is_below(path: PurePosixPath, roots: tuple[PurePosixPath, ...]) -> bool:
    """Whether a path without links and without ``..`` lies in one of the folders."""
    return path.is_absolute() and any(path.is_relative_to(root) for root in roots)


def base_url(operation: Operation, addresses: Addresses, source_url: str) -> str | None:
    """Return the base address of an operation without a slash at its end (rule K9).

    A relative one is relative to the address of the description, if that is one on the web.
    """
    url = addresses.servers.get(operation.source)
    try:
        if url is None and operation.servers:
            url = _filled(_of_region(operation.servers, addresses.region), addresses.variables)
        parts = urlsplit(urljoin(source_url, url or "/"))
    except ValueError:  # brackets that do not match
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        return None
    if addresses.amplitude_url is not None and AMPLITUDE(parts.hostname):
        origin = urlsplit(addresses.amplitude_url)
        parts = parts._replace(scheme=origin.scheme, netloc=origin.netloc)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _of_region(servers: tuple[Server, ...], region: str) -> Server:
    if region == "eu":
        for server in servers:
            if "eu" in (urlsplit(server.url).hostname or "").split("."):
                return server
    return servers[0]


def _filled(server: Server, variables: Mapping[str, str]) -> str:
    known = {**server.variables, **variables}
    return _VARIABLE.sub(lambda match: known.get(match[1], match[0]), server.url)
