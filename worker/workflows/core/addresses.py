"""Where requests go (rule K9): which of the servers of a description is meant."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from worker.workflows.core.openapi import Operation, Server

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
AMPLITUDE: Final = re.compile(r"([a-z0-9-]+\.)*amplitude\.com").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """What the tenant and the operator say of base addresses."""

    region: str = "us"
    amplitude_url: str | None = None
    """Takes the place of the origin of Amplitude's servers."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of server addresses; they come before the defaults of a description."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """Base addresses by the name of the source; they come before everything."""


def base_url(operation: Operation, addresses: Addresses, source_url: str) -> str | None:
    """Return the base address of an operation without a slash at its end (rule K9).

    A relative one is relative to the address of the description, if that is one on the web.
    """
    url = addresses.servers.get(operation.source)
    try:
        if url is None and operation.servers:
            url = _filled(_of_region(operation.servers, addresses.region), addresses.variables)
        parts = urlsplit(urljoin(source_url, url or "/"))
    except ValueError:  # brackets that do not match
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        return None
    if addresses.amplitude_url is not None and AMPLITUDE(parts.hostname):
        origin = urlsplit(addresses.amplitude_url)
        parts = parts._replace(scheme=origin.scheme, netloc=origin.netloc)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _of_region(servers: tuple[Server, ...], region: str) -> Server:
    if region == "eu":
        for server in servers:
            if "eu" in (urlsplit(server.url).hostname or "").split("."):
                return server
    return servers[0]


def _filled(server: Server, variables: Mapping[str, str]) -> str:
    known = {**server.variables, **variables}
    return _VARIABLE.sub(lambda match: known.get(match[1], match[0]), server.url)
