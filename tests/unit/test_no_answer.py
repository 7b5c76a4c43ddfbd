"""Why a server did not answer, in our words."""

import errno
import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from sluice.no_answer import network_reason, reason_of

KEY = ConnectionKey("h", 80, False, True, None, None, None)  # noqa: FBT003 - the library's order


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "Connect call failed")),
            "connection refused",
        ),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "x")), "name not known"),
        (aiohttp.ServerTimeoutError("x"), "timed out"),
        (TimeoutError(), "timed out"),
        (aiohttp.ServerDisconnectedError(), "connection lost"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "connection lost"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.EACCES, "No entry")), "No entry"),
        (aiohttp.InvalidURL("x"), "x"),
    ],
)
def test_reason_has_no_wording_of_the_library(error: Exception, words: str) -> None:
    assert reason_of(error) == words


def test_reason_is_found_in_the_cause_of_an_error() -> None:
    error = RuntimeError("the warehouse did not answer")
    assert network_reason(error) == ""
    error.__cause__ = FileNotFoundError(errno.ENOENT, "x")
    assert network_reason(error) == "", "a file is no network"
    error.__cause__ = OSError(errno.ECONNREFUSED, "x")
    assert network_reason(error) == "connection refused"
