"""What is wrong with a document, and where: every refusal names its line."""

from collections.abc import Mapping
from typing import Final

import msgspec

Path = tuple[str | int, ...]
"""Where a value stands in a document: member names and positions from the root."""
Mark = tuple[int, int]
"""Line and column, both counted from one."""

MAX_REFUSALS: Final = 100
"""Of one document; more say nothing new."""


class Refusal(msgspec.Struct, frozen=True):
    """One reason why a document cannot be run, or should be looked at again."""

    line: int
    column: int
    path: str
    """JSON Pointer."""
    reason: str
    rule: str
    """A stable name of the rule, such as ``goto-unknown``."""

    def __str__(self) -> str:
        return f"{self.line}:{self.column} {self.reason} [{self.rule}] at {self.path or '/'}"


def pointer_of(path: Path) -> str:
    """Return a path as JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


class Problems:
    """Refusals as they are found, each at the line of the value that it is about."""

    def __init__(self, marks: Mapping[Path, Mark]) -> None:
        self.refusals: list[Refusal] = []
        self.warnings: list[Refusal] = []
        self._marks = marks

    def refuse(self, path: Path, reason: str, rule: str) -> None:
        """Note that the document cannot be run."""
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append(self._at(path, reason, rule))

    def warn(self, path: Path, reason: str, rule: str) -> None:
        """Note what is legal and probably not meant."""
        if len(self.warnings) < MAX_REFUSALS:
            self.warnings.append(self._at(path, reason, rule))

    def _at(self, path: Path, reason: str, rule: str) -> Refusal:
        near = path
        while near and near not in self._marks:
            near = near[:-1]
        line, column = self._marks.get(near, (1, 1))
        return Refusal(line, column, pointer_of(path), reason, rule)
