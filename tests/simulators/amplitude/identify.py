"""The Identify API: user properties without an event (``POST /identify``, a form)."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tests.simulators.amplitude.answers import Answer, plain
from tests.simulators.amplitude.rules import (
    IDENTIFY,
    IDS,
    are_bad_user_properties,
    is_refused_id,
    is_too_deep,
)
from tests.simulators.amplitude.service import Service

MAX_IDENTIFICATIONS: Final = 1000
MISSING: Final = plain(400, "missing_event")


def identify(service: Service, api_key: object, identification: object) -> Answer:
    """Return the answer to one form; every identification in it is good, or none is applied."""
    project = service.find(api_key)
    if project is None or project.is_revoked:
        return plain(400, "invalid_api_key")
    try:
        given = orjson.loads(identification) if isinstance(identification, str) else None
    except orjson.JSONDecodeError:
        return MISSING
    several: list[Any] = given if isinstance(given, list) else [given]
    if not several or len(several) > MAX_IDENTIFICATIONS or not all(map(_is_good, several)):
        return MISSING
    for one in several:
        user = next(one[name] for name in IDS if one.get(name) is not None)
        project.store.set_user_properties(user, one.get("user_properties") or {})
    return plain(200, "success")


def _is_good(given: Any) -> bool:
    if not isinstance(given, dict):
        return False
    ids = [given[name] for name in IDS if given.get(name) is not None]
    properties = given.get("user_properties") or {}
    return (
        bool(ids)
        and all(isinstance(one, str) and not is_refused_id(one) for one in ids)
        and isinstance(properties, Mapping)
        and not is_too_deep(properties)
        and not are_bad_user_properties(properties, IDENTIFY)
    )
