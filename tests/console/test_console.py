"""Each panel shows the truth, and goes on doing so; nothing leaves the origin."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.console.page import AXE, SHOWN_WITHIN_S, Console, opened
from tests.console.rig import (
    ARABIC,
    LETTERS,
    REFUSED_TYPE,
    RUNS,
    STATUS,
    Rig,
    dead_letter,
    read,
    send_hostile,
    send_wikiticker,
    start,
    start_run,
)
from tests.faults.recovery.clickhouse import ask
from tests.support.poll import poll_until
from tests.support.segops import Segops, assert_queued
from tests.support.shared import SharedParts

pytestmark = pytest.mark.timeout(300)  # a real browser, on a machine that may be busy
NAMES = {"pubsub_topic": "Queue", "worker": "Worker", "clickhouse": "Warehouse"}
ALL_EVENTS = 501
"""The 500 of wikiticker and the one that Amplitude refuses."""


async def same(read_page: Any, read_api: Any, what: str) -> None:
    """Wait until the page shows what the API says; the last of both is in the failure."""
    last: list[object] = []

    async def agree() -> bool:
        last[:] = [await read_page(), await read_api()]
        return bool(last[0] == last[1])

    try:
        await poll_until(agree, within_s=SHOWN_WITHIN_S, every_s=0.1, what=what)
    except TimeoutError:
        pytest.fail(f"{what}:\npage {last[0]}\nAPI  {last[1]}")


async def test_console_shows_in_each_panel_what_the_api_says(rig: Rig, browser: Browser) -> None:
    """Numbers of every panel; then the gateway dies and comes back, and the page goes on."""
    async with rig.client() as api, opened(browser, rig.stack.url) as console:
        token = rig.token()
        await console.sign_in(token)
        await console.says("#tail-state", "live")
        await rig.refuse(REFUSED_TYPE)
        await send_wikiticker(api)
        refused = await send_hostile(api)
        await shows_stats(console, api)
        await shows_status(console, api)
        await shows_the_tail(console, api)
        await shows_errors(console, api)
        await shows_the_letter(console, api, refused)
        await shows_a_receipt(console, api, refused)
        await replays_the_letter(console, rig, api)
        await shows_runs(console, api)
        assert await console.page.evaluate("!window.alerted"), "an event type became markup"
        await says_how_old_it_is(console)
        await outlives_the_gateway(console, rig, api)
        await hides_the_token(console, token)
        assert console.page.url == f"{rig.stack.url}/"
        console.assert_quiet()


async def shows_stats(console: Console, api: Segops) -> None:
    for window in ("24h", "7d"):
        await console.page.click(f"[data-window='{window}']")

        async def from_api(window: str = window) -> object:
            stats = await api.stats(f"?window={window}")
            types = [[one["event_type"], f"{one['count']:,}"] for one in stats["event_types"]]
            buckets = [
                [f"{one['event_count']:,}", f"{one['unique_users']:,}"]
                for one in stats["timeseries"]
            ]
            assert stats["total_events"] <= ALL_EVENTS
            is_whole = stats["total_events"] == ALL_EVENTS
            totals = [f"{stats['total_events']:,}", f"{stats['unique_users']:,}"]
            return [totals, buckets, types] if is_whole else "not all yet"

        async def from_page() -> object:
            types = await console.rows("#type-rows > li", ".foreign", ".number")
            rows = await console.cells("#figure-rows", 2, 3, name="textContent")
            totals = await console.rows("#volume", "#total-events", "#total-users")
            return [*totals, rows, types]

        await same(from_page, from_api, f"the volume of {window}")


async def shows_status(console: Console, api: Segops) -> None:
    async def from_api() -> object:
        status = await read(api, STATUS)
        queue = status["queue"]
        return {
            "health": [f"{NAMES[name]} {one['state']}" for name, one in status["health"].items()],
            "destinations": [
                [
                    one["name"],
                    one["state"],
                    f"{one['backlog_events']:,}",
                    one["breaker"],
                    f"{one['parked_events']:,}",
                ]
                for one in status["destinations"]
            ],
            "queue": f"{queue['condition']} {queue['stored_bytes']}",
            "who": f"{status['tenant']} · {status['version']}",
        }

    async def from_page() -> object:
        rows = await console.cells("#destination-rows", 1, 2, 3, 5, 6)
        stored = (await console.text("#gauges .gauge-row .number")).split()
        factor = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}[stored[1]]
        status = await read(api, STATUS)
        actual = status["queue"]["stored_bytes"]
        shown = float(stored[0].replace(",", "")) * factor
        is_near = abs(shown - actual) <= max(0.05 * factor, 0.01 * actual)
        health = await console.rows("#health > li", ".name", ".badge")
        return {
            "health": [f"{part} {_words(state)}" for part, state in health],
            "destinations": [[_words(cell) for cell in row] for row in rows],
            "queue": f"{_words(await console.text('#gauges .badge'))} "
            f"{actual if is_near else shown}",
            "who": await console.text("#who"),
        }

    await same(from_page, from_api, "health, destinations and queue")
    assert (await read(api, "/api/ingestion/health"))["clickhouse"] == "ok"


def _words(text: str) -> str:
    return " ".join(text.strip("●▲■○◐ ").replace("●", "").replace("▲", "").split())


async def shows_the_tail(console: Console, api: Segops) -> None:
    await console.says("#rate-note", f"{ALL_EVENTS} events in the ")
    await console.says("#tail-state", f"{ALL_EVENTS} since")
    ids = await console.page.locator("#tail-rows > tr").evaluate_all(
        "(rows) => rows.map((row) => row.dataset.event)"
    )
    stored = {row.event_id: row for row in await api.rows()}
    assert len(ids) == len(set(ids)) > 0
    assert set(ids) <= set(stored)
    rows = await console.cells("#tail-rows", 2, 3)
    assert [row[0] for row in rows] == [stored[one].event_type for one in ids]
    shown = " ".join(await console.texts("#tail-rows"))
    assert "x" * 300 not in shown, "payloads show names and types only"
    users = {row[1] for row in rows}
    assert not {row.user_id for row in stored.values()} & users, "user ids are masked"
    await filters_and_pauses(console, api)


async def filters_and_pauses(console: Console, api: Segops) -> None:
    page = console.page
    await page.fill("#tail-type", "wanted")
    await page.keyboard.press("Enter")
    await console.says("#tail-empty", "Waiting for an event that fits")
    for event_type in ("unwanted", "wanted"):
        await api.track({"user_id": "u-2", "event_type": event_type})
    await console.says("#tail-rows", "wanted")
    assert await console.texts("#tail-rows > tr > :nth-child(2)") == ["wanted"]
    await page.click("#tail-pause")
    await api.track({"user_id": "u-2", "event_type": "wanted"})
    await console.says("#tail-state", "1 held back")
    assert await page.locator("#tail-rows > tr").count() == 1
    await page.click("#tail-pause")
    assert await page.locator("#tail-rows > tr").count() == 2
    await page.click("#tail-clear")


async def shows_errors(console: Console, api: Segops) -> None:
    async def from_api() -> object:
        counts: dict[str, int] = {}
        for one in (await api.errors("?limit=100"))["results"]:
            counts[one["error_type"]] = counts.get(one["error_type"], 0) + one["occurrences"]
        return {name: f"{count:,} \N{MULTIPLICATION SIGN}" for name, count in counts.items()}

    async def from_page() -> object:
        rows = await console.rows("#error-rows > li", ".row > code", ".row > .number")
        return {row[0]: row[1] for row in rows}

    await same(from_page, from_api, "recent errors")
    shown = await console.text("#error-rows > [data-type='event_type_missing']")
    assert "event_type is missing." in shown
    assert "Do: Send event_type." in shown


async def shows_the_letter(console: Console, api: Segops, refused: str) -> None:
    async def from_api() -> object:
        found = await read(api, LETTERS)
        letters = [[one["destination"], one["event_type"]] for one in found["dead_letters"]]
        return [letters, f"{found['total']} dead letter."]

    async def from_page() -> object:
        return [await console.cells("#letter-rows", 2, 3), await console.text("#letters-note")]

    await console.page.wait_for_selector(f"[data-letter='{refused}']")
    await same(from_page, from_api, "dead letters")
    assert (await console.cells("#letter-rows", 2, 3)) == [["amplitude", REFUSED_TYPE]]


async def shows_a_receipt(console: Console, api: Segops, refused: str) -> None:
    await console.page.click(f"[data-letter='{refused}'] button")
    receipt = await read(api, f"/api/ingestion/events/{refused}")
    await console.says("#receipt-state", receipt["summary"])
    assert await console.is_focused("#receipt-id")
    steps = await console.texts("#receipt-body .trace > li > strong")
    assert steps == [one["step"] for one in receipt["trace"]]
    facts = await console.texts("#receipt-body dd")
    assert facts[:2] == [refused, REFUSED_TYPE]
    assert receipt["user_id"] in facts[2]
    await console.page.fill("#receipt-id", f"unknown/{ARABIC}")
    await console.page.keyboard.press("Enter")
    await console.says("#receipt-state", "Ask again in a few seconds")
    assert "/api/" not in await console.text("#receipt-state")
    assert await console.page.get_attribute("#receipt-state a", "href") == "#errors"


async def replays_the_letter(console: Console, rig: Rig, api: Segops) -> None:
    page = console.page
    await rig.refuse()
    await page.click("#replay-open")
    await page.click("#replay-form [value=full]")
    await page.click("#replay-form [type=submit]")
    await console.says("#run-news", "Started run wf-")
    await console.says("#run-one .row", "succeeded")
    run_id = (await console.text("#run-one h3")).removeprefix("Run ")
    run = await read(api, f"{RUNS}/{run_id}?view=verbose")
    steps = await console.texts("#run-one .trace > li > strong")
    assert steps == [one["label"] for one in run["task_instances"]]
    assert run["outputs"]["delivered"] == 1, run["outputs"]
    await console.says("#letters .panel-state", "No dead letters")


async def shows_runs(console: Console, api: Segops) -> None:
    async def from_api() -> object:
        found = (await read(api, RUNS))["data"]
        return [[one["state"], f"{one['name']} {one['id']} · {one['type']}"] for one in found]

    async def from_page() -> object:
        cells = await console.cells("#run-rows", 1, 2)
        return [[_words(state), name] for state, name in cells]

    await same(from_page, from_api, "runs")


async def says_how_old_it_is(console: Console) -> None:
    """Without a network the figures stay, with their time; with one again they are fresh."""
    context = console.page.context
    await context.set_offline(True)
    await console.says("#link", "The gateway has not answered since")
    await console.says("#now .as-of", "as of")
    await console.says("#volume .as-of", "as of")
    assert await console.page.is_visible("#total-events")
    await context.set_offline(False)
    await console.page.click("#link button")
    await is_fresh_again(console)


async def is_fresh_again(console: Console) -> None:
    async def it_is() -> bool:
        shown = [await console.text(one) for one in ("#link", "#now .as-of", "#volume .as-of")]
        return not any(shown)

    await poll_until(
        it_is, within_s=SHOWN_WITHIN_S, every_s=0.1, what="the page found the gateway again"
    )


async def outlives_the_gateway(console: Console, rig: Rig, api: Segops) -> None:
    async def stored() -> object:
        return f"{(await api.stats('?window=7d'))['total_events']:,}"

    async def shown() -> object:
        return await console.text("#total-events")

    await same(shown, stored, "the total before the gateway dies")
    before = await shown()
    os.kill(_gateway_of(rig), signal.SIGKILL)
    await console.says("#link", "The gateway has not answered since")
    assert await shown() == before

    await is_fresh_again(console)
    assert (await api.track({"user_id": "u-3", "event_type": "after_restart"})).status == 202
    await console.says("#tail-rows", "after_restart")
    await shows_status(console, api)


def _gateway_of(rig: Rig) -> int:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if parent == str(rig.stack.pid) and b"gateway" in command:
                return int(folder.name)
    raise AssertionError("no process of this stack is its gateway")


async def hides_the_token(console: Console, token: str) -> None:
    kept: str = await console.page.evaluate(
        """async () => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,
        location.href, history.state, window.name, await caches.keys(),
        (await indexedDB.databases()).map((one) => one.name),
        document.documentElement.outerHTML,
        [...document.querySelectorAll("input")].map((one) => one.value)])"""
    )
    assert token not in kept
    assert token.rpartition(".")[2] not in kept
    assert not [one for one in console.requests if token in one]


async def test_console_says_in_the_list_that_a_reconciliation_does_not_add_up(
    rig: Rig, browser: Browser
) -> None:
    """It has succeeded, as it found what is missing: the state alone would say that all is well."""
    slug, api_key, _ = rig.stack.new_tenant()
    async with rig.client(slug, api_key) as api:
        lost = assert_queued(await api.track({"user_id": "u-1", "event_type": "lost"}))
        await api.rows_when(1)
        url = SharedParts(rig.stack).warehouse_url
        await ask(url, "DELETE FROM events WHERE event_id = {lost:UUID}", lost=lost)
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        run_id = await start(api, config_id="cg-reconcile", range_from=today)
        async with opened(browser, rig.stack.url) as console:
            await console.sign_in(rig.token(slug))
            await console.says(f"[data-run='{run_id}']", "does not add up")
            row = f"[data-run='{run_id}'] .badge"
            assert [_words(one) for one in await console.texts(row)] == [
                "succeeded",
                "does not add up",
            ]
            assert await console.page.locator(f"{row}.warn").count() == 1
            if AXE.exists():
                assert await console.violations("#runs") == []
            console.assert_quiet()


async def test_console_stops_a_run_once_it_was_asked_twice(rig: Rig, browser: Browser) -> None:
    """With the keyboard alone; and a token that may only read is told so."""
    async with rig.new_client() as api, opened(browser, rig.stack.url) as console:
        page = console.page
        await rig.refuse(REFUSED_TYPE)
        await send_wikiticker(api)
        await dead_letter(api)
        run_id = await start_run(api, mode="full", rate=1)
        await console.sign_in(rig.token(api.slug, scope="read"))
        await page.click(f"[data-key='run-{run_id}']")
        await console.says("#run-one", "This token may only read.")
        await console.says("#letters-note", "This token may only read.")
        assert (
            await page.locator("[data-key='run-stop']:visible, #replay-open:visible").count() == 0
        )
        await page.click("#sign-out")
        await with_the_keyboard(console, rig.token(api.slug), run_id)
        await console.says("#run-one .row", "canceled")
        assert (await read(api, f"{RUNS}/{run_id}"))["state"] == "canceled"
        console.assert_quiet()


async def with_the_keyboard(console: Console, token: str, run_id: str) -> None:
    """Sign in, open the run, close a dialog, and stop the run, by Tab, Enter and Escape."""
    keys = console.page.keyboard
    assert await console.is_focused("#token")
    await keys.insert_text(token)
    await keys.press("Enter")
    await console.page.wait_for_selector(f"[data-key='run-{run_id}']")
    await tab_to(console, f"[data-key='run-{run_id}']")
    await keys.press("Enter")
    await console.page.wait_for_selector("[data-key='run-stop']")
    await tab_to(console, "[data-key='run-stop']")
    await keys.press("Enter")
    assert await console.is_focused("#stop-cancel"), "what changes nothing is under the finger"
    await keys.press("Escape")
    await console.page.wait_for_selector("#stop-dialog", state="hidden")
    assert await console.is_focused("[data-key='run-stop']"), "the focus is where it was"
    await keys.press("Enter")
    await tab_to(console, "#stop-confirm")
    await keys.press("Enter")
    await console.says("#run-news", "was asked to stop")


async def tab_to(console: Console, selector: str) -> None:
    """Press Tab until the focus is on an element; each stop on the way shows that it has it."""
    for _ in range(400):
        await console.page.keyboard.press("Tab")
        if await console.is_focused(selector):
            return
        shown: str = await console.page.evaluate(
            "document.activeElement === document.body ? 'solid'"
            " : getComputedStyle(document.activeElement).outlineStyle"
        )
        assert shown != "none", await console.page.evaluate("document.activeElement.outerHTML")
    pytest.fail(f"Tab does not reach {selector}")
