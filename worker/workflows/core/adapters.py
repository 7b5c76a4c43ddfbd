"""Adapters: a service as its documents describe it, over the service as it is.

A description names its adapter with ``x-sluice-adapter``. An adapter is a pair of pure functions,
request to request and answer to answer, with a small memory for each run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from worker.workflows.core.calls import Call

Memory = Mapping[str, Any]
"""JSON; what an adapter knows of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What an adapter knows of a request."""

    operation_id: str | None
    path_values: Mapping[str, object]
    visit_id: str
    """Names this visit of this step of this run; the same at each attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The part of an answer that an adapter may change."""

    status: int
    body: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One registered pair."""

    ask: Callable[[Call, Asking, Memory], Call]
    hear: Callable[[Seen, Asking, Memory], tuple[Seen, Memory]]
    repeatable: frozenset[str]
    """Operations that it makes safe to send twice."""


def _cohort(asking: Asking) -> str:
    return str(asking.path_values.get("cohort_id", ""))


def _ask_cohorts(call: Call, asking: Asking, memory: Memory) -> Call:
    """Ask by ``request_id`` once the service has shown that it works that way."""
    request_id = memory.get(_cohort(asking))
    if request_id is None:
        return call
    start = "/api/5/cohorts"
    paths = {
        "getCohortExportStatus": f"{start}/request-status/{quote(request_id, safe='')}",
        "downloadCohortExport": f"{start}/request/{quote(request_id, safe='')}/file",
    }
    return replace(call, path=paths.get(asking.operation_id or "", call.path))


def _hear_cohorts(seen: Seen, asking: Asking, memory: Memory) -> tuple[Seen, Memory]:
    """Present 202 as 200, and ``async_status`` as ``status``; remember the ``request_id``."""
    body = seen.body if isinstance(seen.body, dict) else {}
    if asking.operation_id == "requestCohortExport":
        request_id = body.get("request_id")
        if seen.status != 202 or not isinstance(request_id, str):
            return seen, {name: memory[name] for name in memory if name != _cohort(asking)}
        return replace(seen, status=200), {**memory, _cohort(asking): request_id}
    if asking.operation_id == "getCohortExportStatus" and "status" not in body:
        return _status(seen, body), memory
    return seen, memory


def _status(seen: Seen, body: Mapping[str, object]) -> Seen:
    said = body.get("async_status")
    if seen.status not in (200, 202) or not isinstance(said, str):
        return seen
    word = "complete" if seen.status == 200 else "computing"
    if "ENQUEUED" in said.upper():
        word = "queued"
    if "FAIL" in said.upper():
        word = "failed"
    return Seen(status=200, body={**body, "status": word})


def _ask_http_v2(call: Call, asking: Asking, memory: Memory) -> Call:
    """Give each event an ``insert_id``, so that a repeated request counts once."""
    events = call.body.get("events") if isinstance(call.body, dict) else None
    if not isinstance(call.body, dict) or not isinstance(events, list):
        return call
    named = [
        {**event, "insert_id": str(uuid5(NAMESPACE_URL, f"{asking.visit_id}/{at}"))}
        if isinstance(event, dict) and "insert_id" not in event
        else event
        for at, event in enumerate(events)
    ]
    return replace(call, body={**call.body, "events": named})


def _hear_plainly(seen: Seen, asking: Asking, memory: Memory) -> tuple[Seen, Memory]:
    return seen, memory


ADAPTERS: Final[Mapping[str, Adapter]] = {
    "amplitude-cohorts": Adapter(ask=_ask_cohorts, hear=_hear_cohorts, repeatable=frozenset()),
    "amplitude-http-v2": Adapter(
        ask=_ask_http_v2, hear=_hear_plainly, repeatable=frozenset({"uploadEvents"})
    ),
}
