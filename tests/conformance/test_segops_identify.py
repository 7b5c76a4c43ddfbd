"""Cases 109 to 111: what ``users`` says of people."""

from typing import Any

from tests.support.poll import poll_until
from tests.support.segops import VISIBLE_WITHIN_S, Segops, assert_queued


async def identify(api: Segops, occurred_at: str | None, **traits: object) -> None:
    """Send traits of u-1."""
    event = {
        "user_id": "u-1",
        "event_type": "context_identified",
        "occurred_at": occurred_at,
        "payload": traits,
    }
    assert_queued(await api.track(event))


async def traits_when(api: Segops, expected: Any) -> None:
    """Wait until ``users`` shows exactly these traits of u-1."""

    async def shown() -> bool:
        return bool((await api.users()).get("u-1") == expected)

    await poll_until(shown, within_s=VISIBLE_WITHIN_S, every_s=0.05, what=f"users shows {expected}")


async def test_case_109_later_event_counts_whatever_came_first(api: Segops) -> None:
    await identify(api, "2026-04-25T15:00:00Z", plan="late", seats=5)
    await identify(api, "2026-04-25T14:00:00Z", plan="early", company="Acme")
    await traits_when(api, {"plan": "late", "seats": 5, "company": "Acme"})
    await api.rows_when(2)


async def test_case_110_clock_in_the_future_freezes_nothing(api: Segops) -> None:
    await identify(api, "2200-01-01T00:00:00Z", plan="future")
    await traits_when(api, {"plan": "future"})
    await identify(api, None, plan="now")
    await traits_when(api, {"plan": "now"})


async def test_case_111_null_removes_a_trait_and_a_later_value_brings_it_back(api: Segops) -> None:
    await identify(api, None, plan="starter", address={"city": "Graz"})
    await traits_when(api, {"plan": "starter", "address": {"city": "Graz"}})
    await identify(api, None, plan=None)
    await traits_when(api, {"address": {"city": "Graz"}})
    await identify(api, None)
    await identify(api, None, plan="pro", address={"zip": 8010})
    await traits_when(api, {"plan": "pro", "address": {"zip": 8010}})
