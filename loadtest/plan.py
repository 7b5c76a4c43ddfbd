"""What a generator process is told to send: plain data, written to a file and read back.

A plan is bounded in time, in connections and in requests, whatever a scenario asks for; ``check``
refuses what is past the bounds. ``share`` cuts it into parts for several generator processes.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

MAX_SECONDS: Final = 7_200.0
MAX_CONNECTIONS: Final = 20_000
MAX_REQUESTS: Final = 20_000_000
"""That one generator sends; it keeps 12 bytes of each until the end."""
DRAIN_S: Final = 15.0
"""How long answers are waited for once the last request was due."""


class Request(msgspec.Struct, frozen=True):
    """One request, ready to be sent."""

    kind: str
    """Under which its answers are counted, such as ``track`` or ``stats``."""
    raw: bytes
    """The whole HTTP/1.1 request."""
    events: int = 1
    """How many events an answer 2xx accepts."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a plan.

    Exactly one of three says how requests arrive: ``rate`` and ``share`` are open loops, in which a
    request is due at its time whatever became of those before; with neither each connection sends
    the next request when it has the answer to the last one (a closed loop, for ceilings).
    """

    name: str
    seconds: float
    rate: float = 0.0
    """Requests a second."""
    share: float = 0.0
    """Requests a second as a share of what the last closed loop of this plan reached."""
    count: int = MAX_REQUESTS
    """Ends the phase before its time."""
    at_once: int = 0
    """Connections that a closed loop uses; 0: all of them."""

    @property
    def is_open(self) -> bool:
        """Whether it is an open loop."""
        return self.rate > 0 or self.share > 0


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """Clients that send their bodies in drops, beside the load."""

    connections: int
    chunk_bytes: int = 16
    pause_s: float = 1.0
    within_s: float = 1.0
    """They begin one after the other within this time."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a generator needs to know."""

    url: str
    """Only scheme, host and port count."""
    requests: list[Request]
    """Sent in this order, again and again."""
    phases: list[Phase]
    connections: int = 64
    is_random: bool = False
    """Open loops: gaps of a Poisson process instead of even ones."""
    seed: int = 1
    slow: Slow | None = None
    idle_connections: int = 0
    """Held open without sending anything."""
    may_leave_this_machine: bool = False
    """Set only where the person said that the other host is theirs."""


class PlanError(ValueError):
    """The plan is past a bound, or points at a host that it may not load."""


def host_and_port(url: str) -> tuple[str, int]:
    """Return where to connect to.

    Raises:
        PlanError: The address is not plain HTTP, which is all that the driver speaks.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        message = f"{url!r} is not an http:// address; the driver speaks no TLS"
        raise PlanError(message)
    return parts.hostname, parts.port or 80


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, without asking a name server."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check(plan: Plan) -> None:
    """Refuse a plan that is not bounded, or not meant for its host.

    Raises:
        PlanError: Says what is wrong.
    """
    host, _ = host_and_port(plan.url)
    if not is_loopback(host) and not plan.may_leave_this_machine:
        message = f"{host} is not this machine"
        raise PlanError(message)
    slow = plan.slow.connections if plan.slow else 0
    connections = plan.connections + slow + plan.idle_connections
    if not plan.requests or not plan.phases or plan.connections < 1:
        message = "a plan needs requests, phases and connections"
        raise PlanError(message)
    if connections > MAX_CONNECTIONS:
        message = f"{connections:,} connections are more than {MAX_CONNECTIONS:,}"
        raise PlanError(message)
    seconds = sum(phase.seconds for phase in plan.phases)
    if not all(phase.seconds > 0 for phase in plan.phases):  # so that nan is refused, too
        message = f"{seconds:g} s are too short: it has to be more than 0 s"
        raise PlanError(message)
    if seconds > MAX_SECONDS:
        message = f"{seconds:,.0f} s are more than {MAX_SECONDS:,.0f} s"
        raise PlanError(message)
    due = sum(phase.rate * phase.seconds for phase in plan.phases)
    if due > MAX_REQUESTS:
        message = f"{due:,.0f} requests are more than {MAX_REQUESTS:,}"
        raise PlanError(message)


def share(plan: Plan, parts: int) -> list[Plan]:
    """Return the plans of ``parts`` generators that together are the plan.

    Rates, counts and connections are divided; each generator begins elsewhere in the requests, and
    draws other gaps.
    """
    plans = []
    for part in range(parts):
        start = part * len(plan.requests) // parts
        plans.append(
            msgspec.structs.replace(
                plan,
                requests=plan.requests[start:] + plan.requests[:start],
                phases=[
                    msgspec.structs.replace(
                        phase,
                        rate=phase.rate / parts,
                        count=_slice(phase.count, part, parts),
                        at_once=-(-phase.at_once // parts),
                    )
                    for phase in plan.phases
                ],
                connections=max(1, _slice(plan.connections, part, parts)),
                seed=plan.seed + part,
                idle_connections=_slice(plan.idle_connections, part, parts),
                slow=msgspec.structs.replace(
                    plan.slow, connections=_slice(plan.slow.connections, part, parts)
                )
                if plan.slow
                else None,
            )
        )
    return plans


def _slice(total: int, part: int, parts: int) -> int:
    return total * (part + 1) // parts - total * part // parts


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan for a generator process."""
    path.write_bytes(msgspec.msgpack.encode(plan))


def read_plan(path: Path) -> Plan:
    """Read a plan that ``write_plan`` wrote."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Plan)


def build_request(
    path: str, body: bytes, headers: dict[str, str], *, method: str = "POST"
) -> bytes:
    """Return one HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def with_key(
    path: str, bodies: Sequence[bytes], api_key: str, *, kind: str = "track", events: int = 1
) -> list[Request]:
    """Return requests with one API key, one for each body."""
    headers = {"Authorization": f"ApiKey {api_key}"}
    return [Request(kind, build_request(path, body, headers), events) for body in bodies]
