"""``/``: the console, one page that reads only the public API.

Its files are plain modules and one style sheet, served as they are. The policy lets the page load
them and ask this origin, and nothing else: no inline code, no other origin, no markup from text.
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from aiohttp import hdrs

from gateway.core.answers import Answer
from gateway.dispatch import Exchange, Route

FOLDER: Final = "/console"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
MAX_PAGE_BYTES: Final = 300_000
"""Of all files together (issue 8, "The console"); a test holds them to it."""
CONTENT_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGE: Final = "index.html"


def console_files() -> dict[str, bytes]:
    """Return the console's files by name, as the package has them."""
    folder = files("gateway").joinpath("console")
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}


def console_routes() -> list[Route]:
    """Return the page's route and one for each file of it; the files are read once, here."""
    routes: list[Route] = []
    for name, content in sorted(console_files().items()):
        kind = name.rpartition(".")[2]
        path = "/" if name == PAGE else f"{FOLDER}/{name}"
        label = "console" if name == PAGE else "console_file"
        answer = Answer(
            200,
            content,
            CONTENT_TYPES[kind],
            (
                ("Content-Security-Policy", POLICY),
                ("Referrer-Policy", "no-referrer"),
                ("Cross-Origin-Opener-Policy", "same-origin"),
            ),
        )
        routes.append(Route(name=label, path=path, handlers={hdrs.METH_GET: _always(answer)}))
    return routes


def _always(answer: Answer) -> Callable[[Exchange], Awaitable[Answer]]:
    async def handler(_exchange: Exchange) -> Answer:
        return answer

    return handler
