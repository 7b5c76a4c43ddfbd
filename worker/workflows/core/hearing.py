"""What an answer says: its body as a value, whether the step succeeded, and why not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import orjson

from sluice.core.depth import depth_of, may_be_deeper
from sluice.workflows.core.runs import Attribution, RunError
from worker.workflows.core.adapters import Memory, Seen
from worker.workflows.core.calls import is_json
from worker.workflows.core.criteria import Test, decide
from worker.workflows.core.expressions import Exchange, Scope
from worker.workflows.core.planned import PlannedStep
from worker.workflows.core.rendering import Rendered
from worker.workflows.core.state import Answer, FileBody, NoAnswer

MAX_INLINE_BYTES: Final = 256 * 1024
"""Of a body that is kept in the state."""
MAX_BODY_DEPTH: Final = 64
"""A deeper JSON body stays text."""
MAX_SHOWN_CHARS: Final = 200
_TEXTUAL: Final = re.compile(
    r"application/(.*\+xml|xml|csv|yaml|x-ndjson|x-www-form-urlencoded|javascript)"
).fullmatch
_TRANSIENT: Final = frozenset({408, 429})
MAX_RETRY_AFTER_S: Final = 7_200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An answer, read."""

    exchange: Exchange
    """As the adapter presents it."""
    memory: Memory
    real_status: int
    retry_after_s: float | None
    is_broken_json: bool


def goes_to_file(media_type: str, size_bytes: int) -> bool:
    """Whether the shell puts a body into a file: it is large, or it is not text (rule K14).

    A body of a type that is not known is tried as text; what is not UTF-8 goes to a file too.
    """
    plain = media_type.partition(";")[0].strip().lower()
    is_text = not plain or plain.startswith("text/") or is_json(plain) or bool(_TEXTUAL(plain))
    return size_bytes > MAX_INLINE_BYTES or not is_text


def hear(answer: Answer, made: Rendered, step: PlannedStep, memory: Memory, now: float) -> Heard:
    """Return what an answer holds."""
    headers = {name.lower(): _valid(value) for name, value in answer.headers.items()}
    media_type = headers.get("content-type", "")
    body = _body(answer.body, media_type)
    seen = Seen(status=answer.status, body=body)
    adapter = step.call.adapter if step.call is not None else None
    if adapter is not None:
        seen, memory = adapter.hear(seen, made.asking, memory)
    return Heard(
        exchange=replace(
            made.exchange,
            status=seen.status,
            answer_headers=headers,
            answer_body=seen.body,
        ),
        memory=memory,
        real_status=answer.status,
        retry_after_s=retry_after_s(headers, now),
        is_broken_json=is_json(media_type) and isinstance(body, str) and bool(body),
    )


def _valid(text: str) -> str:
    """Return a text that UTF-8 can hold: HTTP libraries pass other bytes on as surrogates."""
    return text.encode(errors="replace").decode()


def _body(body: bytes | FileBody, media_type: str) -> object:
    if isinstance(body, FileBody):
        return {
            "$file": body.id,
            "bytes": body.size_bytes,
            "media_type": body.media_type,
            "sha256": body.sha256,
        }
    if is_json(media_type):
        try:
            value: object = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body.decode(errors="replace")
        if not (may_be_deeper(body, MAX_BODY_DEPTH) and depth_of(body) > MAX_BODY_DEPTH):
            return value
    return body.decode(errors="replace")


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3), bounded."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return min(max(wait, 0.0), MAX_RETRY_AFTER_S)


def is_transient(status: int) -> bool:
    """Whether an answer often passes: 408, 429 and 5xx (rule K17)."""
    return status in _TRANSIENT or status >= 500


def unmet(tests: tuple[Test, ...], scope: Scope) -> tuple[Test, str | None] | None:
    """Return the first criterion that does not hold, and what could not be decided."""
    for test in tests:
        verdict = decide(test, scope)
        if not verdict.passed:
            return test, verdict.trouble
    return None


def why_failed(step: PlannedStep, heard: Heard, scope: Scope) -> RunError | None:
    """Return why an answer fails its step; without criteria 200 to 299 succeeds."""
    status = heard.real_status
    first = unmet(step.criteria, scope)
    if first is None and (step.criteria or 200 <= (scope.exchange.status or 0) < 300):
        return None
    attribution: Attribution = "platform" if status >= 500 else "customer"
    words = f"Step {step.id}: the service answered {status}"
    if heard.is_broken_json:
        words += f"; its body is not the JSON that it says it is: {_shown(scope)}"
    elif not 200 <= status < 300 and _shown(scope):
        words += f": {_shown(scope)}"
    if first is None or not 200 <= status < 300:
        return RunError(attribution, "sluice.workflow.step/http", words)
    words += f"; the criterion {first[0].text[:500]} does not hold"
    if first[1] is not None:
        words += f": {first[1]}"
    return RunError(attribution, "sluice.workflow.step/criteria", words)


def _shown(scope: Scope) -> str:
    """Return the beginning of a body on one line; secrets were taken out before."""
    body = scope.exchange.answer_body
    if not body or (isinstance(body, dict) and "$file" in body):
        return ""
    text = body if isinstance(body, str) else orjson.dumps(body).decode()
    line = " ".join(text[: 2 * MAX_SHOWN_CHARS].split())[:MAX_SHOWN_CHARS]
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)


def why_silent(step: PlannedStep, silence: NoAnswer) -> RunError:
    """Return the error of a step without an answer."""
    match silence.kind:
        case "timeout":
            message = f"Step {step.id}: no answer within {step.timeout_s:g} s"
            return RunError("platform", "sluice.workflow.step/timeout", message)
        case "network":
            message = f"Step {step.id}: no answer: {silence.detail}"
            return RunError("platform", "sluice.workflow.step/http", message)
        case "unsendable":
            message = f"Step {step.id} was not sent: {silence.detail}"
            return RunError("customer", "sluice.workflow.step/http", message)
        case "hostile":
            message = f"Step {step.id}: the answer was refused: {silence.detail}"
            return RunError("customer", "sluice.workflow.step/http", message)


def no_action(step: PlannedStep, scope: Scope) -> RunError:
    """Return the error of a gate that no action opens (rule K6)."""
    body = scope.exchange.answer_body
    status = body.get("status") if isinstance(body, dict) else None
    conditions = "; ".join(test.text for action in step.on_success for test in action.criteria)
    said = f" (status {str(status)[:MAX_SHOWN_CHARS]!r})" if status is not None else ""
    message = f"Step {step.id}: no action on success applies{said}: {conditions[:500]}"
    return RunError("customer", "sluice.workflow.step/no-action", message)
