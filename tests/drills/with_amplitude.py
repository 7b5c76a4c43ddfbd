"""Drills in which Amplitude, or what runs at Amplitude, is in trouble."""

from collections.abc import AsyncGenerator
from typing import Final

from tests.drills.site import AMPLITUDE_KEY, EVENT_TYPE, TENANT, OneMachine
from tests.support.poll import poll_until

NEW_KEY: Final = "another-key-of-the-drill"
DRAINED_WITHIN_S: Final = 60


async def key_refused(site: OneMachine) -> AsyncGenerator[str, None]:
    """Amplitude refuses the tenant's key; the tenant gets another one."""
    await site.simulate(api_key=AMPLITUDE_KEY, revoked=True)
    yield "Amplitude refuses the tenant's API key"
    await site.simulate(keys=[NEW_KEY])
    ran = await site.sluice("tenant", "set", TENANT, f"amplitude.api_key={NEW_KEY}")
    assert ran.status == 0, ran
    yield "sluice tenant set with the right key"
    stored = sum(count for _, count in await site.ledger.read())
    await site.wait_for_amplitude(stored, AMPLITUDE_KEY, NEW_KEY)


async def events_refused(site: OneMachine) -> AsyncGenerator[str, None]:
    """Amplitude refuses some events; they are sent again once it takes them."""
    bad = {"field": "event_properties", "share": 0.1, "seed": 8}
    await site.simulate(api_key=AMPLITUDE_KEY, bad_field=bad)
    yield "Amplitude refuses a tenth of the events"
    await site.simulate(api_key=AMPLITUDE_KEY, bad_field=None)
    words = ("replay", "--tenant", TENANT, "--since", "1h", "--dead-letters", "--yes")
    ran = await site.sluice(*words)
    assert ran.status == 0, ran
    yield "its cause mended, sluice replay --dead-letters"
    stored = sum(count for _, count in await site.ledger.read(EVENT_TYPE))
    await site.wait_for_amplitude(stored, AMPLITUDE_KEY)


async def project_throttled(site: OneMachine) -> AsyncGenerator[str, None]:
    """Amplitude lets the whole project wait; events gather on the worker's disk."""
    await site.simulate(api_key=AMPLITUDE_KEY, quota_ended_for_s=3_600)
    yield "Amplitude throttles the project"
    await site.simulate(api_key=AMPLITUDE_KEY, quota_ended_for_s=0)
    yield "Amplitude takes events again"

    async def is_sent() -> bool:
        return not await site.parked()

    _: bool = await poll_until(is_sent, within_s=DRAINED_WITHIN_S, what="nothing is parked")
    stored = sum(count for _, count in await site.ledger.read())
    await site.wait_for_amplitude(stored, AMPLITUDE_KEY)


async def run_fails(site: OneMachine) -> AsyncGenerator[str, None]:
    """A run exports a cohort that Amplitude does not have."""
    ran = await site.sluice("tenant", "set", TENANT, "amplitude.secret_key=secret")
    assert ran.status == 0, ran
    words = ("workflow", "run", "og-cohort", "--tenant", TENANT, "--input", "cohortId=c1")
    ran = await site.sluice(*words, "--watch")
    assert ran.status == 1, ran
    yield "a run exports a cohort that does not exist"
    listed = await site.sluice("workflow", "runs", "--tenant", TENANT, "--state", "failed")
    assert "amplitude.export-cohort" in listed.stdout, listed
    cohort = {"id": "c1", "name": "All", "user_ids": ["user-1"]}
    await site.simulate(api_key=AMPLITUDE_KEY, cohorts=[cohort])
    ran = await site.sluice(*words, "--watch")
    assert ran.status == 0, ran
    yield "the cohort made, the run started again"
