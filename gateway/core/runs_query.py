"""The query of the runs API: parameters as clients write them -> filters, or why not.

Rules: reference, "Parameters". What is unknown is refused, because a filter that was misspelt must
not return everything. Unlike elsewhere, a refusal shows the value, as the reference asks; these
refusals leave no error record.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from gateway.core.runs_times import ACCEPTED, millis_of, next_milli, parse_time
from gateway.core.runs_words import RETRYING, SELECTS, select_states, shown
from sluice.core.errors import ErrorType, Rejected
from sluice.core.run_filters import FOREVER_MS, RunFilters
from sluice.workflows.core.runs import Run

VERSIONS: Final = ("2024-04-01",)
"""Of the API that are known."""
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
VERSION: Final = "api_version"
LIST_NAMES: Final = frozenset(
    {
        VERSION,
        "created_from",
        "created_to",
        "ended_from",
        "ended_to",
        "limit",
        "next_token",
        "state",
        "type",
        "with_total",
    }
)
ONE_NAMES: Final = frozenset({VERSION, "view"})
NO_NAMES: Final = frozenset({VERSION})
MAX_PARAMETERS: Final = 100

Parameters = Mapping[str, Sequence[str]]
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAsk:
    """What a request for a list asks."""

    filters: RunFilters
    limit: int
    next_token: str | None
    with_total: bool


def wrong(detail: str) -> Rejected:
    """Return the refusal of a parameter."""
    return Rejected(ErrorType.RUN_PARAMETER_INVALID, detail)


def read_parameters(query: str, known: frozenset[str]) -> Parameters | Rejected:
    """Return the parameters of a query, each known and, but for ``state``, given once."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return wrong(f"The query has more than {MAX_PARAMETERS} parameters.")
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in known:
            accepted = ", ".join(sorted(known))
            return wrong(f"There is no parameter {shown(name)}; this path takes {accepted}.")
        if name in found and name != "state":
            return wrong(f"Give the parameter {name} once.")
        found.setdefault(name, []).append(value)
    return found


def check_version(parameters: Parameters, headers: Sequence[str]) -> Rejected | None:
    """Return why this version of the API is not spoken; none given means the newest.

    Args:
        parameters: Of the query.
        headers: Every ``api-version`` header.
    """
    values = {*headers, *parameters.get(VERSION, ())}
    known = " or ".join(VERSIONS)
    if len(values) > 1:
        return wrong(f"api-version and api_version differ; send {known} in one of them.")
    for value in values:
        if value not in VERSIONS:
            return wrong(f"api-version is {shown(value)}: use {known}.")
    return None


def read_list(parameters: Parameters) -> ListAsk | Rejected:
    """Return what a list asks for."""
    limit = _read_limit(parameters)
    if isinstance(limit, Rejected):
        return limit
    with_total = _read_flag(parameters, "with_total")
    if isinstance(with_total, Rejected):
        return with_total
    filters = _read_filters(parameters)
    if isinstance(filters, Rejected):
        return filters
    return ListAsk(
        filters=filters,
        limit=limit,
        next_token=_only(parameters, "next_token"),
        with_total=with_total,
    )


def read_view(parameters: Parameters) -> bool | Rejected:
    """Return whether everything of a run is asked for, or only the overview."""
    value = _only(parameters, "view")
    if value in {None, "overview", "verbose"}:
        return value == "verbose"
    return wrong(f"view is {shown(value or '')}: use overview or verbose.")


def _read_filters(parameters: Parameters) -> RunFilters | Rejected:
    created = _read_span(parameters, "created")
    if isinstance(created, Rejected):
        return created
    ended = _read_span(parameters, "ended")
    if isinstance(ended, Rejected):
        return ended
    states = _read_states(parameters)
    if isinstance(states, Rejected):
        return states
    run_type = _only(parameters, "type")
    if run_type == "":
        return wrong("type is empty: give a workflow type, or leave it out for all.")
    return RunFilters(
        created_from=created[0],
        created_to=created[1],
        ended_from=ended[0],
        ended_to=ended[1],
        is_ended=bool(parameters.keys() & {"ended_from", "ended_to"}),
        states=states,
        type=None if run_type is None else run_type.lower(),
    )


def _only(parameters: Parameters, name: str) -> str | None:
    values = parameters.get(name)
    return values[0] if values else None


def _read_limit(parameters: Parameters) -> int | Rejected:
    text = _only(parameters, "limit")
    if text is None:
        return DEFAULT_LIMIT
    if _DIGITS.fullmatch(text) and text.strip("0"):
        digits = text.lstrip("0")
        return min(int(digits), MAX_LIMIT) if len(digits) <= len(str(MAX_LIMIT)) else MAX_LIMIT
    hint = ""
    if "?" in text:
        hint = " Only the first ? begins the query; put & between parameters."
    return wrong(
        f"limit is {shown(text)}: use a whole number from 1; above {MAX_LIMIT} means"
        f" {MAX_LIMIT}.{hint}"
    )


def _read_flag(parameters: Parameters, name: str) -> bool | Rejected:
    text = _only(parameters, name)
    if text is None:
        return False
    value = {"true": True, "false": False}.get(text.lower())
    return wrong(f"{name} is {shown(text)}: use true or false.") if value is None else value


def _read_span(parameters: Parameters, name: str) -> tuple[int, int] | Rejected:
    """Return milliseconds, from inclusive, to exclusive."""
    moments: list[int | None] = []
    for part in ("from", "to"):
        text = _only(parameters, f"{name}_{part}")
        moment = None if text is None else parse_time(text)
        if text is not None and moment is None:
            return wrong(f"{name}_{part} is {shown(text)}: use {ACCEPTED}.")
        moments.append(moment)
    start, end = moments
    if start is not None and end is not None and start > end:
        return wrong(f"{name}_from is after {name}_to: give the earlier time first.")
    return _bounded(start, 0), _bounded(end, FOREVER_MS)


def _bounded(nanos: int | None, otherwise: int) -> int:
    return otherwise if nanos is None else min(max(next_milli(nanos), 0), FOREVER_MS)


def _read_states(parameters: Parameters) -> tuple[str, ...] | Rejected | None:
    values = parameters.get("state")
    if values is None:
        return None
    found: set[str] = set()
    for word in ",".join(values).split(","):
        selected = select_states(word)
        if selected is None:
            accepted = ", ".join(SELECTS)
            return wrong(f"state is {shown(word)}: use {accepted}; several with commas.")
        found.update(selected)
    return tuple(sorted(found))


def digest_of(filters: RunFilters) -> bytes:
    """Return what tells filters from others, however they were spelt."""
    return sha256(msgspec.json.encode(filters)).digest()[:16]


def matches(run: Run, filters: RunFilters) -> bool:
    """Whether a run that the warehouse does not have yet belongs to a list."""
    if not filters.created_from <= millis_of(run.created_at) < filters.created_to:
        return False
    if filters.is_ended:
        if run.ended_at is None:
            return False
        if not filters.ended_from <= millis_of(run.ended_at) < filters.ended_to:
            return False
    if filters.type is not None and run.type.lower() != filters.type:
        return False
    if filters.states is None or run.state in filters.states:
        return True
    return RETRYING in filters.states and run.state == "in progress" and bool(run.has_retry)
