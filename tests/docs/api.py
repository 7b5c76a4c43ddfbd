"""A ``curl`` line as the API description reads it: method, path, query, credential and body."""

import getopt
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import orjson

from gateway.openapi import document
from sluice import __version__
from tests.docs.shell import INNER

SHORT: Final = "isfNgkGOLX:H:d:o:u:T:w:m:"
LONG: Final = (
    "fail", "get", "fail-with-body", "include", "silent", "show-error", "location", "request=",
    "header=", "data=", "data-binary=", "json=", "output=", "user=", "max-time=", "no-buffer",
    "cacert=", "compressed",
)  # fmt: skip
"""The options of curl that pages may show."""
OTHER_PORTS: Final = {
    "8082": {"/status", "/metrics", "/livez", "/readyz"},
    "8090": {"/_sim", "/_sim/taken", "/2/httpapi"},
    "8123": {"/", "/ping", "/metrics"},
    "9090": {"/api/v1/query", "/api/v1/alerts", "/-/ready"},
    "9093": {"/api/v2/alerts"},
}
"""Paths of what is not the gateway: worker, simulated Amplitude, ClickHouse, Prometheus."""
VARIABLES: Final = {"$GATEWAY": "8080", "$WORKER": "8082"}
"""How runbooks call the addresses of the parts."""
_OPEN: Final = re.compile(r"\$\{?\w+\}?|\{\w+\}|" + INNER)
_OTHERS_OWN: Final = ("session", "amplitude_", "segment_", "webhook", "shopify")
"""Operations whose credential is in the body, or whose scheme is that of another system."""


def refused_request(words: tuple[str, ...]) -> str:
    """Return what is wrong with a call of curl; empty: nothing."""
    try:
        options, rest = getopt.gnu_getopt(list(words[1:]), SHORT, list(LONG))
    except getopt.GetoptError as error:
        return f"curl: {error}"
    if len(rest) != 1:
        return "curl: show one address"
    given = [
        value for name, value in options if name in {"-d", "--data", "--data-binary", "--json"}
    ]
    named = [value for name, value in options if name in {"-X", "--request"}]
    is_get = any(name in {"-G", "--get"} for name, _ in options)
    method = named[0] if named else "POST" if given and not is_get else "GET"
    for name, port in VARIABLES.items():
        rest[0] = rest[0].replace(name, f"127.0.0.1:{port}")
    address = urlsplit(rest[0] if "://" in rest[0] else f"http://{rest[0]}")
    if rest[0] == INNER or rest[0].startswith("$WAREHOUSE"):
        return ""  # the warehouse's address; the statement is run, or looked at as SQL
    port = str(address.netloc).rpartition(":")[2]
    if port in OTHER_PORTS:
        return (
            "" if address.path in OTHER_PORTS[port] else f"curl: port {port} has no {address.path}"
        )
    operation = _find(method.lower(), address.path or rest[0].partition("/")[2])
    if operation is None:
        return f"curl: the API has no {method} {address.path}"
    return _wrong_query(operation, address.query) or _wrong_body(operation, given)


def _find(method: str, path: str) -> dict[str, Any] | None:
    shown = [part for part in path.split("/") if part]
    for template, methods in _paths():
        parts = [part for part in template.split("/") if part]
        if len(parts) == len(shown) and all(
            mine == theirs or mine.startswith("{")
            for mine, theirs in zip(parts, shown, strict=True)
        ):
            found: dict[str, Any] | None = methods.get(method)
            return found
    return None


def _wrong_query(operation: dict[str, Any], query: str) -> str:
    known = {one["name"]: one for one in operation["parameters"] if one["in"] == "query"}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "session_token":
            continue
        if name not in known:
            return f"curl: {operation['operationId']} has no parameter {name}"
        allowed = known[name]["schema"].get("enum")
        if allowed and value not in allowed:
            return f"curl: {name} is one of {allowed}"
    return ""


def _wrong_body(operation: dict[str, Any], given: list[str]) -> str:
    if not given or given[0].startswith("@"):
        return ""
    try:
        body = orjson.loads(_OPEN.sub("x", given[0]))
    except orjson.JSONDecodeError as error:
        return f"curl: the body is no JSON: {error}"
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "schema" in schema:
        validator = jsonschema_rs.validator_for(_described() | schema["schema"])
        for one in validator.iter_errors(body):
            return f"curl: the body: {one.message}"
    return ""


def schema_of(name: str) -> dict[str, Any]:
    """Return a schema of the API description that may be validated by itself."""
    return _described() | {"$ref": f"#/components/schemas/{name}"}


@cache
def _described() -> dict[str, Any]:
    return {"components": document(version=__version__)["components"]}


def _paths() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from document(version=__version__)["paths"].items()
