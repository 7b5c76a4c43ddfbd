"""When which fault happens: all of them, in shares of the time that a run takes.

First in each project's script is what is bad for good, so that no answer which says that an event
was taken comes before it is refused.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.faults.forwarding.plan import TenantPlan
from tests.faults.forwarding.stack import ForwardingStack

HANG: Final[Mapping[str, Any]] = {"fault": "hang", "seconds": 7.0, "times": 1}
"""Longer than the worker waits for one request of a batch."""
OUTAGE: Final[Mapping[str, Any]] = {"fault": "reset", "stored": False}
EVENTS_PER_S: Final = 200
"""Of one user, so that the busy ones are throttled by Amplitude's own rule, too."""
WINDOW_S: Final = 2.0
OVER_QUOTA: Final = 500_200
RANDOM: Final[Mapping[str, tuple[float, Mapping[str, Any]]]] = {
    "503": (0.04, {}),
    "500": (0.03, {"stored": True}),
    "504": (0.03, {}),
    "reset": (0.01, {"stored": False}),
    "short_body": (0.01, {"stored": True}),
    "html": (0.01, {}),
    "cut_body": (0.01, {}),
    "garbage": (0.01, {}),
    "408": (0.005, {}),
    "429": (0.002, {"retry_after_s": 1}),
    "302": (0.002, {}),
}
"""What may happen to any request, with its share of the requests: 5xx to one in ten."""


class Script:
    """Makes the faults happen.

    Args:
        stack: Whose simulator.
        plans: The projects, and who meets what.
        seconds: How long the script takes.
        seed: Of what is random.
        hangs: How many requests are never answered; each holds a batch up.
    """

    def __init__(
        self,
        stack: ForwardingStack,
        plans: Sequence[TenantPlan],
        *,
        seconds: float,
        seed: int,
        hangs: int,
    ) -> None:
        self._stack = stack
        self._plans = plans
        self._seconds = seconds
        self._seed = seed
        self._hangs = hangs
        self._started = 0.0

    async def begin(self) -> None:
        """Set up the projects with the faults that happen all the time."""
        for place, plan in enumerate(self._plans):
            hangs = range(place, self._hangs, len(self._plans))
            await self._stack.simulate(
                api_key=plan.amplitude_key,
                eps_threshold=EVENTS_PER_S,
                window_s=WINDOW_S,
                bad_field={"field": "event_properties", "user_ids": plan.invalid},
                faults=[
                    *self._always(place, plan),
                    *({**HANG, "after": 20, "stored": bool(n % 2)} for n in hangs),
                ],
            )

    async def run(self) -> None:
        """Make happen what comes and goes."""
        self._started = time.monotonic()
        first, second, third = (self._plans[n].amplitude_key for n in range(3))
        await self._at(0.02)
        await self._throttle(for_s=0.2 * self._seconds)
        await self._at(0.15)
        for plan in self._plans:
            await self._stack.simulate(
                api_key=plan.amplitude_key,
                over_quota={
                    "user_ids": dict.fromkeys(plan.over_quota, OVER_QUOTA),
                    "for_s": 0.3 * self._seconds,
                },
            )
        await self._at(0.25)
        await self._stack.simulate(api_key=first, quota_ended_for_s=0.1 * self._seconds)
        await self._at(0.4)
        await self._stack.simulate(api_key=second, revoked=True)
        await self._at(0.5)
        await self._replace_faults(OUTAGE)
        await self._at(0.6)
        await self._replace_faults()
        await self._stack.simulate(api_key=second, revoked=False)
        await self._at(0.65)
        await self._throttle(for_s=None)
        await self._at(0.75)
        await self._stack.simulate(api_key=third, revoked=True)
        await self._at(0.9)
        await self._stack.simulate(api_key=third, revoked=False)

    async def end(self) -> None:
        """End what may end; the throttled users stay so until ``release``."""
        for plan in self._plans:
            await self._stack.simulate(
                api_key=plan.amplitude_key,
                clear_faults=True,
                faults=_for_good(plan),
                release=True,
                throttle={"user_ids": plan.throttled, "eps": EVENTS_PER_S},
                revoked=False,
                quota_ended_for_s=0.0,
                eps_threshold=None,
            )

    async def release(self) -> None:
        """Let the users go that were throttled in the end."""
        for plan in self._plans:
            await self._stack.simulate(api_key=plan.amplitude_key, release=True)

    async def _replace_faults(self, *first: Mapping[str, Any]) -> None:
        for place, plan in enumerate(self._plans):
            await self._stack.simulate(
                api_key=plan.amplitude_key,
                clear_faults=True,
                faults=[*first, *self._always(place, plan)],
            )

    def _always(self, place: int, plan: TenantPlan) -> list[Mapping[str, Any]]:
        seed = self._seed + 100 * place
        return [
            *_for_good(plan),
            *(
                {"fault": name, "rate": rate, "seed": seed + index, **rest}
                for index, (name, (rate, rest)) in enumerate(RANDOM.items())
            ),
        ]

    async def _throttle(self, *, for_s: float | None) -> None:
        for plan in self._plans:
            await self._stack.simulate(
                api_key=plan.amplitude_key,
                throttle={
                    "user_ids": plan.throttled,
                    "for_s": for_s,
                    "eps": EVENTS_PER_S,
                },
            )

    async def _at(self, share: float) -> None:
        due_at = self._started + share * self._seconds
        await asyncio.sleep(max(0.0, due_at - time.monotonic()))


def _for_good(plan: TenantPlan) -> Sequence[Mapping[str, Any]]:
    """Return what refuses some users' events, however often they come."""
    return [
        {"fault": "403", "user_ids": plan.forbidden},
        {"fault": "413", "user_ids": plan.too_large},
    ]
