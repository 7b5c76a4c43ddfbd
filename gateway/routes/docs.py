"""``/openapi.json`` and ``/docs``: the API reference, which needs nothing from elsewhere."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

import orjson
from aiohttp import hdrs

from gateway.core.answers import Answer
from gateway.dispatch import Exchange, Route
from gateway.openapi import document

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE: Final = (
    ("docs", "/docs", "index.html", "text/html; charset=utf-8"),
    ("docs_script", "/docs/page.js", "page.js", "text/javascript; charset=utf-8"),
    ("docs_style", "/docs/page.css", "page.css", "text/css; charset=utf-8"),
)


def docs_routes(*, version: str) -> list[Route]:
    """Return the routes of the reference; the files are read once, here."""
    described = Answer(200, orjson.dumps(document(version=version)))
    routes = [_constant("openapi", "/openapi.json", described)]
    for name, path, file, content_type in PAGE:
        content = files("gateway").joinpath("docs_page", file).read_bytes()
        answer = Answer(
            200,
            content,
            content_type,
            (("Content-Security-Policy", POLICY), ("Referrer-Policy", "no-referrer")),
        )
        routes.append(_constant(name, path, answer))
    return routes


def _constant(name: str, path: str, answer: Answer) -> Route:
    return Route(name=name, path=path, handlers={hdrs.METH_GET: _always(answer)})


def _always(answer: Answer) -> Callable[[Exchange], Awaitable[Answer]]:
    async def handler(_exchange: Exchange) -> Answer:
        return answer

    return handler
