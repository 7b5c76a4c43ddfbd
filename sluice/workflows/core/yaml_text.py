"""YAML 1.2 as JSON values, each with its line; bounded in bytes, depth and number of values.

Aliases count as often as they are used, so a document that explodes is refused while it grows.
A date stays text: JSON has none, and a workflow's ``start`` means what was written.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sluice.workflows.core.refusals import Mark, Path, Refusal, pointer_of

MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_SOURCE_BYTES: Final = 1024 * 1024
"""Reading YAML takes about 12 s for a MiB on one core."""
MAX_VALUES: Final = 50_000
MAX_DEPTH: Final = 64
_MAX_OPEN: Final = 200
"""Brackets open at once, those in text counted too: the reader is quadratic in them."""
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_TAG: Final = "tag:yaml.org,2002:"
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+").fullmatch
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?").fullmatch
_BOOLS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_DIGITS: Final = 300


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document's value, and the mark of everything in it."""

    value: object
    marks: Mapping[Path, Mark]


class _Refused(Exception):  # noqa: N818 - ends the walk, seen only here
    def __init__(self, node: Node, path: Path, reason: str, rule: str) -> None:
        line, column = _mark(node)
        self.refusal = Refusal(line, column, pointer_of(path), reason, rule)


def load(text: bytes, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Loaded | Refusal:
    """Return what a YAML or JSON text holds."""
    if len(text) > max_bytes:
        return Refusal(1, 1, "", f"is longer than {max_bytes:,} bytes", "too-large")
    if _most_open(text) > _MAX_OPEN:
        return Refusal(1, 1, "", f"is nested deeper than {MAX_DEPTH}", "too-deep")
    try:
        node = YAML(typ="safe", pure=True).compose(text.decode())
    except UnicodeDecodeError:
        return Refusal(1, 1, "", "is not UTF-8", "yaml")
    except RecursionError:
        return Refusal(1, 1, "", f"is nested deeper than {MAX_DEPTH}", "too-deep")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        return Refusal(line, column, "", f"is not YAML: {error.problem}", "yaml")
    except YAMLError:
        return Refusal(1, 1, "", "is not YAML: it holds a character that YAML bans", "yaml")
    if node is None:
        return Refusal(1, 1, "", "is empty", "yaml")
    try:
        walk = _Walk()
        return Loaded(walk.value(node, ()), walk.marks)
    except _Refused as refused:
        return refused.refusal


def _most_open(text: bytes) -> int:
    """Return how many brackets are open at once at most, whatever stands in quotes."""
    most = depth = 0
    for byte in text.translate(None, _NO_BRACKETS):
        depth = depth + 1 if byte in b"[{" else max(depth - 1, 0)
        most = max(most, depth)
    return most


class _Walk:
    """From nodes to values."""

    def __init__(self) -> None:
        self.marks: dict[Path, Mark] = {}
        self._left = MAX_VALUES

    def value(self, node: Node, path: Path) -> object:
        self._left -= 1
        if self._left < 0:
            reason = f"holds more than {MAX_VALUES:,} values, aliases counted as used"
            raise _Refused(node, path, reason, "too-many-values")
        if len(path) > MAX_DEPTH:
            raise _Refused(node, path, f"is nested deeper than {MAX_DEPTH}", "too-deep")
        self.marks.setdefault(path, _mark(node))
        match node:
            case MappingNode():
                return self._object(node, path)
            case SequenceNode():
                return [self.value(item, (*path, at)) for at, item in enumerate(node.value)]
            case _:
                return _scalar(node, path)

    def _object(self, node: MappingNode, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode) or key.tag == f"{_TAG}merge":
                raise _Refused(key, path, "has a member whose name is not text", "member-name")
            if key.value in found:
                raise _Refused(key, (*path, key.value), "stands here twice", "duplicate-member")
            self.marks[(*path, key.value)] = _mark(key)
            found[key.value] = self.value(value, (*path, key.value))
        return found


def _mark(node: Node) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _scalar(node: Node, path: Path) -> object:
    text: str = node.value
    match str(node.tag).removeprefix(_TAG):
        case "str" | "timestamp":
            return text
        case "null":
            return None
        case "bool":
            return _BOOLS.get(text, text)
        case "int":
            return _whole(text)
        case "float":
            return float(text) if _FLOAT(text) and len(text) < _MAX_DIGITS else text
        case _:
            raise _Refused(node, path, "has a tag that JSON has no value for", "yaml-tag")


def _whole(text: str) -> object:
    if not _INT(text) or len(text) > _MAX_DIGITS:
        return text
    number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return number if -(1 << 63) <= number < 1 << 63 else float(number)
