"""What each answer of Amplitude means (reference "What to do with each answer"): pure.

A 4xx for part of a request refuses the whole of it: nothing was taken. What is not certain (5xx,
time-outs, answers that were cut) is sent again with the same ``insert_id``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

MAX_DETAIL_CHARS: Final = 300
DEFAULT_EPS: Final = 30
"""Events a second of one user that Amplitude takes, until an answer says otherwise."""
SUCCESSES: Final = range(200, 300)
TAKEN_BUT_NOT_200: Final = range(201, 300)
REDIRECTS: Final = range(300, 400)
WRONG_ADDRESS_OR_KEY: Final = frozenset({401, 404, 405})
REQUEST_TIMEOUT: Final = 408


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came."""

    status: int
    body: bytes
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing usable came: a time-out, a reset, a refused connection, a TLS error."""

    detail: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Amplitude has all of it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Some events are bad for good; none of the others was taken."""

    bad: Mapping[int, str]
    """Index to Amplitude's words."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """Some users send too fast; none of the request was taken."""

    users: frozenset[str]
    quota_users: frozenset[str]
    """Those that are over their day's quota."""
    detail: str
    eps: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The request is above a limit of Amplitude."""

    detail: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something in the request is refused, and the answer does not say what."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Held:
    """The whole project has to wait; nothing is wrong with the events."""

    reason: str
    """``bad_credentials``, ``project_throttled``, ``unavailable`` or ``slow``."""
    detail: str
    wait_s: float | None = None
    """As Amplitude asked for."""


Verdict = Taken | Refused | Throttled | TooLarge | Suspect | Held


class _Body(msgspec.Struct):
    """What an answer's body may say; anything else in it is left alone."""

    code: int | None = None
    error: str = ""
    missing_field: str | None = None
    events_ingested: int | None = None
    events_with_invalid_fields: dict[str, list[int]] = {}
    events_with_missing_fields: dict[str, list[int]] = {}
    events_with_invalid_id_lengths: dict[str, list[int]] = {}
    silenced_events: list[int] = []
    throttled_events: list[int] = []
    throttled_users: dict[str, float] = {}
    exceeded_daily_quota_users: dict[str, float] = {}
    eps_threshold: int | None = None


_BODY: Final = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer with its body read as far as it can be."""

    status: int
    body: _Body = field(default_factory=_Body)
    is_read: bool = False
    text: str = ""
    retry_after_s: float | None = None


def judge(answer: Answer | NoAnswer, users: Sequence[str], *, secret: str = "") -> Verdict:
    """Return what an answer means for a request.

    Args:
        answer: What came.
        users: The ``user_id`` of each event of the request, in order.
        secret: The API key of the request, which no text that comes of the answer may show.
    """
    if isinstance(answer, NoAnswer):
        return Held("unavailable", answer.detail)
    said = _read(answer, secret)
    match said.status:
        case 200:
            return _success(said, len(users))
        case status if status in TAKEN_BUT_NOT_200:
            return Taken()
        case 400:
            return _bad_request(said, len(users), secret)
        case 413:
            return TooLarge(said.text)
        case 429:
            return _too_many(said, users)
        case _:
            return _by_status(said)


def _by_status(said: _Said) -> Verdict:
    if said.status in WRONG_ADDRESS_OR_KEY:
        return Held("bad_credentials", said.text)
    if said.status in REDIRECTS:
        return Held("bad_credentials", f"{said.text} (a redirect is not followed)")
    if said.status == REQUEST_TIMEOUT or said.status >= 500:
        return Held("unavailable", said.text)
    return Suspect("refused", said.text)


def _read(answer: Answer, secret: str) -> _Said:
    try:
        body = _BODY.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = f"Amplitude answered {answer.status} with a body that is not its own"
        return _Said(answer.status, text=text, retry_after_s=answer.retry_after_s)
    # The SDKs go by the body's code, so a proxy's 200 around a refusal is a refusal.
    # Not the other way round: what answers 502 around a success may not have asked Amplitude.
    status = answer.status
    if body.code is not None and not (body.code in SUCCESSES and status not in SUCCESSES):
        status = body.code
    words = _without(secret, body.error)[:MAX_DETAIL_CHARS]
    if words.startswith("Invalid API key"):
        words = "Invalid API key"  # on the wire the key itself follows
    text = f"Amplitude answered {status}: {words}" if words else f"Amplitude answered {status}"
    return _Said(status, body, is_read=True, text=text, retry_after_s=answer.retry_after_s)


def _without(secret: str, text: str) -> str:
    return text.replace(secret, "...") if secret else text


def _success(said: _Said, sent: int) -> Verdict:
    if not said.is_read or said.body.code is None:
        return Held("unavailable", f"{said.text}, which does not say that it took the events")
    counted = said.body.events_ingested
    if counted is not None and counted < sent:
        return Suspect("not_counted", f"Amplitude answered 200 but counted {counted} of {sent}")
    return Taken()


def _bad_request(said: _Said, sent: int, secret: str) -> Verdict:
    body = said.body
    if said.is_read and (
        body.missing_field == "api_key"
        or body.error.startswith("Invalid API key")
        or body.error == "Invalid request path"
    ):
        return Held("bad_credentials", said.text)
    bad: dict[int, str] = {}
    for found, what in (
        (body.events_with_missing_fields, "is missing"),
        (body.events_with_invalid_fields, "is invalid"),
        (body.events_with_invalid_id_lengths, "is too short"),
    ):
        for field_name, indexes in found.items():
            words = f"{said.text} ({_without(secret, field_name)[:50]} {what})"
            bad.update((index, words) for index in indexes if 0 <= index < sent)
    bad.update((index, said.text) for index in body.silenced_events if 0 <= index < sent)
    return Refused(bad) if bad else Suspect("malformed", said.text)


def _too_many(said: _Said, users: Sequence[str]) -> Verdict:
    body = said.body
    here = frozenset(users)
    quota = here.intersection(body.exceeded_daily_quota_users)
    named = {users[index] for index in body.throttled_events if 0 <= index < len(users)}
    named.update(here.intersection(body.throttled_users))
    if not named and not quota:
        return Held("project_throttled", said.text, said.retry_after_s)
    eps = body.eps_threshold if body.eps_threshold and body.eps_threshold > 0 else DEFAULT_EPS
    return Throttled(frozenset(named - quota), quota, said.text, eps)
