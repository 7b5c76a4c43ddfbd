"""A real browser on a page of another origin: handshake, fetch, keepalive, beacon."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support.browser import MISSING, find_chromium, page_server, running_chromium
from tests.support.client_app import SESSION, ClientApp
from tests.support.poll import poll_until
from tests.support.segops import TRACK, VISIBLE_WITHIN_S

PAGE = """<!doctype html><title>A shop</title><script>
const post = (url, credential, body, more) => fetch(url, {
  method: "POST", body: JSON.stringify(body), ...more,
  headers: {"Authorization": credential, "Content-Type": "application/json"},
});
const read = async (answer) => ({status: answer.status, body: await answer.json(),
  error: answer.headers.get("x-error-type")});
const blocked = (error) => ({status: 0, error: error.name});
const ask = (...words) => post(...words).then(read).catch(blocked);
const beacon = (url, token, event_type) =>
  navigator.sendBeacon(`${url}?session_token=${token}`, JSON.stringify({event_type}));
const leave = (url, token) => addEventListener("pagehide", () => {
  beacon(url, token, "left_by_beacon");
  post(url, `Bearer ${token}`, {event_type: "left_by_fetch"}, {keepalive: true});
});
</script>"""


GUIDE = (Path(__file__).parents[2] / "docs/client-apps.md").read_text()


def snippet(language: str) -> str:
    """Return the one piece of code in a language that the guide shows."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium; where it is missing CI fails, and people are told."""
    path = find_chromium()
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING)
    assert path is not None, MISSING
    async with running_chromium(path) as running:
        yield running


async def ask(
    page: Page, url: str, credential: str, body: object, **more: object
) -> dict[str, object]:
    answer: dict[str, object] = await page.evaluate(
        "(words) => ask(...words)", [url, credential, body, more]
    )
    return answer


async def test_browser_on_another_origin_opens_a_session_and_sends_until_it_leaves(
    app: ClientApp, browser: Browser
) -> None:
    url = app.api.url + TRACK
    async with page_server(PAGE) as origin:
        await app.set_key(allowed_origins=origin)
        page = await browser.new_page()
        await page.goto(origin)
        opened = await ask(page, app.api.url + SESSION, f"ApiKey {app.key}", {"user_id": "ann"})
        assert opened["status"] == 200, opened
        assert isinstance(opened["body"], dict)
        token = str(opened["body"]["token"])
        event = {"user_id": "somebody-else", "event_type": "seen"}
        assert (await ask(page, url, f"Bearer {token}", event))["status"] == 202
        kept = {"event_type": "kept"}
        assert (await ask(page, url, f"Bearer {token}", kept, keepalive=True))["status"] == 202
        assert await page.evaluate("(words) => beacon(...words)", [url, token, "beacon"])
        ended = await ask(page, url, f"Bearer {token}x", event)
        assert (ended["status"], ended["error"]) == (401, "token_invalid"), "readable for the page"
        await page.evaluate("(words) => leave(...words)", [url, token])
        await page.close(run_before_unload=True)
        rows = await app.api.rows_when(5)
    assert sorted(row.event_type for row in rows) == [
        "beacon",
        "kept",
        "left_by_beacon",
        "left_by_fetch",
        "seen",
    ]
    assert {row.user_id for row in rows} == {"ann"}


async def test_browser_on_an_origin_that_is_not_allowed_cannot_send(
    app: ClientApp, browser: Browser
) -> None:
    """Neither with the public key, which anyone can read, nor with a token that it got hold of."""
    url = app.api.url + TRACK
    stolen = await app.token("ann")
    async with page_server(PAGE) as origin:
        page = await browser.new_page()
        await page.goto(origin)
        blocked = {"status": 0, "error": "TypeError"}
        assert await ask(page, app.api.url + SESSION, f"ApiKey {app.key}", {}) == blocked
        assert await ask(page, url, f"Bearer {stolen}", {"event_type": "seen"}) == blocked
        assert await page.evaluate("(words) => beacon(...words)", [url, stolen, "beacon"])

        async def is_refused() -> bool:
            found = (await app.api.errors())["results"]
            return any(one["error_type"] == "origin_not_allowed" for one in found)

        await poll_until(is_refused, within_s=VISIBLE_WITHIN_S, what="the beacon was refused")
        await page.close()
    await app.api.assert_stored_only([])


async def test_what_the_guide_shows_runs_as_it_stands(app: ClientApp, browser: Browser) -> None:
    """The signing server and the page of docs/client-apps.md, with address and key put in."""
    server: dict[str, Any] = {}
    exec(snippet("python"), server)  # noqa: S102 - our own page
    script = snippet("js").replace("https://events.example", app.api.url)
    script = script.replace("pk_live_…", app.key)
    html = f"<!doctype html><meta charset=utf-8><script>{script}</script>"
    async with page_server(html, sign=lambda: server["sign"](app.secret, "ann")) as origin:
        await app.set_key(allowed_origins=origin, requires_signature="true")
        page = await browser.new_page()
        await page.goto(origin)
        for _ in range(2):
            status = await page.evaluate("track('seen', {n: 1}).then((answer) => answer.status)")
            assert status == 202
        await page.close(run_before_unload=True)
        rows = await app.api.rows_when(3)
    assert sorted(row.event_type for row in rows) == ["page_left", "seen", "seen"]
    assert {row.user_id for row in rows} == {"ann"}
