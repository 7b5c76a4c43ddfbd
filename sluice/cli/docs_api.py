"""The API reference as a page, from the same document that ``/openapi.json`` serves."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.openapi import document
from sluice import __version__

Schema = Mapping[str, Any]

LEAST: Final = {"minLength": "characters", "minimum": "", "minItems": "elements"}
MOST: Final = {"maxLength": "characters", "maximum": "", "maxItems": "elements"}
WORDS: Final = (
    "The same document is at `/openapi.json` of every gateway, for tools, and at `/docs`, to try it"
    " out. Every path works with and without its trailing slash. Every answer carries"
    " `X-Request-Id`, every refusal also `X-Error-Type`; [errors.md](errors.md) says what each"
    " means and what to do. Bodies may be plain or in gzip, deflate or zstd."
)


def api_page() -> str:
    """Return the page's text below its title."""
    described = document(version=__version__)
    lines = [WORDS, "", "## Credentials", ""]
    lines += table_lines(
        ("name", "sent as", "is"),
        (
            (f"`{name}`", _sent_as(scheme), str(scheme["description"]))
            for name, scheme in described["components"]["securitySchemes"].items()
        ),
    )
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            lines += ["", *_operation(path, method, operation)]
    lines += ["", "## Schemas", "", "What bodies and answers are made of."]
    for name, schema in described["components"]["schemas"].items():
        lines += ["", *_schema(name, schema)]
    return "\n".join(lines)


def _sent_as(scheme: Schema) -> str:
    if scheme["type"] == "http":
        return "`Authorization: Bearer …`"
    return f"{scheme['in']} `{scheme['name']}`"


def _operation(path: str, method: str, operation: Schema) -> Iterator[str]:
    yield f"## {method.upper()} {path}"
    yield ""
    said = [f"{operation['summary']}.", str(operation["description"])]
    keys = [f"`{name}`" for one in operation["security"] for name in one]
    if keys:
        said.append(f"Credential: {' or '.join(keys)}.")
    yield " ".join(filter(None, said)).replace("\n", " ")
    yield ""
    body = operation.get("requestBody")
    if body is not None:
        schema = body["content"]["application/json"]["schema"]
        yield f"Body: {_kind(schema)}. {body['description']}"
        yield ""
    if operation["parameters"]:
        yield from table_lines(
            ("parameter", "in", "takes", "meaning"),
            (
                (
                    f"`{one['name']}`",
                    one["in"],
                    _kind(one["schema"]),
                    str(one.get("description", "")),
                )
                for one in operation["parameters"]
            ),
        )
        yield ""
    answers = sorted(operation["responses"].items())
    yield from table_lines(
        ("status", "answer", "when"), (_answer(status, one) for status, one in answers)
    )


def _answer(status: str, answer: Schema) -> tuple[str, str, str]:
    content = answer.get("content", {})
    bodies = [
        _kind(one["schema"]) if media == "application/json" else f"`{media}`"
        for media, one in content.items()
    ]
    named = answer.get("headers", {}).get("X-Error-Type", {}).get("schema", {}).get("enum")
    when = ", ".join(f"`{one}`" for one in named) if named else str(answer["description"])
    return status, ", ".join(bodies), when


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if "description" in schema:
        yield str(schema["description"]).replace("``", "`")
        yield ""
    needed = schema.get("required", ())
    rows = [
        (
            f"`{member}`",
            _kind(one),
            "yes" if member in needed else "",
            str(one.get("description", "")),
        )
        for member, one in schema.get("properties", {}).items()
    ]
    if rows:
        yield from table_lines(("member", "is", "always there", "meaning"), rows)
    else:
        yield f"It is {_kind(schema)}."


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "pattern" in schema:
        return f"text like `{schema['pattern']}`"
    return _typed(schema)


def _typed(schema: Schema) -> str:
    types = schema.get("type", "anything")
    names = [types] if isinstance(types, str) else list(types)
    words = " or ".join(str(one) for one in names)
    if "array" in names and "items" in schema:
        words += f" of {_kind(schema['items'])}"
    if schema.get("format"):
        words += f" ({schema['format']})"
    least = [f"from {schema[one]:,} {word}".strip() for one, word in LEAST.items() if one in schema]
    most = [f"to {schema[one]:,} {word}" for one, word in MOST.items() if one in schema]
    return " ".join([words, *least, *most]).strip()


def table_lines(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; what would end a cell is spelt otherwise."""
    for row in (titles, ["---"] * len(titles), *rows):
        cells = (cell.replace("|", "&#124;").replace("\n", " ") for cell in row)
        yield f"| {' | '.join(cells)} |"
