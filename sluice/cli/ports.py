"""Which ports ``sluice run`` uses: the wanted ones, checked before anything starts."""

import errno
import socket
import time
from dataclasses import dataclass
from typing import Final

from sluice.core.errors import ConfigError
from sluice.settings import Settings

LOOPBACK: Final = "127.0.0.1"
SIMULATOR_PORT: Final = 8090
TAKEN_FOR_S: Final = 2.0
"""A port may still be held for a moment by a part whose supervisor was just killed."""
ASK_AGAIN_S: Final = 0.1
LISTEN_ERRORS: Final = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL, socket.EAI_NONAME)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts listen."""

    gateway: int
    worker: int
    warehouse: int


def choose_ports(settings: Settings) -> Ports:
    """Return the ports of the three parts, all free a moment ago.

    A port that was asked for must be free. Those of worker and warehouse are nobody's business
    unless they were set, so a free one stands in for a default that is taken.

    Raises:
        ConfigError: A port that was asked for is taken; names variable, option and port.
    """
    return Ports(
        gateway=_outer(settings),
        worker=_inner(settings, "worker_port"),
        warehouse=_inner(settings, "warehouse_port"),
    )


def simulator_port() -> int:
    """Return where the simulated Amplitude listens: its own port, or a free one."""
    return free_port() if bind_error(LOOPBACK, SIMULATOR_PORT) else SIMULATOR_PORT


def moved_lines(settings: Settings, ports: Ports) -> list[str]:
    """Return a line for each part of ours that does not listen where it does by default."""
    places = [("worker", settings.worker_port, ports.worker)]
    if not settings.warehouse_url.get_secret_value():
        places.append(("warehouse", settings.warehouse_port, ports.warehouse))
    return [
        f"port {wanted} is taken; the {name} listens on {port} this time;"
        f" set SLUICE_{name.upper()}_PORT to choose"
        for name, wanted, port in places
        if wanted not in {0, port}
    ]


def _outer(settings: Settings) -> int:
    if settings.port == 0:
        return free_port(settings.host)
    return _wanted(settings.host, settings.port, "SLUICE_PORT (--port)")


def _inner(settings: Settings, name: str) -> int:
    port = int(getattr(settings, name))
    if port and name in settings.given:
        return _wanted(LOOPBACK, port, f"SLUICE_{name.upper()}")
    if port and bind_error(LOOPBACK, port) is None:
        return port
    return free_port(LOOPBACK)


def _wanted(host: str, port: int, name: str) -> int:
    deadline = time.monotonic() + TAKEN_FOR_S
    while (error := bind_error(host, port)) is not None:
        if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
            raise listen_error(error, name, host, port)
        time.sleep(ASK_AGAIN_S)
    return port


def free_port(host: str = LOOPBACK) -> int:
    """Return a port that was free a moment ago.

    Raises:
        ConfigError: The host is no address of this machine.
    """
    try:
        return _bind(host, 0)
    except OSError as error:
        raise listen_error(error, "SLUICE_PORT", host, 0) from None


def bind_error(host: str, port: int) -> OSError | None:
    """Return why a port cannot be listened on, or None if it can."""
    try:
        _bind(host, port)
    except OSError as error:
        return error
    return None


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        return int(sock.getsockname()[1])


def listen_error(error: OSError, name: str, host: str, port: int) -> ConfigError:
    """Return one clear line about an address that cannot be listened on."""
    match error.errno:
        case errno.EADDRINUSE:
            reason = f"{host}:{port} is taken: stop what listens there, or choose another port"
        case errno.EACCES:
            reason = "this user may not listen there: choose a port from 1024 up"
        case errno.EADDRNOTAVAIL | socket.EAI_NONAME:
            return ConfigError(f"SLUICE_HOST is {host!r}: it is no address of this machine.")
        case _:
            reason = f"cannot listen on {host}: {error.strerror}"
    return ConfigError(f"{name} is {port}: {reason}.")
