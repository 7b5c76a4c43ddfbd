"""Traces of events, from the edge to their destinations, exported by OTLP where that is asked for.

``open_tracer`` is what the composition roots call. Without an endpoint in OpenTelemetry's variables
it yields None and none of OpenTelemetry's packages is imported.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

from sluice.logs import get_logger
from sluice.tracing.spans import Tracer
from sluice.tracing.variables import tracing_wanted

log: Final = get_logger(__name__)


@asynccontextmanager
async def open_tracer(
    process: Literal["gateway", "worker"],
) -> AsyncIterator[Tracer | None]:
    """Yield a tracer while inside, or None where traces are not exported; flush on leaving.

    Args:
        process: Which of Sluice's processes this is: its ``service.name``, unless one is set.
    """
    wanted = tracing_wanted(os.environ)
    if isinstance(wanted, str):
        log.warning("Traces are not exported", detail=wanted)
        wanted = None
    if wanted is None:
        yield None
        return
    from sluice.tracing.otlp import OtlpTracer

    try:
        tracer = OtlpTracer(process, wanted)
    except (ValueError, OSError) as error:
        # Of the texts of others only the kind: they may repeat a header.
        log.warning("Traces are not exported", detail=f"OpenTelemetry: {type(error).__name__}")
        yield None
        return
    log.info("Traces are exported", ratio=wanted.ratio, follows_parent=wanted.follows_parent)
    try:
        yield tracer
    finally:
        await tracer.close()
