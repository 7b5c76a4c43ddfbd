"""``GET /api/ingestion/health``: for people and monitors, not for orchestrators."""

from dataclasses import dataclass

from aiohttp import hdrs

from gateway.core.answers import Answer, ok
from gateway.dispatch import Exchange, Route
from gateway.health import HealthProbe


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRoutes:
    """The handler and what it asks."""

    probe: HealthProbe

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(
                name="health",
                path="/api/ingestion/health",
                handlers={hdrs.METH_GET: self.health},
                is_for_operators=True,
            )
        ]

    async def health(self, _exchange: Exchange) -> Answer:
        """Return 200 when queue, worker and warehouse are well, else 503."""
        health = await self.probe.check()
        return ok(health, status=200 if health.is_well else 503)
