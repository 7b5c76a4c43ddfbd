"""Inputs of a workflow: what its schema declares, which are secret, defaults, and the check.

JSON Schema 2020-12. Defaults are filled in before validation (rule K11: the standard calls them
annotations). Secret inputs never come as values, only as references (rule K16), so the schema
checks only that they are there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs

from sluice.workflows.core.input_problem import MASK, InputProblem
from sluice.workflows.core.pointers import follow
from sluice.workflows.core.refusals import pointer_of
from sluice.workflows.core.regex import PATTERN_OPTIONS

_SECRET: Final = re.compile("key|secret|auth|token|password", re.IGNORECASE).search
MAX_PROBLEMS: Final = 20
MAX_NAME_CHARS: Final = 80
_Kind = jsonschema_rs.ValidationErrorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSchema:
    """The inputs of one workflow."""

    names: frozenset[str]
    secrets: frozenset[str]
    defaults: Mapping[str, object]
    required: frozenset[str]
    validator: jsonschema_rs.Draft202012Validator

    def filled(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the inputs with the defaults of those that are absent."""
        return {**self.defaults, **given}

    def takes(self, name: str, value: object) -> bool:
        """Whether one input alone may have this value, as far as its own schema says."""
        if name in self.secrets:
            return isinstance(value, str)
        errors = self.validator.iter_errors({name: value})
        return not any(list(error.instance_path[:1]) == [name] for error in errors)

    def named_as_secret(self, names: Iterable[str]) -> list[str]:
        """Return the names that the schema does not declare and that only a secret would have.

        Nothing knows what they are for, and their values would be kept with the run.
        """
        return sorted(name for name in names if name not in self.names and _SECRET(name))

    def problems(
        self, values: Mapping[str, object], secrets: frozenset[str]
    ) -> tuple[InputProblem, ...]:
        """Return what is wrong with inputs, after defaults.

        Args:
            values: Those that are no secrets.
            secrets: Names of those that are given as references.
        """
        found = [
            InputProblem(f"/{name}", "is secret: give it as a reference, not as a value")
            for name in sorted(self.secrets & values.keys())
        ]
        found += [
            InputProblem(f"/{name}", "is not secret: give it as a value, not as a reference")
            for name in sorted(secrets - self.secrets)
        ]
        found += [
            InputProblem(f"/{name}", "is required")
            for name in sorted((self.secrets & self.required) - secrets)
            if name not in values
        ]
        try:
            for error in self.validator.iter_errors(dict(values)):
                if len(found) >= MAX_PROBLEMS:
                    break
                found.append(
                    InputProblem(pointer_of(tuple(error.instance_path)), self._reason(error))
                )
        except ValueError:  # what the validator says of a value deeper than it goes
            found.append(InputProblem("", "are nested too deeply"))
        return tuple(found)

    def known(self) -> str:
        """Return the names of the inputs that a start may give, for people."""
        return ", ".join(sorted(self.names - self.secrets)) or "none"

    def _reason(self, error: jsonschema_rs.ValidationError) -> str:
        """Return what the validator says, in words that name what is known or needed."""
        is_root = not error.instance_path
        match error.kind:
            case _Kind.AdditionalProperties(unexpected=names) if is_root:
                shown = ", ".join(name[:MAX_NAME_CHARS] for name in sorted(names)[:MAX_PROBLEMS])
                return f"has no input {shown}; known are {self.known()}"
            case _Kind.MinProperties(limit=1) if is_root:
                return f"needs one of {self.known()}"
            case _Kind.Type(types=types):
                taken = " or ".join(map(_with_article, types))
                return f"is {_with_article(_type_of(error.instance))}, not {taken}"
            case _:
                return error.message.removeprefix(f"{MASK} ")


def _type_of(value: object) -> str:
    """Return the type of a JSON value as JSON Schema calls it."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def _with_article(type_name: str) -> str:
    if type_name == "null":
        return type_name
    return f"{'an' if type_name[0] in 'aio' else 'a'} {type_name}"


def read_schema(schema: object, components: Mapping[str, object]) -> InputSchema | str:
    """Return what an input schema says, or why it is no schema.

    Args:
        schema: As the document has it; ``None`` takes anything and declares nothing.
        components: ``components.inputs``, for ``$ref``.
    """
    root = {"type": "object"} if schema is None else schema
    if not isinstance(root, dict):
        return "must be a JSON Schema of an object"
    whole: dict[str, Any] = {**root, "components": {"inputs": dict(components)}}
    properties: dict[str, Any] = {}
    required: set[str] = set()
    _collect(whole, properties, required)
    secrets = frozenset(name for name, one in properties.items() if _is_secret(name, one))
    checked = _without(whole, secrets)
    try:
        validator = jsonschema_rs.Draft202012Validator(
            checked, pattern_options=PATTERN_OPTIONS, offline=True, mask=MASK
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return f"is not a JSON Schema: {str(error).splitlines()[0]}"
    return InputSchema(
        names=frozenset(properties) | required,
        secrets=secrets,
        defaults={
            name: one["default"]
            for name, one in properties.items()
            if isinstance(one, dict) and "default" in one and name not in secrets
        },
        required=frozenset(required),
        validator=validator,
    )


def _is_secret(name: str, schema: object) -> bool:
    marked = schema.get("x-sluice-secret") if isinstance(schema, dict) else None
    return marked if isinstance(marked, bool) else _SECRET(name) is not None


def _collect(root: dict[str, Any], properties: dict[str, Any], required: set[str]) -> None:
    """Gather the properties that a schema declares, following local references, each once."""
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting:
        schema = waiting.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        properties.update(_typed(schema, "properties", dict))
        required.update(name for name in _typed(schema, "required", list) if isinstance(name, str))
        waiting += _typed(schema, "allOf", list)
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            waiting.append(follow(root, reference[1:]))


def _typed(schema: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value = schema.get(name)
    return value if isinstance(value, kind) else kind()


def _without(schema: dict[str, Any], secrets: frozenset[str]) -> dict[str, Any]:
    """Return a schema that does not ask for secret properties: references are not their values."""
    inputs = schema["components"]["inputs"]
    kept = {name: _unasked(part, secrets) for name, part in inputs.items()}
    return {**_unasked(schema, secrets), "components": {"inputs": kept}}


def _unasked(schema: Any, secrets: frozenset[str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    if isinstance(schema.get("required"), list):
        found["required"] = [
            name for name in schema["required"] if not isinstance(name, str) or name not in secrets
        ]
    if isinstance(schema.get("allOf"), list):
        found["allOf"] = [_unasked(part, secrets) for part in schema["allOf"]]
    return found
