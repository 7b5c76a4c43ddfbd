"""The console as a person has it: a page of a real Chromium, and what it did behind the scenes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from playwright.async_api import Browser, ConsoleMessage, Page

from tests.support.poll import poll_until

WIDE: Final = 1360
PHONE: Final = 360
SHOWN_WITHIN_S: Final = 20
AXE: Final = Path(__file__).parents[1] / "peers/node_modules/axe-core/axe.min.js"
AXE_MISSING: Final = "axe-core is not installed; `make test` does that where npm is"
AXE_TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
REFUSED: Final = "Failed to load resource"
"""How Chromium tells of an answer that is no success, or of none; a page can hush neither."""
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

    async def cells(self, body: str, *columns: int) -> list[list[str]]:
        """Return columns of a table's body."""
        columns_of: list[list[str]] = [
            await self.texts(f"{body} > tr > :nth-child({column})") for column in columns
        ]
        return [list(row) for row in zip(*columns_of, strict=True)]

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

    async def violations(self) -> list[str]:
        """Return what axe-core finds wrong with the page as it is; the script is the test's own."""
        await self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = await self.page.evaluate(
            "(tags) => axe.run(document, {runOnly: tags})", list(AXE_TAGS)
        )
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def assert_quiet(self) -> None:
        """Check that nobody complained, and that the page asked its own origin alone."""
        assert self.troubles == []
        assert {one for one in self.requests if not one.startswith(f"{self.url}/")} == set()


@asynccontextmanager
async def opened(
    browser: Browser,
    url: str,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = WIDE,
    height: int = 900,
) -> AsyncIterator[Console]:
    """Open the console on a page of its own until the block ends."""
    context = await browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    try:
        page = await context.new_page()
        console = Console(page=page, url=url)
        page.on("request", lambda request: console.requests.append(request.url))
        page.on("pageerror", lambda error: console.troubles.append(str(error)))

        def hear(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and not message.text.startswith(REFUSED):
                console.troubles.append(message.text)

        page.on("console", hear)
        await page.add_init_script(WATCH)
        await page.goto(url)
        await page.wait_for_selector("#sign-in:not([hidden])")
        yield console
    finally:
        await context.close()
