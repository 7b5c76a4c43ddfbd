"""What a setting's value must be: each check raises ValueError that says what to use instead."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sluice.environment import SecretText

PUBSUB: Final = re.compile(r"pubsub://([a-z][a-z0-9:.-]{4,61}[a-z0-9])")
MIN_SECRET_BYTES: Final = 32
MAX_REVISION_CHARS: Final = 64
_CLUSTER: Final = re.compile(r"[A-Za-z0-9_.{}-]{1,64}")
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9.-]{1,253}:\d{1,5}")


def is_queue_url(value: str) -> None:
    """Take the address of a queue, of either kind."""
    is_local = value.startswith("local:") and len(value) > len("local:")
    if not is_local and PUBSUB.fullmatch(value) is None:
        message = "use local:PATH or pubsub://PROJECT"
        raise ValueError(message)


def is_host_and_port(value: str) -> None:
    """Take ``host:port``."""
    if _ENDPOINT.fullmatch(value) is None:
        message = "use host:port, for example europe-west1-pubsub.googleapis.com:443"
        raise ValueError(message)


def is_warehouse_url(value: SecretText) -> None:
    """Take ClickHouse's address; an empty one is the embedded warehouse."""
    url = value.get_secret_value()
    if url and not _is_http(url):
        message = "use http(s)://user:password@host:port/database"
        raise ValueError(message)


def is_file(value: Path) -> None:
    """Take the path of a file that there is."""
    if not value.is_file():
        message = "there is no such file"
        raise ValueError(message)


def is_cluster(value: str) -> None:
    """Take the name of a cluster of ClickHouse."""
    if _CLUSTER.fullmatch(value) is None:
        message = "use the name of a cluster: letters, digits, _ - . and {cluster}"
        raise ValueError(message)


def are_addresses(value: str) -> None:
    """Take addresses with commas between them."""
    if not all(map(_is_http, value.split(","))):
        message = "use http(s)://host:port, several with commas"
        raise ValueError(message)


def is_address(value: str) -> None:
    """Take the address of an HTTP server."""
    if not _is_http(value):
        message = "use http(s)://host:port"
        raise ValueError(message)


def is_long(value: SecretText) -> None:
    """Take a secret that cannot be guessed: RFC 7518, 3.2, for HS256."""
    if 0 < len(value.get_secret_value().encode()) < MIN_SECRET_BYTES:
        message = f"use at least {MIN_SECRET_BYTES} bytes, for example from `openssl rand -hex 32`"
        raise ValueError(message)


def is_short(value: str) -> None:
    """Take what can be a label of a metric."""
    if len(value) > MAX_REVISION_CHARS:
        message = f"use at most {MAX_REVISION_CHARS} characters"
        raise ValueError(message)


def one_of(*known: str) -> Callable[[str], None]:
    """Return a check that takes these words only."""

    def is_known(value: str) -> None:
        if value not in known:
            message = f"use one of {', '.join(known)}"
            raise ValueError(message)

    return is_known


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where no port can have this number
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
