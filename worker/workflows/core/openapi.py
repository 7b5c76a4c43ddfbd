"""OpenAPI 3.x descriptions, as far as calling an operation needs them.

Operations by ``operationId`` or by path and method, their parameters (path item and operation
merged), content types, servers and security. References are followed inside of the description
only. Swagger 2.0 is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sluice.workflows.core.pointers import ABSENT, follow
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.core.yaml_text import MAX_SOURCE_BYTES, load

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MAX_HOPS: Final = 16
"""References to references."""
_VERSION: Final = re.compile(r"3\.\d+\.\d+").match


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A parameter that an operation declares."""

    name: str
    place: str
    is_required: bool
    style: str
    explode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A base address, perhaps with variables."""

    url: str
    variables: Mapping[str, str]
    """Defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A way to show credentials. They come from the input that has the scheme's name."""

    name: str
    place: str
    """``header``, ``query`` or ``cookie``."""
    parameter: str
    prefix: str
    """``Basic``, ``Bearer`` or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What can be called."""

    source: str
    id: str | None
    method: str
    """Upper case."""
    path: str
    parameters: tuple[Declared, ...]
    content_types: tuple[str, ...]
    answer_is_object: bool
    """The schema of the first 2xx JSON answer says that it is an object."""
    may_redirect: bool
    """An answer 3xx is declared: the service sends callers on, perhaps to another origin."""
    answer_types: tuple[str, ...]
    """Media types of the 2xx answers that are declared."""
    servers: tuple[Server, ...]
    schemes: tuple[Scheme, ...]
    adapter: str | None
    idempotency: object


@dataclass(frozen=True, slots=True)
class Description:
    """A whole OpenAPI document."""

    source: str
    root: Mapping[str, Any]
    _by_id: dict[str, tuple[str, str]] = field(default_factory=dict, init=False)
    """Path and method of each ``operationId``."""
    _values: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for path, item in self.root["paths"].items():
            for method, value in self._resolved(item).items():
                if method in METHODS and isinstance(value, dict):
                    self._values[path, method] = value
                    name = value.get("operationId")
                    if isinstance(name, str):
                        self._by_id.setdefault(name, (path, method))

    def by_id(self, operation_id: str) -> Operation | None:
        """Return the operation with an id."""
        place = self._by_id.get(operation_id)
        return None if place is None else self.at(*place)

    def at(self, path: str, method: str) -> Operation | None:
        """Return the operation of a path and a method in lower case."""
        value = self._values.get((path, method))
        return None if value is None else self._operation(path, method, value)

    def methods_of(self, path: str) -> tuple[str, ...]:
        """Return the methods of a path, in lower case."""
        return tuple(method for place, method in self._values if place == path)

    def _resolved(self, value: Any) -> dict[str, Any]:
        """Follow ``$ref`` inside of this document; what leads nowhere is an empty object."""
        for _ in range(MAX_HOPS):
            if not isinstance(value, dict):
                return {}
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value
            value = follow(self.root, reference[1:]) if reference.startswith("#") else ABSENT
        return {}

    def _operation(self, path: str, method: str, value: dict[str, Any]) -> Operation:
        item = self._resolved(self.root["paths"][path])
        body = self._resolved(value.get("requestBody"))
        return Operation(
            source=self.source,
            id=_text(value.get("operationId")),
            method=method.upper(),
            path=path,
            parameters=self._parameters(item, value),
            content_types=tuple(_object(body.get("content"))),
            answer_is_object=self._answer_is_object(value),
            may_redirect=any(str(one)[:1] == "3" for one in _object(value.get("responses"))),
            answer_types=self._answer_types(value),
            servers=_servers(value) or _servers(item) or _servers(self.root),
            schemes=self._schemes(value.get("security", self.root.get("security"))),
            adapter=_text(self.root.get("x-sluice-adapter")),
            idempotency=value.get("x-sluice-idempotency"),
        )

    def _parameters(self, *holders: Mapping[str, Any]) -> tuple[Declared, ...]:
        found: dict[tuple[str, str], Declared] = {}
        for holder in holders:
            parameters = holder.get("parameters")
            for one in parameters if isinstance(parameters, list) else ():
                read = self._resolved(one)
                name, place = read.get("name"), read.get("in")
                if isinstance(name, str) and isinstance(place, str):
                    found[name, place] = _declared(name, place, read)
        return tuple(found.values())

    def _answer_is_object(self, value: dict[str, Any]) -> bool:
        for status, answer in _object(value.get("responses")).items():
            if str(status).startswith("2"):
                content = _object(self._resolved(answer).get("content"))
                schema = _object(content.get("application/json")).get("schema")
                return self._resolved(schema).get("type") == "object"
        return False

    def _answer_types(self, value: dict[str, Any]) -> tuple[str, ...]:
        answers = _object(value.get("responses")).items()
        good = [self._resolved(answer) for status, answer in answers if str(status)[:1] == "2"]
        return tuple(str(name) for one in good for name in _object(one.get("content")))

    def _schemes(self, security: Any) -> tuple[Scheme, ...]:
        """Return the schemes of the first alternative."""
        first = security[0] if isinstance(security, list) and security else None
        schemes = _object(self.root.get("components")).get("securitySchemes")
        found = [
            _scheme(name, self._resolved(_object(schemes).get(name))) for name in _object(first)
        ]
        return tuple(scheme for scheme in found if scheme is not None)


def read_description(source: str, text: bytes) -> Description | Refusal:
    """Return the description that a text holds, or why it holds none."""
    loaded = load(text, max_bytes=MAX_SOURCE_BYTES)
    if isinstance(loaded, Refusal):
        return loaded
    root = loaded.value
    if not isinstance(root, dict) or not _VERSION(str(root.get("openapi"))):
        return Refusal(1, 1, "/openapi", "is not an OpenAPI 3 description", "source-type")
    if not isinstance(root.get("paths"), dict):
        return Refusal(1, 1, "/paths", "has no paths", "source-type")
    return Description(source, root)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """Return what should be text as text, so that the wrong kind of value is just a wrong name."""
    return None if value is None else str(value)


def _declared(name: str, place: str, value: Mapping[str, Any]) -> Declared:
    style = str(value.get("style") or ("form" if place in ("query", "cookie") else "simple"))
    return Declared(
        name=name,
        place=place,
        is_required=value.get("required") is True or place == "path",
        style=style,
        explode=bool(value.get("explode", style == "form")),
    )


def _servers(holder: Mapping[str, Any]) -> tuple[Server, ...]:
    servers = holder.get("servers")
    return tuple(
        Server(
            url=one["url"],
            variables={
                name: str(_object(variable).get("default", ""))
                for name, variable in _object(one.get("variables")).items()
            },
        )
        for one in (servers if isinstance(servers, list) else ())
        if isinstance(one, dict) and isinstance(one.get("url"), str)
    )


def _scheme(name: str, value: Mapping[str, Any]) -> Scheme | None:
    kind, http = value.get("type"), str(value.get("scheme", "")).lower()
    if kind == "apiKey" and value.get("in") in ("header", "query", "cookie"):
        return Scheme(name=name, place=value["in"], parameter=str(value.get("name", "")), prefix="")
    if kind == "http" and http in ("basic", "bearer"):
        return Scheme(
            name=name, place="header", parameter="Authorization", prefix=f"{http.title()} "
        )
    if kind in ("oauth2", "openIdConnect"):
        return Scheme(name=name, place="header", parameter="Authorization", prefix="Bearer ")
    return None
