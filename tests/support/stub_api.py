"""A server made from OpenAPI descriptions: it answers every operation with a sample."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web

from sluice.workflows.core.pointers import follow
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.core.yaml_text import MAX_SOURCE_BYTES, load

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
MAX_DEPTH: Final = 12
SAMPLES: Final[Mapping[str, object]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an operation answers instead of its sample."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stubbed:
    """One operation."""

    id: str
    method: str
    path: Callable[[str], object]
    told: Told


class StubApi:
    """Answers for some descriptions; what they do not have is 404.

    Args:
        descriptions: Their texts.
        told: Answers by operation id, in the place of samples.
    """

    def __init__(
        self, descriptions: Sequence[bytes], told: Mapping[str, Told] | None = None
    ) -> None:
        self.called: list[str] = []
        """Operation ids, in the order of the requests."""
        self.bodies: list[bytes] = []
        self._operations = [
            one for text in descriptions for one in _operations(_loaded(text), told or {})
        ]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        for one in self._operations:
            if one.method == request.method and one.path(request.raw_path.partition("?")[0]):
                self.called.append(one.id)
                self.bodies.append(await request.read())
                return web.Response(
                    status=one.told.status,
                    body=b"" if one.told.body is None else orjson.dumps(one.told.body),
                    headers={"Content-Type": "application/json", **one.told.headers},
                )
        return web.Response(status=404, text="no such operation")


def _loaded(text: bytes) -> Mapping[str, Any]:
    loaded = load(text, max_bytes=MAX_SOURCE_BYTES)
    assert not isinstance(loaded, Refusal), loaded
    assert isinstance(loaded.value, dict)
    return loaded.value


def _operations(root: Mapping[str, Any], told: Mapping[str, Told]) -> Iterator[Stubbed]:
    for path, item in root["paths"].items():
        # Fixed segments come before variables, so the order of the document does not matter.
        pattern = re.sub(r"\\\{[^/]+?\\\}", "[^/]+", re.escape(path))
        for method in METHODS:
            if method in item:
                name = str(item[method].get("operationId") or f"{method} {path}")
                yield Stubbed(
                    id=name,
                    method=method.upper(),
                    path=re.compile(rf".*?{pattern}").fullmatch,
                    told=told.get(name) or _sampled(root, item[method]),
                )


def _sampled(root: Mapping[str, Any], operation: Mapping[str, Any]) -> Told:
    """Return the first good answer that is declared."""
    for status, answer in operation["responses"].items():
        resolved = _resolved(root, answer)
        if str(status).isdecimal() and int(status) < 400:
            content = resolved.get("content", {}).get("application/json")
            body = None if content is None else sample(root, content.get("schema", {}))
            headers = {name: f"https://a.example/{name}" for name in resolved.get("headers", {})}
            return Told(status=int(status), body=body, headers=headers)
    return Told()


def _resolved(root: Mapping[str, Any], value: Any) -> Any:
    while isinstance(value, dict) and "$ref" in value:
        value = follow(root, value["$ref"][1:])
    return value


def sample(root: Mapping[str, Any], schema: Any, depth: int = 0) -> object:
    """Return a value that a schema allows, as far as simple schemas go."""
    schema = _resolved(root, schema)
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    said = [schema[word] for word in ("example", "default", "const") if word in schema]
    said += schema.get("enum", [])
    if said:
        return said[0]
    choices = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
    if choices:
        return sample(root, choices[0], depth + 1)
    kind = str(schema.get("type"))
    if kind == "array":
        return [sample(root, schema.get("items", {}), depth + 1)]
    return SAMPLES[kind] if kind in SAMPLES else _object(root, schema, depth)


def _object(root: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> object:
    found: dict[str, object] = {}
    for part in schema.get("allOf", ()):
        inherited = sample(root, part, depth + 1)
        if not isinstance(inherited, dict):
            return inherited
        found |= inherited
    for name, one in schema.get("properties", {}).items():
        found[name] = sample(root, one, depth + 1)
    return found
