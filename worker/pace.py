"""No more than so many events a second."""

import asyncio


class Pace:
    """Spreads requests so that on average a rate is kept; shared by all who send."""

    def __init__(self, events_per_s: float) -> None:
        self._events_per_s = events_per_s
        self._free_at = 0.0

    async def take(self, events: int) -> None:
        """Wait until a request with so many events may go."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + events / self._events_per_s
        await asyncio.sleep(start - now)
