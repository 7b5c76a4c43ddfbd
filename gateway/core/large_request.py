"""Which large requests may be refused by their head alone, with the connection going on.

That is sound only where the head says plainly where the body ends: after a head that another server
could read in another way, the bytes behind it must not be taken for a request. So this reads a
narrow part of what HTTP allows, and leaves all else to the parser.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

_HEAD: Final = re.compile(
    rb"POST (/api/ingestion/track(?:/batch)?)/? HTTP/1\.1((?:\r\n[A-Za-z0-9-]+:[\x20-\x7e]*+)++)"
)
"""Each text can be read in one way only, or a head that fails at its end would be tried in all."""
_FIELD: Final = re.compile(rb"\r\n([A-Za-z0-9-]+):([\x20-\x7e]*)")
_NOT_PLAIN: Final = frozenset(
    {b"expect", b"origin", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""They change what follows the head, or who may read the answer."""
_ONCE: Final = (b"connection", b"x-request-id")
"""Who says them twice may mean either."""
MAX_SHAPE_BYTES: Final = 8_192
"""A longer head is the parser's, which has bounds of its own."""
KEPT_SHAPES: Final = 256
"""Many connections of a client say the same head. At most 2 MiB in all."""


class LargeRequest(NamedTuple):
    """What has to be known of a head to refuse its request, or to note that it was cut off."""

    path: str
    """Without the trailing slash."""
    request_id: str | None
    """The client's own, as it was sent."""
    authorizations: tuple[str, ...] = ()
    """As they were sent."""


def read_large(shape: bytes) -> LargeRequest | None:
    """Return what a head's shape (``request_shape``) asks for; None: only the parser may tell."""
    return _read(shape) if len(shape) <= MAX_SHAPE_BYTES else None


@lru_cache(maxsize=KEPT_SHAPES)
def _read(shape: bytes) -> LargeRequest | None:
    head = _HEAD.fullmatch(shape)
    if head is None:
        return None
    fields = [(name.lower(), value.strip()) for name, value in _FIELD.findall(head[2])]
    names = [name for name, _ in fields]
    if names.count(b"content-length") != 1 or names.count(b"host") != 1:
        return None
    if not _NOT_PLAIN.isdisjoint(names) or any(names.count(name) > 1 for name in _ONCE):
        return None
    values = dict(fields)
    if values.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    request_id = values.get(b"x-request-id")
    return LargeRequest(
        head[1].decode(),
        None if request_id is None else request_id.decode(),
        tuple(value.decode() for name, value in fields if name == b"authorization"),
    )
