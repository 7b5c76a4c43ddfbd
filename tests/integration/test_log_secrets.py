"""What logs show of an error that nobody expected, and what nothing that Sluice says ever shows."""

import os
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import pytest
from yarl import URL

from sluice.core.tokens import mint_read_token
from tests.support.client_app import ClientApp
from tests.support.command import run
from tests.support.credentials import Credentials
from tests.support.planted import OPEN_PATHS, TENANT_PATHS, WORKER_PATHS, Planted
from tests.support.poll import poll_until
from tests.support.segops import Segops
from tests.support.shopify import open_shop
from tests.support.stack import Stack, environment, running_stack

FAIL = """
from sluice.settings import load_settings
from sluice.logs import configure_logging, get_logger

def fail(token):
    raise RuntimeError("out of cheese")

configure_logging(load_settings())
try:
    fail("s3" + "cret")
except RuntimeError:
    get_logger("sluice.test").exception("Test failed")
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_log_of_an_error_shows_where_it_was_and_no_value(log_format: str) -> None:
    ran = await run(sys.executable, "-c", FAIL, env=environment({"LOG_FORMAT": log_format}))
    assert ran.status == 0, ran
    assert "Test failed" in ran.stderr
    assert "out of cheese" in ran.stderr
    assert "in fail" in ran.stderr
    assert "s3cret" not in ran.stderr


TENANT: Final = "shop"
SECRETS: Final = (
    "jwt", "wrong key", "wrong token", "shopify", "wrong shopify", "amplitude", "amplitude2",
    "payload", "refused payload", "trait", "path", "query", "header",
)  # fmt: skip
PEOPLE: Final = ("user", "shopper", "trait", "refused")


@pytest.fixture
async def talkative(tmp_path: Path) -> AsyncIterator[tuple[Stack, Segops, Planted]]:
    """A Sluice that says all it can, full of secrets; its forwarding fails."""
    planted = Planted(
        secrets={name: f"planted-{name.replace(' ', '-')}-{_random()}" for name in SECRETS},
        people={name: f"{name}.{_random()}@example.org" for name in PEOPLE},
    )
    settings = {
        "LOG_LEVEL": "debug",
        "LOG_REQUESTS": "all",
        "JWT_SECRET": planted.secrets["jwt"],
        "AMPLITUDE_URL": "http://127.0.0.1:1",
    }
    with running_stack(tmp_path, settings) as owned:
        stack = owned.stack
        for name in ("warehouse.url", "warehouse.reader.url"):
            planted.secrets[name] = URL((tmp_path / name).read_text().strip()).password or ""
        planted.secrets["webhooks"] = b64encode(os.urandom(24)).decode()
        credentials = Credentials(stack.tenants_file)
        planted.secrets["key"] = key = credentials.add_tenant(TENANT)
        for name, value in {
            "shopify_secrets": planted.secrets["shopify"],
            "webhook_secrets": f"whsec_{planted.secrets['webhooks']}",
            "amplitude.api_key": planted.secrets["amplitude"],
            "amplitude.secret_key": planted.secrets["amplitude2"],
        }.items():
            credentials.set_value(TENANT, name, value)
        token = mint_read_token(
            TENANT, secret=planted.secrets["jwt"], now=datetime.now(UTC), ttl_s=600
        )
        planted.secrets["read token"] = token
        warehouse = (tmp_path / "warehouse.url").read_text().strip()
        client = Segops(stack.url, warehouse, slug=TENANT, api_key=key, read_token=token)
        async with client as api:
            yield stack, api, planted
        for number, line in enumerate(stack.log.splitlines()):
            assert {"event", "level", "timestamp"} <= orjson.loads(line).keys(), number


def _random() -> str:
    return os.urandom(16).hex()


async def test_nothing_planted_comes_out_anywhere(
    talkative: tuple[Stack, Segops, Planted],
) -> None:
    """Neither a credential nor a value of a payload nor a person, whatever is asked and fails."""
    stack, api, planted = talkative
    app = await ClientApp.of(api, Credentials(stack.tenants_file))
    planted.secrets |= {"public key": app.key, "identity": app.secret}
    await say_what_is_taken(api, app, planted)
    await say_what_is_refused(stack, api, planted)

    async def is_stored() -> bool:
        return len(await api.rows()) >= 2 and "Forwarding waits" in stack.log

    await poll_until(is_stored, within_s=30, what="the events are stored, and not forwarded")
    os.kill(stack.pid_of("warehouse"), signal.SIGKILL)  # what is said of it while it is away
    planted.private["stats without a warehouse"] = (await api.get(TENANT_PATHS[0])).body.decode()
    await api.track({"user_id": "later", "event_type": "seen"})
    await listen(stack, api, planted)
    assert "Request answered" in stack.log
    assert list(planted.found()) == []


async def say_what_is_taken(api: Segops, app: ClientApp, planted: Planted) -> None:
    """Send what is stored, with all that is secret in it."""
    secret, person = planted.secrets, planted.people
    payload = {"card": secret["payload"], "deep": {"list": [secret["payload"]]}}
    event = {"user_id": person["user"], "event_type": "order_placed", "payload": payload}
    traits = {"email": person["trait"], "token": secret["trait"]}
    identify = {"user_id": person["user"], "event_type": "context_identified", "payload": traits}
    assert (await api.track(event)).status == 202
    assert (await api.batch([event, identify])).status == 202
    secret["session"] = session = await app.token(person["user"])
    assert (await app.track(session, event)).status == 202
    beacon = f"/api/ingestion/track?session_token={session}"
    assert (await api.ask("POST", beacon, body=orjson.dumps(event))).status == 202
    answer = await api.ask(
        "POST", "/v1/track", headers={"Content-Type": "application/json"},
        body=orjson.dumps(
            {"userId": person["user"], "event": "seen", "properties": payload,
             "writeKey": secret["key"], "context": {"traits": traits}}
        ),
    )  # fmt: skip
    assert answer.status == 200, answer
    async with open_shop(api.url, TENANT) as shop:
        order = {"id": 1, "email": person["shopper"], "note": secret["payload"]}
        body = orjson.dumps(order)
        assert (await shop.deliver("orders/create", body, secret=secret["shopify"])).status == 200


async def say_what_is_refused(stack: Stack, api: Segops, planted: Planted) -> None:
    """Send what is refused at every place, and keep what was said of it."""
    secret, person = planted.secrets, planted.people
    bad = orjson.dumps({"user_id": person["refused"], "payload": secret["refused payload"]})
    key = f"ApiKey {secret['key']}"
    given = (
        ("POST", "/api/ingestion/track", key, bad),
        ("POST", "/api/ingestion/track", key, bad[:-1]),
        ("POST", "/api/ingestion/track", key, b"[" + bad + b"]"),
        ("POST", "/api/ingestion/track", key, bad.replace(b"user_id", b"event_type")),
        ("POST", "/api/ingestion/track/batch", key, b'{"events":[' + bad + b",1]}"),
        ("POST", "/api/ingestion/track", f"ApiKey {secret['wrong key']}", bad),
        ("POST", "/api/ingestion/track", f"Bearer {secret['wrong token']}", bad),
        ("POST", "/api/ingestion/track", f"{secret['header']} x", bad),
        ("POST", f"/api/ingestion/track?session_token={secret['query']}", "", bad),
        ("POST", f"/nothing/{secret['path']}?key={secret['query']}", key, bad),
        ("GET", f"/api/ingestion/events/{secret['path']}", f"Bearer {secret['read token']}", b""),
        ("GET", f"/api/ingestion/stats?window={secret['query']}", f"Bearer {secret['wrong token']}",
         b""),
        ("POST", "/api/auth/session", f"ApiKey {secret['public key']}", bad[:-1]),
        ("POST", "/api/workflow/runs", f"Bearer {secret['read token']}", bad),
        ("POST", "/v1/batch", f"Basic {b64encode(secret['wrong key'].encode()).decode()}", bad),
        ("POST", "/2/httpapi", "", orjson.dumps({"api_key": secret["wrong key"], "events": []})),
        ("POST", f"/api/ingestion/webhook/{TENANT}", secret["header"], bad),
        (secret["path"].upper(), "/api/ingestion/track", key, bad),
    )  # fmt: skip
    for number, (method, target, authorization, body) in enumerate(given):
        headers = {"Content-Type": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        answer = await api.ask(method, target, headers=headers, body=body)
        assert answer.status >= 400 or b'"skipped":2' in answer.body, answer
        said = f"{dict(answer.headers)} {answer.body.decode()}"
        planted.private[f"answer {number}: {answer.status} {answer.error_type}"] = said
    async with open_shop(stack.url, TENANT) as shop:
        answer = await shop.deliver("orders/create", bad, secret=secret["wrong shopify"])
        assert answer.status == 401
        planted.private["Shopify's answer"] = answer.body.decode()


async def listen(stack: Stack, api: Segops, planted: Planted) -> None:
    """Keep all that Sluice says of itself."""
    async with aiohttp.ClientSession() as session:
        for url, paths in ((stack.url, OPEN_PATHS), (stack.worker_url, WORKER_PATHS)):
            for path in paths:
                async with session.get(url + path) as answer:
                    planted.public[f"{url}{path}"] = await answer.text()
    for path in TENANT_PATHS:

        async def answers(path: str = path) -> bytes | None:
            found = await api.get(path)
            return found.body if found.status == 200 else None

        said = await poll_until(answers, within_s=30, what=f"{path} answers")
        planted.private[path] = said.decode()
    planted.public["stdout"] = stack.output
    planted.public["stderr"] = stack.log
