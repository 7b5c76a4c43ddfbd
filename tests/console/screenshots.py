"""``python -m tests.console.screenshots``: makes the pictures of docs/console.md."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from tests.console.page import PHONE, WIDE, Console, opened
from tests.console.rig import (
    LETTERS,
    Rig,
    read,
    running_rig,
    send_wikiticker,
    start_run,
)
from tests.support.browser import MISSING, find_chromium, running_chromium
from tests.support.poll import poll_until
from tests.support.segops import Segops

FOLDER: Final = Path(__file__).parents[2] / "docs/images"
LOOKS: Final[tuple[tuple[str, Literal["light", "dark"], int, int], ...]] = (
    ("console-light", "light", WIDE, 1_500),
    ("console-dark", "dark", WIDE, 1_500),
    ("console-phone", "light", PHONE, 1_800),
)
ORDER: Final = {"user_id": "user-123", "payload": {"order_id": "ord-456", "total": 89.95}}
SETTLED_S: Final = 12
"""Seconds of traffic before a picture, so that the line of the last minutes has a shape."""


async def main() -> None:
    """Make each picture."""
    path = find_chromium()
    if path is None:
        sys.exit(MISSING)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_rig(Path(folder) / "data") as rig:
        async with rig.client() as api, running_chromium(path) as browser:
            await fill(rig, api)
            for name, scheme, width, height in LOOKS:
                async with opened(
                    browser, rig.stack.url, scheme=scheme, width=width, height=height
                ) as console:
                    await take(console, rig, api, FOLDER / f"{name}.png")


async def fill(rig: Rig, api: Segops) -> None:
    """Send events, some of which are refused, and start a run."""
    await rig.refuse("order_refunded")
    await send_wikiticker(api)
    await api.batch([{**ORDER, "event_type": "order_refunded"}] * 3)

    async def is_dead() -> bool:
        return bool((await read(api, LETTERS))["total"] == 3)

    await poll_until(is_dead, within_s=30, what="three dead letters")
    await start_run(api)


async def take(console: Console, rig: Rig, api: Segops, path: Path) -> None:
    """Take one picture of the console while events come."""
    await console.sign_in(rig.token())
    await console.says("#tail-state", "live")
    for second in range(SETTLED_S):
        events = [{**ORDER, "event_type": "order_placed"}] * (1 + second * 5 % 7)
        await api.batch(events)
        await asyncio.sleep(1)
    await console.page.click("[data-key^='run-']")
    await console.page.wait_for_selector("#run-one .trace")
    await console.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    picture = await console.page.screenshot(path=path)
    print(f"{path.name}: {len(picture):,} bytes")  # noqa: T201 - the command's output


if __name__ == "__main__":
    asyncio.run(main())
