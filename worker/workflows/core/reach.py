"""Which addresses requests may go to: public ones, and private ones that the operator lists.

A document is foreign text, and so is every redirect: neither may make a worker ask its own network,
its own machine, or the place where a cloud hands out credentials.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

_NOT_PUBLIC: Final = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata is among them
        "192.88.99.0/24",  # relays of 6to4
        "168.63.129.16/32",  # Azure's own service, on an address that looks public
        "2001::/23",  # protocol assignments: Teredo, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",
    )
)
_GLOBAL_UNICAST: Final = ip_network("2000::/3")
_NAT64: Final = ip_network("64:ff9b::/96")
"""Public IPv4 as networks with IPv6 alone see it: what counts is the address inside."""
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})").fullmatch
_LOOKS_NUMERIC: Final = re.compile(
    r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+))*\.?"
)
_ODD: Final = re.compile(r"[^!-~]").search
"""A character that an address holds only when nobody encoded it."""
_PORTS: Final = {"http": 80, "https": 443}


def is_public(address: str) -> bool:
    """Whether an IP address, as the system resolved it, is one of the public internet."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if found in _NAT64:
            found = IPv4Address(int(found) & 0xFFFF_FFFF)
        elif found not in _GLOBAL_UNICAST:  # loopback, mapped IPv4, link-local, local, multicast
            return False
    is_special = found.is_multicast or found.is_reserved or found.is_unspecified
    return found.is_global and not is_special and not any(found in one for one in _NOT_PUBLIC)


def place_of(url: str) -> tuple[str, int] | str:
    """Return host and port of an address as they are connected to, or why there is no asking it.

    A host is a name in ASCII, or an IP address in its one usual spelling: ``2130706433``,
    ``0x7f.1`` and ``127.1`` are refused; nobody then has to know who reads them how.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "its address is none"
    if _ODD(url):
        return "its address holds a blank or a character that is not ASCII"
    if parts.scheme not in _PORTS or parts.username is not None or port == 0:
        return "its address is not http(s)"
    is_literal = "[" in parts.netloc
    if is_literal:
        if not _is_address(host, IPv6Address):
            return "its host is no IPv6 address"
    elif _LOOKS_NUMERIC.fullmatch(host):
        if not _is_address(host, IPv4Address):
            return "its host is an IP address in an unusual spelling"
    elif not _HOST(host):
        return "its host is not a name in ASCII"
    return host, port or _PORTS[parts.scheme]


def _is_address(text: str, kind: type[IPv4Address] | type[IPv6Address]) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return "%" not in text


def listed(hosts: str, *urls: str) -> frozenset[tuple[str, int]]:
    """Return the hosts and ports that may be private.

    Args:
        hosts: ``host:port`` with commas between, as ``SLUICE_WORKFLOW_PRIVATE_HOSTS`` has it.
        urls: Addresses of the operator, whose origins may be, too.
    """
    given = [f"http://{one.strip()}" for one in hosts.split(",") if one.strip()]
    places = [place_of(one) for one in (*given, *(url for url in urls if url))]
    return frozenset(one for one in places if not isinstance(one, str))
