"""The ceiling: aiohttp on uvloop that reads the body and answers 202. It keeps nothing."""

import argparse

import uvloop
from aiohttp import web


async def track(request: web.Request) -> web.Response:
    """Read the body, answer as Sluice does."""
    await request.read()
    return web.Response(status=202, body=b'{"queued":true}', content_type="application/json")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvloop.install()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/api/ingestion/track", track)
    app.router.add_post("/api/ingestion/track/batch", track)
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
