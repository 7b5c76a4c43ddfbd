"""What the headers of a request say of its body (reference, 4)."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.core.inflate import Encoding
from sluice.core.errors import ErrorType, Rejected

ENCODINGS: Final[Mapping[str, Encoding | None]] = {
    "": None,
    "identity": None,
    "gzip": "gzip",
    "x-gzip": "gzip",
    "deflate": "deflate",
    "zstd": "zstd",
}
"""What ``Content-Encoding`` may say; None for a plain body."""

_JSON: Final = re.compile(r"application/(?:json|[^\s/;]+\+json)", re.ASCII)
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", re.ASCII)
_CHARSET: Final = re.compile(r'charset\s*=\s*"?([^\s";]*)', re.ASCII)


def check_content_type(value: str, *, may_be_text: bool = False) -> Rejected | None:
    """Return why a ``Content-Type`` is not JSON in UTF-8; an empty or missing one is.

    Args:
        value: The header.
        may_be_text: Whether JSON may be called ``text/plain``, as a browser's beacon calls it.
    """
    if value in {"application/json", ""}:
        return None
    media_type, _, parameters = value.lower().partition(";")
    media_type = media_type.strip()
    if may_be_text and media_type == "text/plain":
        media_type = ""
    if media_type and not _JSON.fullmatch(media_type):
        sent = f", not {media_type}" if _MEDIA_TYPE.fullmatch(media_type) else ""
        return Rejected(
            ErrorType.CONTENT_TYPE_UNSUPPORTED, f"Send `Content-Type: application/json`{sent}."
        )
    charset = _CHARSET.search(parameters)
    if charset is not None and charset[1] not in {"utf-8", "utf8"}:
        return Rejected(
            ErrorType.CONTENT_TYPE_UNSUPPORTED,
            "Send `Content-Type: application/json` with UTF-8, the only charset taken.",
        )
    return None


def read_encoding(value: str) -> Encoding | Rejected | None:
    """Return what inflates the body; None where it is plain."""
    name = value.strip().lower()
    if name in ENCODINGS:
        return ENCODINGS[name]
    return Rejected(ErrorType.CONTENT_ENCODING_UNSUPPORTED, "Use gzip, deflate or zstd.")
