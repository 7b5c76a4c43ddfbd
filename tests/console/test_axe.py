"""What axe-core says of the page, however it looks and whatever is open."""

import os
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from playwright.async_api import Browser

from tests.console.page import AXE, AXE_MISSING, PHONE, WIDE, Console, opened
from tests.console.rig import REFUSED_TYPE, Rig, dead_letter, send_wikiticker, start_run

pytestmark = pytest.mark.timeout(300)  # a real browser, on a machine that may be busy
LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (
    ("light", WIDE),
    ("dark", WIDE),
    ("light", PHONE),
)


async def test_console_has_no_violation_that_axe_finds(rig: Rig, browser: Browser) -> None:
    """Light, dark and on a phone; signed out and in; with each dialog open; with hostile names."""
    if not AXE.exists() and os.environ.get("CI") != "true":
        pytest.skip(AXE_MISSING)
    async with rig.new_client() as api:
        await rig.refuse(REFUSED_TYPE)
        await send_wikiticker(api)
        refused = await dead_letter(api)
        run_id = await start_run(api, mode="full", rate=1)
        for scheme, width in LOOKS:
            async with opened(browser, rig.stack.url, scheme=scheme, width=width) as console:
                token = rig.token(api.slug)
                found = [one async for one in violations(console, token, refused, run_id)]
                assert found == [], f"{scheme}, {width} pixels"
                console.assert_quiet()


async def violations(console: Console, token: str, refused: str, run_id: str) -> AsyncIterator[str]:
    """Go through all that the page may show, and yield what axe finds wrong on the way."""
    page = console.page
    await page.fill("#token", "sk_live_x")
    await page.keyboard.press("Enter")
    await console.says("#sign-in-problem", "This is an API key")
    for one in await console.violations():
        yield f"sign-in: {one}"
    await console.sign_in(token)
    await page.click(f"[data-key='run-{run_id}']")
    await page.wait_for_selector("[data-key='run-stop']")
    await page.click(f"[data-letter='{refused}'] button")
    await page.wait_for_selector("#receipt-body:not([hidden])")
    await page.click("#volume summary")
    await page.click("#error-rows summary")
    await page.wait_for_selector("#rate-line svg")
    for one in await console.violations():
        yield f"panels: {one}"
    size: list[int] = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert size[0] <= size[1], "the page does not scroll sideways"
    for opener, dialog in (("#replay-open", "replay"), ("[data-key='run-stop']", "stop")):
        await page.click(opener)
        assert await page.is_visible(f"#{dialog}-dialog")
        for one in await console.violations(f"#{dialog}-dialog"):  # the rest of the page is inert
            yield f"{dialog}: {one}"
        await page.click(f"#{dialog}-cancel")
