"""Refusals of the runs API, in its own shape: ``{"status", "message", "request_id"}``.

Refusals are made as everywhere else and reshaped last, so that also those have the shape that no
handler makes: an unknown path, a method, a server that stops or fails.
"""

from typing import Any, Final

import msgspec

from gateway.core.answers import Answer

PREFIX: Final = "/api/workflow/"
"""Below it all refusals have this shape."""

_ENCODER: Final = msgspec.json.Encoder()


class RunRefusal(msgspec.Struct, frozen=True):
    """The body of a refusal."""

    status: int
    message: str
    request_id: str


def reshaped(answer: Answer, request_id: str) -> Answer:
    """Return a refusal in the shape of this API."""
    if answer.error_type is None:
        return answer
    body = RunRefusal(answer.status, _message(msgspec.json.decode(answer.body)), request_id)
    return msgspec.structs.replace(answer, body=_ENCODER.encode(body))


def _message(body: dict[str, Any]) -> str:
    whole = body.get("detail")
    if isinstance(whole, str):
        return whole
    return " ".join(f"{name}: {words}" for name, lines in body.items() for words in lines)
