"""Who is let in, until when, and what the others are told."""

import pytest
from playwright.async_api import Browser

from gateway.core.auth import LEEWAY_S
from tests.console.page import opened
from tests.console.rig import Rig

pytestmark = pytest.mark.timeout(300)  # a real browser, on a machine that may be busy
BRIEF_S = 10
"""A token's life that is long enough to sign in, and short enough to wait for its end."""


async def test_console_says_in_a_sentence_why_it_does_not_let_one_in(
    rig: Rig, browser: Browser
) -> None:
    async with (
        rig.new_client() as api,
        opened(browser, rig.stack.url) as console,
        opened(browser, rig.stack.url) as brief,
    ):
        await brief.sign_in(rig.token(api.slug, ttl_s=BRIEF_S - LEEWAY_S))
        await brief.says("#session-end", "Token ends in")
        for token, words in (
            ("", "Paste a token first"),
            (api.api_key, "This is an API key"),
            ("abc.def", "not a whole token"),
            (f"{rig.token(api.slug)}x", "does not take this token"),
            (rig.token(api.slug, ttl_s=-3_600), "has expired"),
            (rig.token("nobody"), "tenant"),
            (rig.token(api.slug, scope="runs"), "does not allow reading"),
        ):
            await console.page.fill("#token", token)
            await console.page.keyboard.press("Enter")
            await console.says("#sign-in-problem", words)
            assert not await console.page.is_visible("#panels")
        await console.says("#sign-in", "In a checkout it is .venv/bin/sluice token demo.")
        await brief.says("#sign-in-problem", "Your token has expired. Sign in with a new one")
        assert not await brief.page.is_visible("#panels")
        assert await brief.is_focused("#token")
        assert api.slug not in await brief.page.content(), "nothing of the tenant is left"
        brief.assert_quiet()
        await console.sign_in(rig.token(api.slug))
        await console.says("#volume .panel-state", "No events in the last 24 hours")
        await console.says("#letters .panel-state", "No dead letters")
        await console.says("#runs .panel-state", "No runs yet")
        await console.says("#error-rows", "Scope denied")
        console.assert_quiet()
