#!/opt/sluice/bin/python -IS
"""Asks the part that this container runs whether it does its work; exit status 0 says yes.

Which part that is stands on the command line of the first process. It imports nothing of Sluice's:
it is started every few seconds, and an import of half a second each time would be felt.

* The gateway is healthy while it takes events: /readyz. An outage behind it does not change that.
* A worker is healthy while its consumers move (/livez) and its destinations are open (/readyz).
* `sluice run` is healthy while gateway and worker are.
* Whatever else runs here serves nothing and ends by itself: there is nothing to ask.
"""

import http.client
import os
import sys
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 2.0
GATEWAY = (("SLUICE_PORT", "8080", "/readyz"),)
WORKER = (("SLUICE_WORKER_PORT", "8082", "/livez"), ("SLUICE_WORKER_PORT", "8082", "/readyz"))
WAREHOUSE = (("SLUICE_WAREHOUSE_PORT", "8123", "/ping"),)
QUESTIONS = {
    "gateway": GATEWAY,
    "worker": WORKER,
    "warehouse": WAREHOUSE,
    "run": GATEWAY + WORKER + WAREHOUSE,
}
"""For each part its ports, as variable and default, and what is asked there."""


def part_of(words: Sequence[str]) -> str | None:
    """Return the part that a command line starts; an init before it does not matter."""
    after = iter(words)
    for word in after:
        if word.rsplit("/", 1)[-1] == "sluice":
            found = next(after, "")
            return found if found in QUESTIONS else None
    return None


def port_of(words: Sequence[str], variable: str, default: str) -> str:
    """Return the port that the part listens on: the gateway's may be an option, too."""
    if variable == "SLUICE_PORT":
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word == "--port":
                return following
            if word.startswith("--port="):
                return word.removeprefix("--port=")
    return os.environ.get(variable) or default


def answer(port: str, path: str) -> str:
    """Return what is wrong with an answer; empty when nothing is."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read(500).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{path} of port {port}: {error}"
    return "" if response.status == 200 else f"{path} of port {port}: {response.status} {text}"


def main() -> int:
    """Return the exit status, and print what is wrong."""
    words = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    part = part_of(words)
    for variable, default, path in QUESTIONS[part] if part else ():
        if variable == "SLUICE_WAREHOUSE_PORT" and os.environ.get("SLUICE_WAREHOUSE_URL"):
            continue  # `sluice run` with a ClickHouse of your own has no embedded one
        problem = answer(port_of(words, variable, default), path)
        if problem:
            print(problem)  # noqa: T201 - what `docker inspect` shows
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
