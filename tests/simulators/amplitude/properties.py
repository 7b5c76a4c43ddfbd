"""User properties: Amplitude's operations on one user's values."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.simulators.amplitude.rules import OPERATIONS

Values = dict[str, Any]
MAX_PROPERTIES: Final = 1000
"""Of one user; names beyond are not kept."""


def plain_or_set(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return operations as they are, and plain values as what they mean: ``$set``."""
    return given if OPERATIONS.intersection(given) else {"$set": given}


def apply(values: Values, operations: Mapping[str, Any]) -> None:
    """Change a user's values, one operation after the other in the order of Amplitude's table."""
    if "$clearAll" in operations:
        values.clear()
    for name, change in CHANGES.items():
        for key, value in operations.get(name, {}).items():
            if key in values or len(values) < MAX_PROPERTIES:
                change(values, key, value)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _set(values: Values, key: str, value: Any) -> None:
    values[key] = value


def _set_once(values: Values, key: str, value: Any) -> None:
    values.setdefault(key, value)


def _add(values: Values, key: str, value: Any) -> None:
    before = values.get(key, 0)
    if _is_number(before) and _is_number(value):
        values[key] = before + value


def _append(values: Values, key: str, value: Any) -> None:
    values[key] = _as_list(values.get(key)) + _as_list(value)


def _prepend(values: Values, key: str, value: Any) -> None:
    values[key] = _as_list(value) + _as_list(values.get(key))


def _post_insert(values: Values, key: str, value: Any) -> None:
    before = _as_list(values.get(key))
    values[key] = before + [one for one in _as_list(value) if one not in before]


def _pre_insert(values: Values, key: str, value: Any) -> None:
    before = _as_list(values.get(key))
    values[key] = [one for one in _as_list(value) if one not in before] + before


def _remove(values: Values, key: str, value: Any) -> None:
    gone = _as_list(value)
    if key in values:
        values[key] = [one for one in _as_list(values[key]) if one not in gone]


def _unset(values: Values, key: str, _value: Any) -> None:
    values.pop(key, None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


CHANGES: Final[Mapping[str, Callable[[Values, str, Any], None]]] = {
    "$set": _set,
    "$setOnce": _set_once,
    "$add": _add,
    "$append": _append,
    "$prepend": _prepend,
    "$preInsert": _pre_insert,
    "$postInsert": _post_insert,
    "$remove": _remove,
    "$unset": _unset,
}
