"""How deep JSON is nested, without parsing it."""

import re
from itertools import accumulate
from typing import Final

_KEPT: Final = b'{}[]"'
_DROPPED: Final = bytes(set(range(256)) - set(_KEPT))
_STRING: Final = re.compile(rb'"[^"]*"')
_STEP: Final = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}


def may_be_deeper(text: bytes, levels: int) -> bool:
    """Whether the nesting could be over ``levels``: cheap, and hardly ever true in vain."""
    return text.count(b"{") + text.count(b"[") > levels


def depth_of(text: bytes) -> int:
    """Return how many objects and arrays of a valid JSON text lie inside each other at most."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    bare = text.translate(None, _DROPPED)
    # Two quotes side by side are an empty string or the seam of two; without them every bracket
    # stands inside or outside of a string as before.
    bare = bare.replace(b'""', b"")
    if b'"' in bare:
        bare = _STRING.sub(b"", bare)
    return max(accumulate(map(_STEP.__getitem__, bare)), default=0)
