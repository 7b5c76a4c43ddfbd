"""The members that each object of an Arazzo document may and must have, as a table.

Written from the specifications 1.0.1 and 1.1.0 ("Fixed Fields" of each object). Members that begin
with ``x-`` are extensions and are left alone, except in reusable objects.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sluice.workflows.core.refusals import Path, Problems

NAME: Final = r"[a-zA-Z0-9.\-_]+"
STRICT_NAME: Final = r"[A-Za-z0-9_\-]+"


@dataclass(frozen=True, slots=True)
class Text:
    """A string, perhaps of a form or one of a few words."""

    pattern: str = r"(?s).*"
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is not negative."""

    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array."""

    item: "Kind"
    is_empty_allowed: bool = True


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object whose member names the author chooses."""

    value: "Kind"
    pattern: str = NAME


@dataclass(frozen=True, slots=True)
class Of:
    """An object of the table below."""

    name: str


@dataclass(frozen=True, slots=True)
class TextOr:
    """A string, or an object of the table below."""

    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OrReusable:
    """An object of the table below, or a reference to one in ``components``."""

    name: str


Kind = Text | Number | Anything | ListOf | MapOf | Of | TextOr | OrReusable


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object."""

    kind: Kind
    is_required: bool = False
    since: str = "1.0"


def _required(kind: Kind) -> Member:
    return Member(kind, is_required=True)


def _optional(kind: Kind) -> Member:
    return Member(kind)


def _later(kind: Kind) -> Member:
    return Member(kind, since="1.1")


_TEXT: Final = Text()
_ANY: Final = Anything()
_TEXTS: Final = ListOf(_TEXT)
_CRITERIA: Final = ListOf(Of("criterion"))
_OUTPUTS: Final = MapOf(TextOr("selector"))
_ACTION: Final = {
    "name": _required(_TEXT),
    "workflowId": _optional(_TEXT),
    "stepId": _optional(_TEXT),
    "parameters": _later(ListOf(OrReusable("parameter"))),
    "criteria": _optional(_CRITERIA),
}
SELECTORS: Final = ("jsonpointer", "jsonpath", "xpath")

OBJECTS: Final[Mapping[str, Mapping[str, Member]]] = {
    "document": {
        "arazzo": _required(Text(r"1\.[01]\.\d+(-.+)?")),
        "$self": _later(Text(r"[^#]*")),
        "info": _required(Of("info")),
        "sourceDescriptions": _required(ListOf(Of("source description"), is_empty_allowed=False)),
        "workflows": _required(ListOf(Of("workflow"), is_empty_allowed=False)),
        "components": _optional(Of("components")),
    },
    "info": {
        "title": _required(_TEXT),
        "version": _required(_TEXT),
        "summary": _optional(_TEXT),
        "description": _optional(_TEXT),
    },
    "source description": {
        "name": _required(Text(STRICT_NAME)),
        "url": _required(_TEXT),
        "type": _optional(Text(words=("openapi", "arazzo", "asyncapi"))),
    },
    "workflow": {
        "workflowId": _required(Text(STRICT_NAME)),
        "summary": _optional(_TEXT),
        "description": _optional(_TEXT),
        "inputs": _optional(_ANY),
        "dependsOn": _optional(_TEXTS),
        "steps": _required(ListOf(Of("step"), is_empty_allowed=False)),
        "successActions": _optional(ListOf(OrReusable("success action"))),
        "failureActions": _optional(ListOf(OrReusable("failure action"))),
        "outputs": _optional(_OUTPUTS),
        "parameters": _optional(ListOf(OrReusable("parameter"))),
    },
    "step": {
        "stepId": _required(Text(STRICT_NAME)),
        "description": _optional(_TEXT),
        "operationId": _optional(_TEXT),
        "operationPath": _optional(_TEXT),
        "workflowId": _optional(_TEXT),
        "channelPath": _later(_TEXT),
        "correlationId": _later(_ANY),
        "action": _later(Text(words=("send", "receive"))),
        "timeout": _later(Number(is_whole=True)),
        "dependsOn": _later(_TEXTS),
        "parameters": _optional(ListOf(OrReusable("parameter"))),
        "requestBody": _optional(Of("request body")),
        "successCriteria": _optional(ListOf(Of("criterion"), is_empty_allowed=False)),
        "onSuccess": _optional(ListOf(OrReusable("success action"))),
        "onFailure": _optional(ListOf(OrReusable("failure action"))),
        "outputs": _optional(_OUTPUTS),
    },
    "parameter": {
        "name": _required(_TEXT),
        "in": _optional(Text(words=("path", "query", "header", "cookie", "querystring"))),
        "value": _required(_ANY),
    },
    "request body": {
        "contentType": _optional(_TEXT),
        "payload": _optional(_ANY),
        "replacements": _optional(ListOf(Of("payload replacement"))),
    },
    "payload replacement": {
        "target": _required(_TEXT),
        "targetSelectorType": _later(TextOr("expression type", SELECTORS)),
        "value": _required(_ANY),
    },
    "criterion": {
        "context": _optional(_TEXT),
        "condition": _required(_TEXT),
        "type": _optional(TextOr("expression type", ("simple", "regex", "jsonpath", "xpath"))),
    },
    "expression type": {
        "type": _required(Text(words=SELECTORS)),
        "version": _required(_TEXT),
    },
    "selector": {
        "context": _required(_TEXT),
        "selector": _required(_TEXT),
        "type": _required(TextOr("expression type", SELECTORS)),
    },
    "success action": {**_ACTION, "type": _required(Text(words=("end", "goto")))},
    "failure action": {
        **_ACTION,
        "type": _required(Text(words=("end", "goto", "retry"))),
        "retryAfter": _optional(Number()),
        "retryLimit": _optional(Number(is_whole=True)),
    },
    "reusable": {"reference": _required(_TEXT), "value": _optional(_ANY)},
    "components": {
        "inputs": _optional(MapOf(_ANY)),
        "parameters": _optional(MapOf(Of("parameter"))),
        "successActions": _optional(MapOf(Of("success action"))),
        "failureActions": _optional(MapOf(Of("failure action"))),
    },
}
MAX_ITEMS: Final = 500
"""Of any list that is not a payload or a schema."""
_WORDS_OF: Final = {dict: "an object", list: "an array", str: "text", bool: "true or false"}


def check_shape(value: object, problems: Problems) -> None:
    """Refuse whatever in a document is not of the form that the specification gives it."""
    version = value.get("arazzo") if isinstance(value, dict) else None
    is_old = isinstance(version, str) and version.startswith("1.0.")
    _Shapes(problems, "1.0" if is_old else "1.1").check(value, Of("document"), ())


class _Shapes:
    def __init__(self, problems: Problems, version: str) -> None:
        self._problems = problems
        self._version = version

    def check(self, value: object, kind: Kind, path: Path) -> None:
        match kind:
            case Anything():
                return
            case Text():
                self._text(value, kind, path)
            case Number():
                self._number(value, kind, path)
            case ListOf():
                self._list(value, kind, path)
            case MapOf():
                self._map(value, kind, path)
            case TextOr():
                if isinstance(value, dict):
                    self._object(value, kind.name, path)
                else:
                    self._text(value, Text(words=kind.words), path)
            case OrReusable():
                is_reference = isinstance(value, dict) and "reference" in value
                self._object(value, "reusable" if is_reference else kind.name, path)
            case Of():
                self._object(value, kind.name, path)

    def _text(self, value: object, kind: Text, path: Path) -> None:
        if not isinstance(value, str):
            self._problems.refuse(path, f"must be text, not {_what(value)}", "type")
        elif kind.words and value not in kind.words:
            words = ", ".join(kind.words)
            self._problems.refuse(path, f"must be one of {words}", "word-unknown")
        elif not re.fullmatch(kind.pattern, value):
            rule = "version" if path == ("arazzo",) else "form"
            self._problems.refuse(path, f"must have the form {kind.pattern}", rule)

    def _number(self, value: object, kind: Number, path: Path) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value < 0 or (kind.is_whole and not isinstance(value, int)):  # type: ignore[operator]  # a number by the first test
            wanted = "a whole number" if kind.is_whole else "a number"
            self._problems.refuse(path, f"must be {wanted} of at least 0", "type")

    def _list(self, value: object, kind: ListOf, path: Path) -> None:
        if not isinstance(value, list):
            self._problems.refuse(path, f"must be an array, not {_what(value)}", "type")
            return
        if not value and not kind.is_empty_allowed:
            self._problems.refuse(path, "must not be empty", "empty")
        if len(value) > MAX_ITEMS:
            self._problems.refuse(path, f"holds more than {MAX_ITEMS} items", "too-many")
            return
        for at, item in enumerate(value):
            self.check(item, kind.item, (*path, at))
            if item in value[:at]:
                self._problems.refuse((*path, at), "stands twice in this list", "duplicate-item")

    def _map(self, value: object, kind: MapOf, path: Path) -> None:
        if not isinstance(value, dict):
            self._problems.refuse(path, f"must be an object, not {_what(value)}", "type")
            return
        for name, item in value.items():
            if not re.fullmatch(kind.pattern, name):
                self._problems.refuse((*path, name), f"has a name outside of {NAME}", "form")
            self.check(item, kind.value, (*path, name))

    def _object(self, value: object, name: str, path: Path) -> None:
        if not isinstance(value, dict):
            reason = f"must be an object ({name}), not {_what(value)}"
            self._problems.refuse(path, reason, "type")
            return
        members = OBJECTS[name]
        for member, kind in members.items():
            if kind.is_required and member not in value:
                self._problems.refuse(path, f"has no {member}, which a {name} must have", "missing")
        for member, item in value.items():
            self._member(item, name, (*path, member))

    def _member(self, item: object, name: str, path: Path) -> None:
        member = str(path[-1])
        known = OBJECTS[name].get(member)
        if known is None:
            if name == "reusable" or not member.startswith("x-"):
                reason = f"is not a member of a {name}; extensions begin with x-"
                self._problems.refuse(path, reason, "member-unknown")
        elif known.since > self._version:
            self._problems.refuse(path, f"needs arazzo {known.since}.x", "member-later")
        else:
            self.check(item, known.kind, path)


def _what(value: object) -> str:
    if value is None:
        return "null"
    return _WORDS_OF.get(type(value), "a number")
