"""The Sluice that a run starts for itself: parts on cores of their own, watched once a second."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_urlsafe
from typing import Final, Self
from urllib.parse import quote, urlencode, urlsplit

from loadtest.broker_rig import (
    HEAP_MB,
    add_tenant,
    cpu_seconds,
    parts_environment,
    wait_until_quiet,
)
from loadtest.emulator import MISSING, find_jar, running_emulator
from loadtest.plan import PlanError
from loadtest.processes import command, running
from loadtest.results import Sample
from loadtest.scenario import Scenario, TenantKey

SHOPIFY_SECRET: Final = "bench-secret-of-the-shop"  # noqa: S105 - of a tenant that lives for a run
SAMPLE_EVERY_S: Final = 1.0
MAX_SAMPLES: Final = 10_000
EMULATOR: Final = "emulator"
BACKENDS: Final = ("local", "pubsub")


@dataclass(slots=True)
class Watch:
    """Memory and processor time of processes, second by second."""

    pids: dict[str, int]
    samples: list[Sample] = field(default_factory=list)
    started_at: float = 0.0

    def look(self) -> None:
        """Take one sample of each process that is there."""
        now = time.monotonic() - self.started_at
        for name, pid in list(self.pids.items()):
            try:
                self.samples.append(Sample(name, round(now, 2), cpu_seconds(pid), rss_mb(pid)))
            except FileNotFoundError:  # it just ended
                continue

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Look once a second until the block ends."""
        self.started_at = time.monotonic()
        over = threading.Event()

        def look() -> None:
            while len(self.samples) < MAX_SAMPLES and not over.wait(SAMPLE_EVERY_S):
                self.look()

        self.look()
        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process and of its children, in MB."""
    own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4_096 / 1024**2
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(rss_mb(int(child)) for child in children)


class Own:
    """A Sluice of our own, part by part."""

    def __init__(self, folder: Path, scenario: Scenario, *, cores: set[int], backend: str) -> None:
        self._folder = folder
        self._scenario = scenario
        self._cores = cores
        self._backend = backend
        self._stack = ExitStack()
        self._parts: dict[str, ExitStack] = {}
        self._env: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        self.tenants: list[TenantKey] = []
        self.token = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for part in reversed(list(self._parts)):
            self.stop(part)
        self._stack.close()

    def _start(self) -> None:
        host = ""
        if self._backend == "pubsub":
            jar = find_jar()
            if jar is None:
                raise PlanError(MISSING)
            emulator = self._stack.enter_context(running_emulator(jar, heap_mb=HEAP_MB))
            host = emulator.host
            self.pids[EMULATOR] = emulator.pid
        data_dir = self._folder / "sluice"
        self._env = parts_environment(data_dir, emulator=host) | dict(self._scenario.settings)
        key = add_tenant(self._env, "load")
        command(["tenant", "set", "load", f"shopify_secrets={SHOPIFY_SECRET}"], self._env)
        self.tenants = [TenantKey("load", key)]
        self.tenants += add_tenants(data_dir / "tenants.toml", self._scenario.tenants - 1)
        if "warehouse" in self._scenario.parts:
            self.start("warehouse")
        if host:
            command(["setup"], self._env)
        for part in self._scenario.parts:
            if part != "warehouse":
                self.start(part)
        self.token = command(["token", "load", "--ttl", "1d"], self._env).decode().strip()

    @property
    def url(self) -> str:
        """The address of the gateway."""
        return f"http://127.0.0.1:{self._env['SLUICE_PORT']}"

    @property
    def sluice_pids(self) -> dict[str, int]:
        """The processes that are Sluice's own; the emulator is Google's."""
        return {name: pid for name, pid in self.pids.items() if name != EMULATOR}

    def start(self, part: str) -> None:
        """Start a part and wait until it is ready."""
        stack = ExitStack()
        log = self._folder / f"{part}.log"
        process = stack.enter_context(
            running(["sluice.cli", part], env=self._env, log=log, cores=self._cores)
        )
        self._parts[part] = stack
        self.pids[part] = process.pid

    def stop(self, part: str) -> None:
        """Stop a part gracefully."""
        self._parts.pop(part).close()
        del self.pids[part]

    def settle(self) -> None:
        """Wait, for a bounded time, until no part has anything left to do."""
        wait_until_quiet(self.pids.values())

    def stored_events(self) -> int:
        """Return how many rows of events ClickHouse has; costs it next to nothing."""
        return int(self._ask("SELECT count() FROM events"))

    def visible_events(self) -> int:
        """Return how many events ClickHouse has, each counted once; reads all of them."""
        return int(self._ask("SELECT count() FROM events FINAL"))

    def queue_mb(self) -> float:
        """Return the size of the local queue's file, in MB; 0 where the queue is a broker."""
        file = self._folder / "sluice/queue.sqlite"
        return file.stat().st_size / 1024**2 if file.exists() else 0.0

    def _ask(self, query: str) -> str:
        return ask((self._folder / "sluice/warehouse.url").read_text().strip(), query)


def ask(warehouse_url: str, query: str) -> str:
    """Send a query to the embedded warehouse and return its answer.

    Raises:
        RuntimeError: It refused.
    """
    parts = urlsplit(warehouse_url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        options = urlencode(
            {
                "user": parts.username,
                "password": parts.password,
                "database": parts.path.strip("/"),
            },
            quote_via=quote,
        )
        connection.request("POST", f"/?{options}", query.encode())
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        message = f"the warehouse answered {answer.status}: {text[:200]}"
        raise RuntimeError(message)
    return text.strip()


def add_tenants(path: Path, count: int) -> list[TenantKey]:
    """Add many tenants to the tenants file at once, as the command does one by one."""
    added = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    tenants = [TenantKey(f"load-{n}", f"sk_live_{token_urlsafe(32)}") for n in range(count)]
    with path.open("a") as file:
        for tenant in tenants:
            digest = sha256(tenant.api_key.encode()).hexdigest()
            file.write(
                f'\n[tenants.{tenant.slug}]\nname = ""\nenabled = true\n'
                f'\n[[tenants.{tenant.slug}.api_keys]]\ndigest = "{digest}"\n'
                f'kind = "secret"\nlabel = "first"\ncreated_at = "{added}"\n'
            )
    return tenants
