"""Documents and their sources, read from files within bounds.

A source is read only if its real path lies below the root (rule K8), which is the folder of the
document unless the caller names another. Nothing is fetched from the web. Files are read and YAML
is parsed on the spot, which takes up to seconds: call it off the event loop.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from errno import EINVAL
from pathlib import Path, PurePath, PurePosixPath
from stat import S_ISREG
from typing import Final

from sluice.workflows.core.document import Document, SourceText, parse
from sluice.workflows.core.places import (
    NOT_FETCHED,
    OUTSIDE,
    Bounds,
    LocalSource,
    is_below,
    source_place,
)
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.core.yaml_text import MAX_DOCUMENT_BYTES, MAX_SOURCE_BYTES
from sluice.workflows.shipped import SHIPPED

MAX_ALL_SOURCES_BYTES: Final = 4 * MAX_SOURCE_BYTES
"""Of one document; a source counts as often as it is named."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A document whose form is right, with what its sources hold."""

    document: Document
    sources: Mapping[str, SourceText]
    """By the name of the source description, as ``plan`` takes them."""
    text: bytes = field(default=b"", repr=False)
    """Of the document itself."""


def shipped_files() -> list[Path]:
    """Return the files of the documents that are part of Sluice, by name."""
    return sorted(SHIPPED.glob("*.arazzo.yaml"))


def open_document(
    file: Path,
    *,
    root: Path | None = None,
    before_read: Callable[[PurePath], None] = lambda _path: None,
) -> Opened | tuple[Refusal, ...]:
    """Return a document with its sources, or why its text is no document.

    A source that may not or cannot be read has the reason in the place of its text; ``plan``
    refuses it at its line.

    Args:
        file: The document.
        root: The folder that sources must lie in; the document's own when there is none.
        before_read: Is told each file just before it is looked for, also one that is not there.

    Raises:
        OSError: The document itself cannot be read.
    """
    before_read(file)
    real = _real(file)
    text = _read(real, MAX_DOCUMENT_BYTES)
    document = parse(text)
    if not isinstance(document, Document):
        return document
    folder = real.parent if root is None else _real(root)
    return Opened(document, _sources(document, real, folder, before_read), text)


def _sources(
    document: Document,
    file: PurePosixPath,
    root: PurePosixPath,
    before_read: Callable[[PurePath], None],
) -> dict[str, SourceText]:
    bounds = Bounds(roots=(root,))
    found: dict[str, SourceText] = {}
    left = MAX_ALL_SOURCES_BYTES
    for source in document.sources:
        if source.type != "openapi":
            continue
        place = source_place(source.url, file, bounds, document.self_url)
        if isinstance(place, LocalSource):
            before_read(place.path)
            text = _source(place.path, bounds)
            left -= len(text)
            if left < 0:
                text = f"makes the sources longer than {MAX_ALL_SOURCES_BYTES:,} bytes together"
            found[source.name] = text
        else:
            found[source.name] = place if isinstance(place, str) else NOT_FETCHED
    return found


def _source(path: PurePosixPath, bounds: Bounds) -> SourceText:
    try:
        real = _real(path)
        return _read(real, MAX_SOURCE_BYTES) if is_below(real, bounds.roots) else OUTSIDE
    except OSError as error:
        return f"leads to a file that cannot be read: {error.strerror}"
    except ValueError:
        return "holds a character that no file name may have"


def _real(path: PurePath) -> PurePosixPath:
    return PurePosixPath(os.path.realpath(path, strict=True))


def _read(path: PurePosixPath, max_bytes: int) -> bytes:
    """Return a file's bytes, or one more than the bound, which the core refuses by its length.

    The path has no links; one that took its place meanwhile is not followed, and a pipe does not
    hold it up.
    """
    with open(path, "rb", opener=_opened) as file:
        if not S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(EINVAL, "It is not a file")
        return file.read(max_bytes + 1)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
