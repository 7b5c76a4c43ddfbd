"""Which answers leave a line in the log: few of many alike, and none is left out uncounted.

For each route and status one line is written at most every ``SUCCESS_EVERY_S`` or
``FAILURE_EVERY_S``, with the number of those left out since the last one; a slow answer has a line
of its own, at most every ``SLOW_EVERY_S``. Routes and statuses are few, so lines are bounded,
whatever clients do. What orchestrators and Prometheus ask leaves a line only when it fails.

A line says who asked for which route and what came of it. It never holds a path, a query, a header,
an address or anything of a body.
"""

import logging
import math
from typing import Final

SUCCESS_EVERY_S: Final = 10.0
FAILURE_EVERY_S: Final = 1.0
SLOW_S: Final = 1.0
"""An answer that takes longer is slow."""
SLOW_EVERY_S: Final = 1.0
BAD_REQUEST: Final = 400
SERVER_ERROR: Final = 500
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""A method may be any word that a client makes up."""

_log = logging.getLogger(__name__)


class Sample:
    """The answers of one route with one status."""

    __slots__ = ("due", "every_s", "labels", "left_out", "level", "slow_due")

    def __init__(self, route: str, status: int, *, every_s: float, slow_due: float) -> None:
        self.labels = (route, str(status))
        """For the metrics."""
        self.level = logging.WARNING if status >= SERVER_ERROR else logging.INFO
        self.every_s = every_s
        self.due = math.inf if math.isinf(every_s) else -math.inf
        """No earlier than then the next line is written, by ``time.perf_counter``."""
        self.slow_due = slow_due
        """The same for the line of a slow answer."""
        self.left_out = 0


class RequestLog:
    """Writes the lines; ``mode`` is SLUICE_LOG_REQUESTS."""

    def __init__(self, mode: str = "sampled") -> None:
        self._mode = mode

    def sample(self, route: str, status: int, *, is_for_operators: bool) -> Sample:
        """Return the sampling of a route's answers with a status."""
        if self._mode == "off":
            return Sample(route, status, every_s=math.inf, slow_due=math.inf)
        if self._mode == "all":
            every_s = 0.0
        elif status >= BAD_REQUEST:
            every_s = FAILURE_EVERY_S
        else:
            every_s = math.inf if is_for_operators else SUCCESS_EVERY_S
        return Sample(route, status, every_s=every_s, slow_due=-math.inf)

    def write(
        self,
        sample: Sample,
        *,
        now: float,
        duration_s: float,
        method: str,
        request_id: str,
        tenant: str | None,
        error_type: str | None,
    ) -> None:
        """Write the line of an answer that is due or slow, or count it where lines are bounded."""
        is_slow = duration_s >= SLOW_S
        if now < sample.due and now < sample.slow_due:
            sample.left_out += 1
            return
        if is_slow:
            sample.slow_due = now + SLOW_EVERY_S
        sample.due = now + sample.every_s
        fields: dict[str, object] = {
            "request_id": request_id,
            "method": method if method in METHODS else "other",
            "route": sample.labels[0],
            "status": int(sample.labels[1]),
            "duration_ms": round(duration_s * 1000, 1),
        }
        if tenant is not None:
            fields["tenant"] = tenant
        if error_type is not None:
            fields["error_type"] = error_type
        if sample.left_out:
            fields["left_out"] = sample.left_out
            sample.left_out = 0
        _log.log(logging.WARNING if is_slow else sample.level, "Request answered", extra=fields)
