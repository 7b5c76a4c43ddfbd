"""``GET /api/ingestion/error-types``: what each error_type means, in plain words, for anybody."""

from typing import Final

import msgspec
from aiohttp import hdrs

from gateway.core.answers import Answer, ok
from gateway.dispatch import Exchange, Route
from sluice.core.errors import ERRORS, Actor, ErrorSpec, ErrorType, Stage

PATH: Final = "/api/ingestion/error-types"
_SPELT: Final = {"api": "API", "id": "ID", "json": "JSON", "shopify": "Shopify"}


class ErrorTypeView(msgspec.Struct, frozen=True):
    """One error_type in plain words."""

    type: ErrorType
    title: str
    """The name as words."""
    meaning: str
    remedy: str
    who: Actor
    """Who must act."""
    stage: Stage
    status: int
    """Of the answer that carries it; 0 where it is only in error records."""


class ErrorTypeList(msgspec.Struct, frozen=True):
    """All there are."""

    error_types: list[ErrorTypeView]


def error_type_routes() -> list[Route]:
    """Return the routes of this resource."""
    answer = ok(ErrorTypeList([_view(name, spec) for name, spec in ERRORS.items()]))

    async def error_types(_exchange: Exchange) -> Answer:
        return answer

    return [Route(name="error_types", path=PATH, handlers={hdrs.METH_GET: error_types})]


def _view(name: ErrorType, spec: ErrorSpec) -> ErrorTypeView:
    words = [_SPELT.get(word, word) for word in name.split("_")]
    title = " ".join(words)
    return ErrorTypeView(
        type=name,
        title=title[0].upper() + title[1:],
        meaning=spec.meaning,
        remedy=spec.remedy,
        who=spec.actor,
        stage=spec.stage,
        status=spec.status,
    )
