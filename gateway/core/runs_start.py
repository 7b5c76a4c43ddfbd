"""What a body asks to start: bytes -> a start, or why not; then the rules of its configuration.

Rules: reference, "POST rules". Of inputs no value is ever shown, since some are secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from gateway.core.json_text import first_fault, not_json
from gateway.core.runs_times import ACCEPTED, DAY_NS, next_milli, parse_time, text_of
from gateway.core.runs_words import printable, shown
from sluice.core.errors import ErrorType, Rejected
from sluice.core.workflows import CONFIG_ID, TYPES, RunMode, WorkflowConfig
from sluice.workflows.core.input_problem import InputProblem

if TYPE_CHECKING:  # JSON Schema is heavy to import
    from sluice.workflows.core.inputs import InputSchema

MAX_START_BYTES: Final = 65_536
MODES: Final[tuple[RunMode, ...]] = ("full", "refresh", "source")
KEYS: Final = ("config_id", "inputs", "range_from", "range_to", "run_mode")
MAX_KEY_CHARS: Final = 128
MAX_PROBLEMS: Final = 5
"""Of inputs that one answer names."""

_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EXPECTED: Final = re.compile(r"expected [^(]+").search
_MIN_MS: Final = 0
_MAX_MS: Final = 7_258_118_400_000
"""2200; nothing that is stored is later, and every column can hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAsk:
    """A body, read."""

    config_id: str
    inputs: Mapping[str, object]
    inputs_text: str
    """The same as JSON."""
    range_from: str | None
    """As runs have times."""
    range_to: str | None
    run_mode: RunMode | None
    digest: str
    """SHA-256 of the body's JSON, whatever its blanks and the order of its keys."""


def wrong(detail: str) -> Rejected:
    """Return the refusal of a body."""
    return Rejected(ErrorType.RUN_REQUEST_INVALID, detail)


def read_start(body: bytes) -> StartAsk | Rejected:
    """Return what a body asks for."""
    if not body.strip():
        return Rejected(ErrorType.BODY_EMPTY, "The body is empty; send a JSON object.")
    try:
        asked = msgspec.json.decode(body)
    except _DECODE_ERRORS as error:
        return _not_json(body, error)
    if not isinstance(asked, dict):
        return Rejected(ErrorType.BODY_NOT_OBJECT, "Send one JSON object.")
    unknown = [key for key in asked if key not in KEYS]
    if unknown:
        return wrong(f"There is no key {shown(unknown[0])}; the keys are {', '.join(KEYS)}.")
    config_id = _read_config_id(asked)
    if isinstance(config_id, Rejected):
        return config_id
    inputs = asked.get("inputs", {})
    if not isinstance(inputs, dict):
        return wrong("inputs must be an object.")
    return _with_range(asked, config_id, inputs)


def _with_range(
    asked: dict[str, Any], config_id: str, inputs: dict[str, Any]
) -> StartAsk | Rejected:
    given = asked.keys() & {"range_from", "range_to", "run_mode"}
    if given and not config_id.startswith("cg-"):
        return wrong(f"{min(given)} is for cg- configurations only, not for {config_id}.")
    span = _read_range(asked)
    if isinstance(span, Rejected):
        return span
    run_mode = _read_mode(asked)
    if isinstance(run_mode, Rejected):
        return run_mode
    return StartAsk(
        config_id=config_id,
        inputs=inputs,
        inputs_text=msgspec.json.encode(inputs).decode(),
        range_from=span[0],
        range_to=span[1],
        run_mode=run_mode,
        digest=sha256(msgspec.json.encode(asked, order="sorted")).hexdigest(),
    )


