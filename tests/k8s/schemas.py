"""Does Kubernetes take an object? By the schemas of several versions, and of the operators we use.

Those of Kubernetes itself come with the package ``kubernetes-validate``, in its strict form, which
refuses a field that is not known. Those of custom resources stand in ``schemas/``, cut out of the
definitions that their projects publish (each file names project and version), without descriptions
and rules in CEL; of External Secrets' stores only Google's.
"""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import orjson

from tests.k8s.cluster import Obj, title_of

VERSIONS: Final = ("1.34", "1.35", "1.36", "1.37")
_FOLDER: Final = Path(__file__).parent / "schemas"
_DEFINITIONS: Final = "https://kubernetes.io/api/_definitions.json"


def problems(one: Obj, version: str) -> list[str]:
    """Return what a version of Kubernetes refuses in an object."""
    custom = _custom(one["kind"], one["apiVersion"])
    validator = custom or _built_in(one["kind"].lower(), one["apiVersion"], version)
    return [
        f"{title_of(one)}: {'/'.join(str(step) for step in error.instance_path)}: {error.message}"
        for error in validator.iter_errors(one)
    ]


@cache
def _schemas(version: str) -> Any:
    name = f"v{version}.0-local-strict"
    return files("kubernetes_validate").joinpath("kubernetes-json-schema").joinpath(name)


@cache
def _registry(version: str) -> jsonschema_rs.Registry:
    definitions = orjson.loads(_schemas(version).joinpath("_definitions.json").read_bytes())
    return jsonschema_rs.Registry([(_DEFINITIONS, definitions)])


@cache
def _built_in(kind: str, api_version: str, version: str) -> Any:
    group, _, number = api_version.rpartition("/")
    name = "-".join(part for part in (kind, group.partition(".")[0], number) if part)
    schema = orjson.loads(_schemas(version).joinpath(f"{name}.json").read_bytes())
    return jsonschema_rs.validator_for(schema, registry=_registry(version))


@cache
def _custom(kind: str, api_version: str) -> Any:
    path = _FOLDER / f"{kind.lower()}.json"
    if not path.exists():
        return None
    found = orjson.loads(path.read_bytes())
    assert found["apiVersion"] == api_version, f"{path.name} is of {found['apiVersion']}"
    for node in _nodes(found["schema"]):
        if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
    return jsonschema_rs.validator_for(_with_metadata(found["schema"]))


def _with_metadata(schema: Obj) -> Obj:
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, checked everywhere
    return schema


def _nodes(schema: object) -> Iterator[Obj]:
    """Yield the schemas of fields; what stands in anyOf and the like only adds to them."""
    if isinstance(schema, dict):
        yield schema
        for one in schema.get("properties", {}).values():
            yield from _nodes(one)
        for key in ("items", "additionalProperties"):
            yield from _nodes(schema.get(key))
