"""What Amplitude takes of one event's properties, and how a payload is cut to fit.

The rules are its reference, "Event fields" and "Our mapping": strings have at most 1024 characters,
nesting at most 40 levels, objects at most 1024 members. Only what is over a limit is touched:
everything else stays the client's own text, so that no number changes its digits. Names of members
are not values and are left as they are.
"""

from typing import Final

import msgspec

from sluice.core.depth import depth_of

MAX_CHARS: Final = 1024
MAX_LEVELS: Final = 40
"""Objects and arrays inside each other. Arrays are counted too, which Amplitude may not do: an
event that is refused for its depth costs more than a subtree as text."""
MAX_MEMBERS: Final = 1024
"""Of one object: the official SDKs drop larger ones whole, Sluice keeps the first."""

Members = dict[str, msgspec.Raw]
MEMBERS: Final = msgspec.json.Decoder(Members)
"""The members of an object as text; of equal names the last one counts, as for most readers."""
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_QUOTES: Final = 2
_BLOCK: Final = MAX_CHARS // 2


def cut(text: bytes, levels: int = MAX_LEVELS) -> tuple[bytes, int]:
    """Return the text of a JSON value as it fits, and how many values of it had to be cut.

    Args:
        text: Valid JSON without white space around it.
        levels: How many objects and arrays may lie inside each other.

    Raises:
        msgspec.DecodeError: The text is not JSON.
    """
    if surely_fits(text, levels):
        return text, 0
    if text.startswith(b'"'):
        return _cut_string(text)
    if not text.startswith((b"{", b"[")):
        return text, 0
    if levels == 0:
        return msgspec.json.encode(text.decode()[:MAX_CHARS]), 1
    if text.startswith(b"["):
        items = [cut(bytes(item), levels - 1) for item in _ITEMS.decode(text)]
        cuts = sum(count for _, count in items)
        fitting = b"[" + b",".join([item for item, _ in items]) + b"]"
        return (fitting, cuts) if cuts else (text, 0)
    return _cut_object(text, levels)


def surely_fits(text: bytes, levels: int = MAX_LEVELS) -> bool:
    """Whether nothing has to be cut: never true in vain, true for nearly all, and cheap."""
    # Counting takes several times as long as finding that there is nothing to count.
    is_flat = levels > 0 and text.find(b"{", 1) < 0 and text.find(b"[") < 0
    if not is_flat and text.count(b"{") + text.count(b"[") > levels and depth_of(text) > levels:
        return False
    if len(text) <= MAX_CHARS:
        return True
    return text.count(b":") <= MAX_MEMBERS and not _has_long_string(text)


def _has_long_string(text: bytes) -> bool:
    if b"\\" in text:  # of the same length, but every quote that is left begins or ends a string
        text = text.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    # A long string would be a long way without a quote: also over a whole block.
    starts = range(0, len(text) - _BLOCK + 1, _BLOCK)
    if all(text.find(b'"', start, start + _BLOCK) >= 0 for start in starts):
        return False
    return max(map(len, text.split(b'"')[1::2]), default=0) > MAX_CHARS


def _cut_string(text: bytes) -> tuple[bytes, int]:
    if len(text) <= MAX_CHARS + _QUOTES:
        return text, 0
    value = _TEXT.decode(text)
    if len(value) <= MAX_CHARS:
        return text, 0
    return msgspec.json.encode(value[:MAX_CHARS]), 1


def _cut_object(text: bytes, levels: int) -> tuple[bytes, int]:
    members = MEMBERS.decode(text)
    cuts = 0
    kept: Members = {}
    for name, value in members.items():
        if len(kept) == MAX_MEMBERS:
            cuts += 1
            break
        fitting, count = cut(bytes(value), levels - 1)
        kept[name] = msgspec.Raw(fitting)
        cuts += count
    return (msgspec.json.encode(kept), cuts) if cuts else (text, 0)
