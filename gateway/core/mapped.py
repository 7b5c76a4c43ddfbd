"""Events of another API's dialect, mapped to ours and judged by the rules that hold for all.

A mapping works on the JSON text of one element, so that numbers and payloads stay as they were
sent. Where a body had to be repaired (``json_repair``), each element is mapped twice, once from
either text: fields come from the marked one, in which no repaired value passes for a good one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec

from gateway.core.event_rules import EMPTY_PAYLOAD, Fields, Terms, judge, kind_of
from gateway.core.json_repair import reasons
from gateway.core.json_text import Opened, open_json, too_deep, without_bom
from gateway.core.source import MAX_EVENTS, Parsed
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import MAX_EVENT_BYTES, Candidate, Candidates

NULL: Final = b"null"
_OPEN: Final = ord("{")
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Draft(NamedTuple):
    """One event as a mapping makes it of an element; its fields are not judged yet."""

    fields: Fields
    client_id: str | None = None
    """Names the event where its ``event_id`` does not."""
    payload_name: str | None = None
    """What the dialect calls the payload of this one, where it is not that of the others."""


Mapper = Callable[[bytes], Sequence[Draft] | Rejected]
"""From the text of one object to its events, or why it has none."""
Scope = Callable[[Candidate], Sequence[str]]
"""Within what a client's own name for this event names one thing: the source, perhaps more."""


def open_body(body: bytes) -> Opened | Rejected:
    """Return a body that is a JSON object, or why it is none."""
    text = without_bom(body)
    if isinstance(text, Rejected):
        return text
    try:
        opened = open_json(text)
    except RecursionError:
        return too_deep()
    if isinstance(opened, Opened) and opened.marked.strip()[:1] != b"{":
        return Rejected(ErrorType.BODY_NOT_OBJECT, "Send one JSON object.")
    return opened


def members(text: bytes) -> dict[str, bytes]:
    """Return the members of an object's text, each as text; none of what is not an object."""
    if text[:1] != b"{":
        return {}
    return {name: bytes(value) for name, value in _OBJECT.decode(text).items()}


def with_members(text: bytes, extra: Mapping[str, bytes]) -> bytes:
    """Return an object's text with more members behind its own, which win where both have a name.

    The text itself stays as it is. What is not an object is returned unchanged.
    """
    if text == NULL:
        text = EMPTY_PAYLOAD
    if text[0] != _OPEN:
        return text
    own = members(text)
    added = [msgspec.json.encode(name) + b":" + extra[name] for name in extra if name not in own]
    if not added:
        return text
    inner = [text[1:-1]] if own else []
    return b"{" + b",".join([*inner, *added]) + b"}"


def elements(kept: bytes, marked: bytes, *, name: str) -> list[tuple[bytes, bytes]] | Rejected:
    """Return each element of a list from both texts of it.

    Args:
        kept: The list's text.
        marked: The same from the marked text.
        name: What the dialect calls the list, for a sentence.
    """
    if marked == NULL:
        return Rejected(ErrorType.EVENTS_MISSING, f"{name} is required: a list.", field=name)
    if marked[:1] != b"[":
        return Rejected(
            ErrorType.EVENTS_INVALID, f"{name} must be a list, not {kind_of(marked)}.", field=name
        )
    texts = [bytes(one) for one in _LIST.decode(marked)]
    if len(texts) > MAX_EVENTS:
        detail = f"At most {MAX_EVENTS} events per request; this has {len(texts)}."
        return Rejected(ErrorType.BATCH_TOO_LARGE, detail, field=name)
    if kept == marked:
        return [(text, text) for text in texts]
    return list(zip([bytes(one) for one in _LIST.decode(kept)], texts, strict=True))


def member(opened: Opened, name: str) -> tuple[bytes, bytes]:
    """Return one member of the body's object from both texts."""
    marked = members(opened.marked.strip()).get(name, NULL)
    if not opened.is_repaired:
        return marked, marked
    return members(opened.text.strip()).get(name, NULL), marked


def judge_elements(
    texts: Sequence[tuple[bytes, bytes]],
    mapper: Mapper,
    terms: Terms,
    *,
    names: Mapping[str, str],
    scope: Scope,
) -> Parsed:
    """Return the candidates that the elements become, and a refusal for each that becomes none.

    Args:
        texts: Each element from both texts.
        mapper: How the dialect reads one.
        terms: What the tenant says.
        names: What the dialect calls our fields, for the refusals.
        scope: Two events count as one only where it is the same: what one API calls ``1`` is not
            what another does.
    """
    candidates = Candidates()
    rejected: list[Rejected] = []
    for index, (kept, marked) in enumerate(texts):
        found = _judge_element(kept, marked, mapper, terms, names, index)
        if isinstance(found, Rejected):
            rejected.append(replace(found, index=index))
            continue
        for candidate in found:
            candidates.append(_scoped(candidate, scope))
    return Parsed(candidates=candidates, rejected=rejected, total=len(texts))


def _judge_element(
    kept: bytes,
    marked: bytes,
    mapper: Mapper,
    terms: Terms,
    names: Mapping[str, str],
    index: int,
) -> list[Candidate] | Rejected:
    if marked[0] != _OPEN:
        detail = f"Event {index} is {kind_of(marked)}, not an object."
        return Rejected(ErrorType.EVENT_NOT_OBJECT, detail)
    if len(kept) > MAX_EVENT_BYTES:
        detail = f"The event has {len(kept)} bytes; {MAX_EVENT_BYTES} are allowed."
        return Rejected(ErrorType.EVENT_TOO_LARGE, detail)
    drafts = mapper(marked)
    if isinstance(drafts, Rejected):
        return _renamed(drafts, names)
    payloads = [draft.fields.payload for draft in drafts]
    if kept != marked:
        again = mapper(kept)
        if not isinstance(again, Rejected) and len(again) == len(drafts):
            payloads = [draft.fields.payload for draft in again]
    candidates: list[Candidate] = []
    for draft, payload in zip(drafts, payloads, strict=True):
        verdict = judge(draft.fields, terms, client_id=draft.client_id, index=index)
        if isinstance(verdict, list):
            if draft.payload_name is not None:
                names = {**names, "payload": draft.payload_name}
            return _renamed(verdict[0], names)
        candidates.append(_repaired(verdict, payload))
    return candidates


def _repaired(candidate: Candidate, payload: bytes) -> Candidate:
    why = reasons(payload, candidate.payload) if payload != NULL else ()
    if not why:
        return candidate
    return msgspec.structs.replace(candidate, payload=payload, normalised=why)


def _scoped(candidate: Candidate, scope: Scope) -> Candidate:
    named = candidate.client_id
    if named is None:
        return candidate
    return msgspec.structs.replace(candidate, client_id=scoped_name(scope(candidate), named))


def scoped_name(scope: Sequence[str], name: str) -> str:
    """Return what a client's own name for an event is within a scope."""
    # No id holds a line feed, so no two scopes and names look the same when joined, nor does what
    # is joined look like a name that ``track`` was given.
    return "\n".join((*scope, name))


def _renamed(rejected: Rejected, names: Mapping[str, str]) -> Rejected:
    ours = rejected.field
    theirs = names.get(ours) if ours is not None else None
    if ours is None or theirs is None:
        return rejected
    detail = rejected.detail
    if detail.startswith(ours):
        detail = theirs + detail.removeprefix(ours)
    return replace(rejected, field=theirs, detail=detail)
