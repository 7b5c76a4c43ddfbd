"""The Range header of a request for a file: one range of bytes (RFC 9110, 14)."""

import re
from typing import Final

_ONE: Final = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)


def read_range(header: str | None, size: int) -> tuple[int, int] | bool:
    """Return first byte and length; False: none is there; True: the whole file is to be sent.

    What is malformed, or asks for several ranges, is not looked at, as the RFC allows.

    Args:
        header: Its value; None where it was not sent.
        size: Bytes of the file.
    """
    match = None if header is None else _ONE.fullmatch(header)
    if match is None or match[1] == match[2] == "":
        return True
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, length) if length else False
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return True
    return (start, end - start + 1) if start < size else False
