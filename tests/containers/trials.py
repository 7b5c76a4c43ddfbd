"""What an image must do when it runs: serve, be asked how it is, and stop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.containers.container import Container, Image, running
from tests.containers.tools import CheckError
from tests.support.poll import poll_until

GATEWAY: Final = "http://127.0.0.1:8080"
READY_WITHIN_S: Final = 5.0
NOBODY: Final = {"SLUICE_WAREHOUSE_URL": "http://nobody:x@127.0.0.1:9/sluice"}
"""A warehouse that is away."""
TERMINATED: Final = 143
"""What a process that SIGTERM ended is said to end with."""


class Trials:
    """Runs the images and tells what it saw, line by line."""

    def __init__(self, full: Image, parts: Image, logs: Path, version: str) -> None:
        """Take both images, the folder for what they write, and the version they should say."""
        self._full = full
        self._parts = parts
        self._names = _names(logs)
        self._version = version

    async def is_confined(self) -> str:
        """The root is read-only, and the user has no rights but its own."""
        async with running(self._full, "gateway", log=next(self._names)) as container:
            await container.ready_after_s()
            for path in ("/x", "/opt/sluice/x", "/etc/x"):
                tried = await container.execute("touch", path)
                _expect("Read-only file system" in tried.text, f"{path} was written")
            status = (await container.execute("cat", "/proc/1/status")).text
            for line in (
                "CapEff:\t0000000000000000",
                "CapBnd:\t0000000000000000",
                "NoNewPrivs:\t1",
            ):
                _expect(line in status, f"process 1 has not {line!r}: {status}")
            said = await container.execute("sluice", "--version")
            _expect(said.text.strip() == f"sluice {self._version}", f"--version says {said}")
            await _stops(container, 0)
        return "root read-only, uid 10001, no capability; --version as labelled"

    async def counts_the_first_event(self) -> str:
        """``sluice run``: ready soon, an event accepted and counted, healthy, stopped cleanly."""
        async with running(self._full, "run", log=next(self._names)) as container:
            early = await container.execute("sluice-healthcheck")
            ready_s = await container.ready_after_s()
            _expect(early.status == 1, f"healthy before it served: {early}")
            health = await container.execute("sluice-healthcheck")
            _expect(health.status == 0, f"not healthy although ready: {health}")
            await _track(container)
            await _counted(container)
            stop_s = await _stops(container, 0)
        _expect(ready_s <= READY_WITHIN_S, f"ready after {ready_s:.1f} s only")
        return f"ready after {ready_s:.1f} s, first event counted, stopped after {stop_s:.1f} s"

    async def runs_the_gateway_alone(self) -> str:
        """The gateway beside a warehouse that is away takes events and is healthy."""
        async with running(
            self._parts, "gateway", log=next(self._names), environment=NOBODY
        ) as container:
            ready_s = await container.ready_after_s()
            health = await container.execute("sluice-healthcheck")
            _expect(health.status == 0, f"not healthy: {health}")
            made = await container.execute("sluice", "tenant", "add", "demo")
            key = next((word for word in made.text.split() if word.startswith("sk_")), "")
            await _track(container, key)
            stop_s = await _stops(container, 0)
        _expect(ready_s <= READY_WITHIN_S, f"ready after {ready_s:.1f} s only")
        return f"ready after {ready_s:.1f} s, healthy, takes events, stopped after {stop_s:.1f} s"

    async def says_what_a_worker_lacks(self) -> str:
        """A worker whose warehouse is away is not healthy, says why, and still stops cleanly."""
        async with running(
            self._parts, "worker", "--only", "warehouse", log=next(self._names), environment=NOBODY
        ) as container:
            await container.ready_after_s()
            health = await container.execute("sluice-healthcheck")
            _expect(health.status == 1, f"healthy without a warehouse: {health}")
            _expect("waiting for warehouse" in health.text, f"does not say why: {health}")
            stop_s = await _stops(container, 0)
        return f"{health.text.strip()!r}, stopped after {stop_s:.1f} s"

    async def ends_what_has_no_handler(self) -> str:
        """As process 1, ``sluice setup`` and a part that is just starting end at once, too."""
        async with running(
            self._parts, "setup", log=next(self._names), environment=NOBODY
        ) as container:
            await poll_until(lambda: "waiting" in container.said, within_s=30, what="setup waiting")
            health = await container.execute("sluice-healthcheck")
            _expect(health.status == 0, f"setup serves nothing, so nothing is wrong: {health}")
            waiting_s = await _stops(container, TERMINATED)
        async with running(self._full, "run", log=next(self._names)) as container:
            await poll_until(
                lambda: _handles_sigterm(container.first_pid), within_s=10, what="a handler"
            )
            starting_s = await _stops(container, TERMINATED)
        return f"setup after {waiting_s:.1f} s, a starting part after {starting_s:.1f} s"


def _handles_sigterm(pid: int | None) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return False
    caught = next(line for line in lines if line.startswith("SigCgt:")).split()[1]
    return bool(int(caught, 16) & 1 << 14)  # SIGTERM is the 15th


async def _track(container: Container, key: str = "") -> None:
    key = key or next(word for word in container.said.split() if word.startswith("sk_"))
    answer = await container.curl(
        "-sS", f"{GATEWAY}/api/ingestion/track", "-w", " %{http_code}",
        "-H", f"Authorization: ApiKey {key}", "-H", "Content-Type: application/json",
        "-d", '{"user_id": "user-123", "event_type": "order_placed", "payload": {}}',
    )  # fmt: skip
    _expect(answer.text.endswith(" 202"), f"track answered {answer.text}")


async def _counted(container: Container) -> None:
    token = (await container.execute("sluice", "token", "demo")).text.strip()

    async def is_counted() -> bool:
        stats = await container.curl(
            "-sS", f"{GATEWAY}/api/ingestion/stats?window=24h",
            "-H", f"Authorization: Bearer {token}",
        )  # fmt: skip
        return '"total_events":1' in stats.text

    await poll_until(is_counted, within_s=20, every_s=0.2, what="the event in stats")


async def _stops(container: Container, wanted: int) -> float:
    status, seconds = await container.stop()
    _expect(status == wanted, f"SIGTERM ended it with {status}, not {wanted}: {container.said}")
    return seconds


def _names(logs: Path) -> Iterator[Path]:
    logs.mkdir(exist_ok=True)
    number = 0
    while True:
        number += 1
        yield logs / f"{number}.log"


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise CheckError(otherwise)
