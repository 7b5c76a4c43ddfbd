"""A real Chromium, and the pages of a company that it visits."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import orjson
from aiohttp import web
from playwright.async_api import Browser, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING: Final = (
    "the tests of client apps need Chromium: `apt install chromium`, or any of"
    f" {', '.join(NAMES)} on the PATH"
)


def find_chromium() -> str | None:
    """Return where a Chromium is; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@asynccontextmanager
async def running_chromium(path: str) -> AsyncIterator[Browser]:
    """Run a browser until the block ends. Its sandbox is off: it sees only our own pages."""
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]) as browser,
    ):
        yield browser


@asynccontextmanager
async def page_server(html: str, *, sign: Callable[[], object] = dict) -> AsyncIterator[str]:
    """Serve one page of an origin, and what ``sign`` says at /sign-me; the value is the origin."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == "/sign-me":
            return web.Response(body=orjson.dumps(sign()), content_type="application/json")
        return web.Response(text=html, content_type="text/html")

    server = web.Server(answer)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://localhost:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await server.shutdown(1)
