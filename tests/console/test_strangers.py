"""What strangers wrote stays text, wherever the page shows it, and leaves the page in one piece."""

import re
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson
import pytest
from playwright.async_api import Browser, Route

from sluice.tenants import TenantsFile
from tests.console.page import PHONE, SHOWN_WITHIN_S, WIDE, Console, opened
from tests.console.rig import (
    ARABIC,
    LETTERS,
    REFUSED_TYPE,
    STATUS,
    Rig,
    dead_letter,
    read,
    send_hostile,
    start,
)
from tests.support.poll import poll_until
from tests.support.segops import Segops, assert_counted

pytestmark = pytest.mark.timeout(300)  # a real browser, on a machine that may be busy
HOSTILE: Final = (
    f" {REFUSED_TYPE}</script><script>alert(2)</script>\"'`${{alert(3)}}"
    f"\u202ejavascript:alert(4) {ARABIC} {'w' * 200}"
)
OURS: Final = {
    "breaker",
    "condition",
    "destination",
    "event_id",
    "id",
    "next_token",
    "run_mode",
    "state",
    "type",
}
"""Fields of answers with words and ids that Sluice chooses; in all others is what we planted."""
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT")
LETTERS_SENT: Final = 100
KOLKATA: Final = ZoneInfo("Asia/Kolkata")
OUTSIDE: Final = """() => [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && getComputedStyle(one).clipPath === "none"
    && !one.closest("svg, nav, .scroll, .hidden-text, table.cards thead");
}).map((one) => `${one.tagName} ${one.id} ${one.className} ${one.textContent.slice(0, 40)}`)"""
"""Names what is wider than the window, unless it scrolls by itself."""


async def test_console_executes_nothing_that_strangers_wrote(rig: Rig, browser: Browser) -> None:
    """In every field that an answer has, at both widths; and every panel is still in one piece."""
    async with rig.new_client() as api:
        name: dict[tuple[str, ...], object] = {("name",): f"{REFUSED_TYPE} {ARABIC}"}
        TenantsFile(rig.stack.tenants_file).set_workflow(api.slug, "cg-reconcile", name)
        await rig.refuse(REFUSED_TYPE)
        await dead_letter(api)
        await api.batch(
            [{"user_id": "u", "event_type": HOSTILE * 9, "payload": {HOSTILE: HOSTILE}}]
        )
        letter = {"user_id": HOSTILE[:200], "event_type": REFUSED_TYPE}
        assert_counted(await api.batch([letter] * LETTERS_SENT), queued=LETTERS_SENT, skipped=0)
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        run_id = await start(api, config_id="cg-reconcile", run_mode="source", range_from=today)

        async def are_dead() -> bool:
            return bool((await read(api, LETTERS))["total"] >= LETTERS_SENT)

        await poll_until(are_dead, within_s=SHOWN_WITHIN_S, every_s=0.5, what="dead letters")
        for width in (WIDE, PHONE):
            async with opened(browser, rig.stack.url, width=width) as console:
                await console.page.route("**/api/**", spoil)
                try:
                    await shows_all(console, rig.token(api.slug), run_id, api)
                    assert await console.page.evaluate(OUTSIDE) == []
                finally:
                    await console.page.unroute_all(behavior="ignoreErrors")
                console.assert_quiet()


async def spoil(route: Route) -> None:
    """Answer with what Sluice says, and what a stranger may have written in all of it."""
    if "/tail" in route.request.url:
        await route.continue_()
        return
    answer = await route.fetch()
    said = orjson.loads(await answer.body())
    await route.fulfill(response=answer, body=orjson.dumps(spoiled(said)))


def spoiled(value: Any, name: str = "") -> Any:
    """Return an answer with something hostile behind each text of it."""
    match value:
        case dict():
            return {key: spoiled(one, key) for key, one in value.items()}
        case list():
            return [spoiled(one, name) for one in value]
        case str() if name not in OURS and not TIME.match(value):
            return value + HOSTILE
        case _:
            return value


async def shows_all(console: Console, token: str, run_id: str, api: Segops) -> None:
    """Open whatever the page can open."""
    page = console.page
    await console.sign_in(token)
    await console.says("#tail-state", "live")
    await send_hostile(api)
    await console.says("#run-rows", "onerror=")
    await page.click(f"[data-key='run-{run_id}']")
    await console.says("#run-one .result", "adds up")
    for one in await page.locator("#run-one summary").all():
        await one.click()
    await page.click("#letters-more")
    await page.wait_for_selector(f"#letter-rows > tr:nth-child({LETTERS_SENT})")
    await page.click("#letter-rows > tr:nth-child(1) button")
    await page.wait_for_selector("#receipt-body:not([hidden])")
    await console.says("#receipt-body", "onerror=")
    await page.click("#volume summary")
    for one in await page.locator("#error-rows summary").all():
        await one.click()
    await page.wait_for_selector("#tail-rows > tr")
    for panel in ("who", "health", "destination-rows", "type-rows", "letter-rows", "error-rows"):
        assert "onerror=" in await page.inner_text(f"#{panel}"), panel
    made = "main :is(img, script, iframe, object, embed, base, style, [onerror])"
    assert await page.locator(made).count() == 0
    await page.click("#replay-open")
    await page.click("#replay-cancel")


async def test_console_shows_that_events_wait_when_their_key_is_refused(
    rig: Rig, browser: Browser
) -> None:
    """With the API's own word, and why; each time is told in the reader's own zone."""
    async with (
        rig.new_client() as api,
        opened(browser, rig.stack.url, zone="Asia/Kolkata") as console,
    ):
        await rig.simulate(revoked=True)
        try:
            found = await one_that_waits(api)
            await console.sign_in(rig.token(api.slug))
            row = "#destination-rows > [data-destination='amplitude']"
            await console.says(f"{row} .badge.warn", "waits")
            await console.says(row, "bad_credentials since")
            since = re.search(r"since (\S+Z)", found["troubles"][0])
            assert since is not None, found
            told = console.page.locator(f"{row} time")
            assert await told.get_attribute("datetime") == since[1]
            assert await told.get_attribute("title") == since[1]
            at = datetime.fromisoformat(since[1]).astimezone(KOLKATA)
            assert (await told.inner_text()).endswith(f"{at:%H:%M:%S}")
            assert TIME.search(await console.page.inner_text("main")) is None
            console.assert_quiet()
        finally:
            await rig.simulate(revoked=False)


async def one_that_waits(api: Segops) -> Any:
    """Send events until some of them wait for Amplitude; return what the API says of it."""

    async def it_does() -> Any:
        await api.track({"user_id": "u-1", "event_type": "order_placed"})
        shown = {one["name"]: one for one in (await read(api, STATUS))["destinations"]}
        return shown["amplitude"] if shown["amplitude"]["state"] == "waits" else None

    return await poll_until(it_does, within_s=SHOWN_WITHIN_S, every_s=1, what="events wait")
