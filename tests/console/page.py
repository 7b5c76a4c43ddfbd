"""The console as a person has it: a page of a real Chromium, and what it did behind the scenes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Dialog, Page

from tests.support.poll import poll_until

WIDE: Final = 1360
PHONE: Final = 360
SHOWN_WITHIN_S: Final = 90
"""Long: only what is never shown is wrong, and a machine may be slow."""
AXE: Final = Path(__file__).parents[1] / "peers/node_modules/axe-core/axe.min.js"
AXE_MISSING: Final = "axe-core is not installed; `make test` does that where npm is"
AXE_TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
REFUSED: Final = "Failed to load resource"
"""How Chromium tells of an answer that is no success, or of none; a page can hush neither."""
ROWS_OF: Final = """(rows, [parts, name]) => rows.map((row) => parts.map((part) =>
  (row.querySelector(part)?.[name] ?? "").split(/\\s+/).filter(Boolean).join(" ")))"""
"""Reads parts of each row at one moment, between which the page cannot render."""
WATCH: Final = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`violation of ${event.effectiveDirective}: ${event.blockedURI}`));"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """One page with the console."""

    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    """Every address that the page asked for."""
    troubles: list[str] = field(default_factory=list)
    """What the page or the browser complained of; violations of the policy among them."""

    async def sign_in(self, token: str) -> None:
        """Paste a token, and wait for the panels."""
        await self.page.fill("#token", token)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_selector("#panels:not([hidden])")

    async def text(self, selector: str) -> str:
        """Return the text of one element, with its white space joined."""
        return " ".join((await self.page.inner_text(selector)).split())

    async def texts(self, selector: str) -> list[str]:
        """Return the texts of elements, each with its white space joined."""
        found = await self.page.locator(selector).all_inner_texts()
        return [" ".join(text.split()) for text in found]

    async def rows(self, selector: str, *parts: str, name: str = "innerText") -> list[list[str]]:
        """Return the texts of parts of each element that is found, all read at one moment."""
        found: list[list[str]] = await self.page.locator(selector).evaluate_all(
            ROWS_OF, [parts, name]
        )
        return found

    async def cells(self, body: str, *columns: int, name: str = "innerText") -> list[list[str]]:
        """Return columns of a table's body, read at one moment."""
        parts = (f":scope > :nth-child({column})" for column in columns)
        return await self.rows(f"{body} > tr", *parts, name=name)

    async def says(self, selector: str, words: str) -> None:
        """Wait until an element's text holds these words."""

        last = ""

        async def it_does() -> bool:
            nonlocal last
            last = await self.text(selector)
            return words in last

        try:
            await poll_until(it_does, within_s=SHOWN_WITHIN_S, every_s=0.05)
        except TimeoutError:
            message = f"{selector} does not say {words!r}, but {last!r}"
            raise AssertionError(message) from None

    async def is_focused(self, selector: str) -> bool:
        """Return whether the focus is on an element."""
        found = await self.page.evaluate("(one) => document.activeElement?.matches(one)", selector)
        return bool(found)

    async def violations(self, within: str = "html") -> list[str]:
        """Return what axe-core finds wrong with a part of the page, by its own script."""
        await self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = await self.page.evaluate(
            "([within, tags]) => axe.run(within, {runOnly: tags, resultTypes: ['violations']})",
            [within, list(AXE_TAGS)],
        )
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def assert_quiet(self) -> None:
        """Check that nobody complained, and that the page asked its own origin alone.

        And of that only what clients may reach where Sluice runs for others.
        """
        assert self.troubles == []
        assert {one for one in self.requests if not one.startswith(f"{self.url}/")} == set()
        asked = {urlsplit(one).path for one in self.requests}
        assert {one for one in asked if not one.startswith(("/api/", "/console/"))} == {"/"}


@asynccontextmanager
async def opened(
    browser: Browser,
    url: str,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = WIDE,
    height: int = 900,
    zone: str = "UTC",
) -> AsyncIterator[Console]:
    """Open the console on a page of its own until the block ends."""
    context = await browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        timezone_id=zone,
        reduced_motion="reduce",
    )
    try:
        context.set_default_timeout(SHOWN_WITHIN_S * 1_000)
        page = await context.new_page()
        console = Console(page=page, url=url)
        page.on("request", lambda request: console.requests.append(request.url))
        page.on("pageerror", lambda error: console.troubles.append(str(error)))

        def hear(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and not message.text.startswith(REFUSED):
                console.troubles.append(message.text)

        async def refuse(dialog: Dialog) -> None:
            console.troubles.append(f"a dialog: {dialog.message}")
            await dialog.dismiss()

        page.on("console", hear)
        page.on("dialog", refuse)
        await page.add_init_script(WATCH)
        await page.goto(url)
        await page.wait_for_selector("#sign-in:not([hidden])")
        yield console
    finally:
        await context.close()
