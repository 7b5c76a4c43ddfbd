"""Where descriptions lie (rule K8): beside their document, or on a host of a list.

It is decided without looking.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

OUTSIDE: Final = "lies outside of the folder of workflows"
NOT_FETCHED: Final = "is on the web, and nothing is fetched: keep a copy beside the document"


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
