"""An HTTP request as ClickHouse reads it: what of it is query, parameter, setting or transport."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sluice.warehouse.server.errors import StatementError, bad_argument, not_supported

TRANSPORT: Final = frozenset(
    (
        "query",
        "user",
        "password",
        "quota_key",
        "database",
        "default_format",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "role",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "stacktrace",
        "client_protocol_version",
        "close_session",
        "enable_http_compression",
        "http_zlib_compression_level",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close",
        "add_http_cors_header",
    )
)
"""Parameters that are no settings of the engine, or mean nothing to it here."""

LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "[::1]", "host.docker.internal"))
_DATABASE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TRUE: Final = frozenset(("1", "true"))
EXTERNAL_PARTS: Final = ("_format", "_structure", "_types")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who the client says it is."""

    user: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The parameters of a request, sorted by what they are for."""

    query: str = ""
    database: str = ""
    default_format: str | None = None
    query_id: str = ""
    is_compressed: bool = False
    """Whether the answer is wanted in ClickHouse's own compressed blocks."""
    is_body_compressed: bool = False
    wants_http_compression: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


def read_credentials(headers: Mapping[str, str], params: Mapping[str, str]) -> Credentials | None:
    """Return who asks, from the ``X-ClickHouse-*`` headers, Basic authentication or parameters.

    Returns:
        None where the request says nothing of a user.

    Raises:
        StatementError: Two ways at once, or a header that cannot be read (code 516).
    """
    user, key = headers.get("X-ClickHouse-User"), headers.get("X-ClickHouse-Key")
    authorization = headers.get("Authorization")
    in_params = "user" in params or "password" in params
    ways = [user is not None or key is not None, authorization is not None, in_params]
    if sum(ways) > 1:
        raise _failed("more than one way of authentication is used at once")
    if authorization is not None:
        return _basic(authorization)
    if ways[0]:
        return Credentials(user or "default", key or "")
    return (
        Credentials(params.get("user", "default"), params.get("password", ""))
        if in_params
        else None
    )


def _basic(header: str) -> Credentials:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        raise _failed("only Basic authentication is supported")
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _failed("the Authorization header cannot be read") from None
    return Credentials(user, password if colon else "")


def _failed(why: str) -> StatementError:
    return StatementError(516, "AUTHENTICATION_FAILED", f"Invalid authentication: {why}")


def wrong_password(user: str) -> StatementError:
    """Return what ClickHouse says of a wrong password and of a user who does not exist."""
    return StatementError(
        516,
        "AUTHENTICATION_FAILED",
        f"{user}: Authentication failed: password is incorrect, or there is no user with such name",
    )


def is_loopback(host: str) -> bool:
    """Return whether a Host header names this machine: no web page gets here by its own DNS."""
    name = (
        host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.split(":")[0]
    )
    return name.lower() in LOOPBACK


def database_in(path: str) -> str:
    """Return the database that a path of one name stands for, as in the address files, or empty."""
    name = path.removeprefix("/")
    return name if _DATABASE.fullmatch(name) else ""


def read_call(
    pairs: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    *,
    tables: Iterable[str] = (),
    path: str = "/",
) -> Call:
    """Return the request's parameters, sorted.

    Args:
        pairs: Names and values of the URL and of form fields; the last one of a name wins.
        headers: The request's headers.
        tables: Names of external tables, whose ``NAME_structure`` and the like are no settings.
        path: The request's path, which may name the database where nothing else does.
    """
    params = dict(pairs)
    skipped = {f"{table}{part}" for table in tables for part in EXTERNAL_PARTS}
    _refuse_sessions(params)
    settings = {
        name: value
        for name, value in params.items()
        if name not in TRANSPORT and name not in skipped and not name.startswith("param_")
    }
    return Call(
        query=params.get("query", ""),
        database=(
            params.get("database") or headers.get("X-ClickHouse-Database") or database_in(path)
        ),
        default_format=params.get("default_format") or headers.get("X-ClickHouse-Format"),
        query_id=params.get("query_id", ""),
        is_compressed=_is_true(params, "compress"),
        is_body_compressed=_is_true(params, "decompress"),
        wants_http_compression=_is_true(params, "enable_http_compression"),
        parameters={
            name.removeprefix("param_"): value
            for name, value in params.items()
            if name.startswith("param_")
        },
        settings=settings,
    )


def _is_true(params: Mapping[str, str], name: str) -> bool:
    return params.get(name, "").lower() in _TRUE


def _refuse_sessions(params: Mapping[str, str]) -> None:
    if _is_true(params, "session_check"):
        raise not_supported("Sessions are not kept: session_check cannot be satisfied")
    if "role" in params:
        raise not_supported("Roles are not supported")


def external_structure(name: str, params: Mapping[str, str]) -> str:
    """Return the columns of an external table from ``NAME_structure`` or ``NAME_types``.

    Raises:
        StatementError: The request has neither.
    """
    if structure := params.get(f"{name}_structure"):
        return structure
    if types := params.get(f"{name}_types"):
        return ", ".join(f"_{n} {kind}" for n, kind in enumerate(_split_types(types), 1))
    raise bad_argument(f"Neither {name}_structure nor {name}_types is given for external data")


def _split_types(types: str) -> list[str]:
    parts, depth = [""], 0
    for char in types:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]