def _not_json(body: bytes, error: Exception) -> Rejected:
    if isinstance(error, RecursionError):
        return Rejected(ErrorType.JSON_INVALID, "The body is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return not_json(body, error.start)
    try:
        wrong_at = first_fault(body)
    except RecursionError:
        wrong_at = None
    if wrong_at is None:
        return Rejected(ErrorType.JSON_INVALID, "The body is not JSON in UTF-8.")
    refusal = not_json(body, wrong_at)
    expected = _EXPECTED(str(error))
    if expected is None:
        return refusal
    words = f"{refusal.detail.removesuffix('.')}: {expected[0].strip()}."
    return Rejected(refusal.error_type, words)


def _read_config_id(asked: Mapping[str, object]) -> str | Rejected:
    value = asked.get("config_id")
    if "config_id" not in asked:
        return wrong("config_id is missing: name the configuration to run, such as cg-ingest.")
    if not isinstance(value, str):
        return wrong("config_id must be a string, such as cg-ingest.")
    if not CONFIG_ID.fullmatch(value):
        return wrong(
            f"config_id is {shown(value)}: use cg-, og- or cc- and 2 to 64 letters, digits, _ or -."
        )
    return value


def _read_range(asked: Mapping[str, object]) -> tuple[str | None, str | None] | Rejected:
    moments: list[int | None] = []
    for name in ("range_from", "range_to"):
        moment = _read_moment(asked, name)
        if isinstance(moment, Rejected):
            return moment
        moments.append(moment)
    start, end = moments
    if start is None:
        return (None, None) if end is None else wrong("range_to needs range_from beside it.")
    if end is None:
        end = start + DAY_NS // 1_000_000
    elif end <= start:
        return wrong("range_to must be later than range_from; it is not in the range itself.")
    return text_of(start), text_of(end)


def _read_moment(asked: Mapping[str, object], name: str) -> int | Rejected | None:
    if name not in asked:
        return None
    value = asked[name]
    if not isinstance(value, str):
        return wrong(f"{name} must be a string: {ACCEPTED}.")
    nanos = parse_time(value)
    millis = None if nanos is None else next_milli(nanos)
    if millis is None or not _MIN_MS <= millis < _MAX_MS:
        return wrong(f"{name} is {shown(value)}: use {ACCEPTED}, from 1970 up to 2199.")
    return millis


def _read_mode(asked: Mapping[str, object]) -> RunMode | Rejected | None:
    if "run_mode" not in asked:
        return None
    value = asked["run_mode"]
    accepted = f"use {', '.join(MODES)}."
    if not isinstance(value, str):
        return wrong(f"run_mode must be a string: {accepted}")
    if value.lower() not in MODES:
        return wrong(f"run_mode is {shown(value)}: {accepted}")
    return cast("RunMode", value.lower())


def check_range(ask: StartAsk, config: WorkflowConfig) -> Rejected | None:
    """Return why a configuration cannot run without more of a range."""
    if config.needs_range and ask.range_from is None:
        return wrong(f"range_from is missing: {config.config_id} works on a range of time.")
    known = TYPES.get(config.type)
    most = known.max_range_days if known else None
    if most is None or ask.range_from is None or ask.range_to is None:
        return None
    if _whole_hours(ask.range_from, ask.range_to) > most * 24:
        return wrong(
            f"range_to is too late: {config.config_id} takes at most {most} days, in whole hours."
        )
    return None


def _whole_hours(range_from: str, range_to: str) -> int:
    """Return how many hours of the clock a range touches, as runs have times."""
    since = datetime.fromisoformat(range_from).replace(minute=0, second=0, microsecond=0)
    return -((since - datetime.fromisoformat(range_to)) // timedelta(hours=1))


def check_mode(ask: StartAsk, config: WorkflowConfig) -> Rejected | None:
    """Return why a configuration cannot run in a mode: what would send in any has only one."""
    if ask.run_mode in (None, "full") or config.knows_modes:
        return None
    return wrong(
        f"run_mode is {ask.run_mode}: {config.config_id} ({config.type}) knows full alone, and"
        " would send all the same."
    )


def check_inputs(ask: StartAsk, config: WorkflowConfig, schema: "InputSchema") -> Rejected | None:
    """Return why inputs do not fit, each with its place, after those of the tenant."""
    values = schema.filled({**config.inputs, **ask.inputs})
    problems = [
        InputProblem(f"/{name}", "is no input, and is named as a secret, which is never given here")
        for name in schema.named_as_secret(ask.inputs)
    ]
    problems += schema.problems(values, frozenset(config.secrets))
    if not problems:
        return None
    named = "; ".join(f"/inputs{one.pointer} {one.reason}" for one in problems[:MAX_PROBLEMS])
    return Rejected(ErrorType.RUN_INPUTS_INVALID, f"{printable(named)}.")


def read_key(values: list[str]) -> str | Rejected | None:
    """Return what the Idempotency-Key headers say."""
    if not values:
        return None
    key = values[0]
    is_visible = key.isascii() and key.isprintable() and " " not in key
    if len(values) > 1 or not 1 <= len(key) <= MAX_KEY_CHARS or not is_visible:
        return Rejected(
            ErrorType.IDEMPOTENCY_KEY_INVALID,
            f"The Idempotency-Key header must be 1 to {MAX_KEY_CHARS} visible ASCII characters.",
        )
    return key


def request_key(tenant: str, key: str) -> str:
    """Return what two requests of the API have in common that are one."""
    return sha256(f"api\0{tenant}\0{key}".encode()).hexdigest()
