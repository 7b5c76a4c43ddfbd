"""The ceiling: aiohttp on uvloop that reads the body and answers. It keeps nothing."""

import argparse
import hmac
from base64 import b64encode

import orjson
import uvloop
from aiohttp import web

SECRET = b"bench-secret-of-the-shop"


async def track(request: web.Request) -> web.Response:
    """Read the body, answer as Sluice does."""
    await request.read()
    return web.Response(status=202, body=b'{"queued":true}', content_type="application/json")


async def parse(request: web.Request) -> web.Response:
    """Read the body and parse it, which is the least that a server with JSON does."""
    orjson.loads(await request.read())
    return web.Response(status=202, body=b'{"queued":true}', content_type="application/json")


async def shopify(request: web.Request) -> web.Response:
    """Read the body and compute its signature."""
    body = await request.read()
    digest = b64encode(hmac.digest(SECRET, body, "sha256"))
    is_good = hmac.compare_digest(digest, request.headers["X-Shopify-Hmac-SHA256"].encode())
    return web.Response(
        status=200 if is_good else 401, body=b'{"queued":true}', content_type="application/json"
    )


async def spans(request: web.Request) -> web.Response:
    """Take spans as a collector does."""
    await request.read()
    return web.Response(content_type="application/x-protobuf")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvloop.install()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/api/ingestion/track", track)
    app.router.add_post("/api/ingestion/track/batch", track)
    app.router.add_post("/parse", parse)
    app.router.add_post("/api/ingestion/shopify/{tenant}", shopify)
    app.router.add_post("/v1/traces", spans)
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
