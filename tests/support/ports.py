"""Free ports of loopback."""

import secrets
import socket
from contextlib import suppress
from typing import Final

LOWEST: Final = 10_000
COUNT: Final = 22_000
"""Up to 32,000: below the ports that systems give to outgoing connections. With thousands of those
open, one of them would take a port between the choice here and the bind of the process."""
TRIES: Final = 1_000


def free_port() -> int:
    """Return a port that was free a moment ago.

    Raises:
        RuntimeError: Hardly any port is free.
    """
    for _ in range(TRIES):
        port = LOWEST + secrets.randbelow(COUNT)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    message = f"no free port in {TRIES} tries"
    raise RuntimeError(message)
