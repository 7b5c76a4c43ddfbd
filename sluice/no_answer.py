"""Why a server did not answer, in words for people; the HTTP library's own name its parts."""

import errno
import socket
from collections.abc import Iterator
from typing import Final

import aiohttp

TIMED_OUT: Final = "timed out"

_WORDS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection lost",
    errno.EPIPE: "connection lost",
    errno.ETIMEDOUT: TIMED_OUT,
    errno.EHOSTUNREACH: "host not reachable",
    errno.ENETUNREACH: "network not reachable",
}


def reason_of(error: BaseException) -> str:
    """Return why there is no answer; ``error`` is the client's or carries it as its cause."""
    return network_reason(error) or str(error) or type(error).__name__


def network_reason(error: BaseException) -> str:
    """Return why there is no answer; empty if the network is not the reason."""
    return next(filter(None, map(_words, _chain(error))), "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "connection lost"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "it does not speak TLS as https needs it"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        return _words(cause) or cause.strerror or str(cause)
    if isinstance(error, socket.gaierror):
        return "name not known"
    return _WORDS.get(error.errno or 0, "") if isinstance(error, OSError) else ""
