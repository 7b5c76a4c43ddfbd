"""Read tokens of an issuer whose keys are fetched from a JWKS address."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.token_keys import MAX_JWKS_BYTES, JwksSource, parse_jwks
from tests.support.gateway import TENANT, running_gateway
from tests.support.poll import poll_until


def new_key(key_id: str) -> tuple[ec.EllipticCurvePrivateKey, dict[str, Any]]:
    private = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return private, public | {"kid": key_id, "use": "sig", "alg": "ES256"}


@asynccontextmanager
async def issuer(*documents: bytes) -> AsyncIterator[str]:
    """Serve the documents one after the other, then the last one again and again."""
    left = list(documents)

    async def answer(_request: web.BaseRequest) -> web.Response:
        document = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(body=document, content_type="application/json")

    server = web.Server(answer)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/jwks"
    finally:
        listener.close()
        await server.shutdown(1)


async def test_gateway_takes_tokens_of_the_issuer_and_no_others(tmp_path: Path) -> None:
    private, public = new_key("k-1")
    stranger, _ = new_key("k-1")
    claims = {"tenant": TENANT, "exp": int(time.time()) + 60}

    def bearer(key: Any) -> tuple[str, str]:
        token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": "k-1"})
        return ("Authorization", f"Bearer {token}")

    async with (
        issuer(orjson.dumps({"keys": [public]})) as url,
        running_gateway(tmp_path, jwks_url=url) as gateway,
    ):

        async def is_known() -> bool:
            answer = await gateway.ask("GET", "/api/ingestion/stats?window=x", bearer(private))
            return answer.status == 400

        await poll_until(is_known)
        answer = await gateway.ask("GET", "/api/ingestion/stats?window=x", bearer(stranger))
        assert answer.status == 401


@pytest.mark.parametrize(
    "bad", [b'{"keys": [' + b" " * MAX_JWKS_BYTES + b"]}", b"<html>"], ids=["too large", "not JSON"]
)
async def test_source_keeps_its_last_good_keys_when_the_issuer_answers_nonsense(
    bad: bytes,
) -> None:
    _, public = new_key("k-1")
    async with issuer(orjson.dumps({"keys": [public]}), bad) as url, ClientSession() as session:
        source = JwksSource(url)
        assert not source.keys.by_id
        for _ in range(2):
            await source.fetch(session)
            assert list(source.keys.by_id) == ["k-1"]


def test_keys_of_other_kinds_are_left_out() -> None:
    _, public = new_key("good")
    document = orjson.dumps(
        {
            "keys": [
                public,
                public | {"kid": "enc", "use": "enc"},
                {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ", "kid": "shared"},
                {"kty": "XXX", "kid": "odd"},
                {},
            ]
        }
    )
    assert list(parse_jwks(document).by_id) == ["good"]


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1]}'])
def test_document_is_refused_when_it_is_no_jwks(document: bytes) -> None:
    with pytest.raises(ValueError, match="JWKS"):
        parse_jwks(document)
