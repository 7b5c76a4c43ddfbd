"""``sluice run`` for tests: everything in a folder of its own, on free ports.

Workers of pytest-xdist share one stack: the first that needs it starts it, the last that used it
stops it. What a test needs for itself is a tenant (``new_tenant``) or a process of its own.
"""

import fcntl
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from sluice.core.tokens import mint_read_token
from sluice.tenants import TenantsFile
from tests.support.ports import free_port
from tests.support.users import users_of

READY_WITHIN_S: Final = 60
STOP_WITHIN_S: Final = 15
KNOWN_WITHIN_S: Final = 5
ASK_EVERY_S: Final = 0.02
TOKEN_TTL_S: Final = 7200


class Stack(msgspec.Struct, frozen=True):
    """Where a running stack is."""

    pid: int
    """Of the supervisor."""
    folder: str
    port: int
    worker_port: int
    warehouse_port: int

    @property
    def data_dir(self) -> Path:
        """Where its files are."""
        return Path(self.folder)

    @property
    def url(self) -> str:
        """Base address of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker_url(self) -> str:
        """Base address of the worker's own port."""
        return f"http://127.0.0.1:{self.worker_port}"

    @property
    def tenants_file(self) -> Path:
        """The tenants file, which may be edited while the stack runs."""
        return self.data_dir / "tenants.toml"

    @property
    def settings(self) -> dict[str, str]:
        """The SLUICE_* variables, without prefix, with which a command works on this stack."""
        return {
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "WORKER_PORT": str(self.worker_port),
            "WAREHOUSE_PORT": str(self.warehouse_port),
            "WORKER_URL": self.worker_url,
        }

    @property
    def output(self) -> str:
        """What the supervisor wrote to stdout so far."""
        return (self.data_dir / "run.out").read_text()

    @property
    def log(self) -> str:
        """What all processes wrote to stderr so far."""
        return (self.data_dir / "run.log").read_text()

    def pid_of(self, part: str) -> int:
        """Return the process of a part, such as ``warehouse``."""
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            if part in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                return int(pid)
        message = f"{part} does not run"
        raise LookupError(message)

    def new_tenant(self) -> tuple[str, str, str]:
        """Return slug, secret key and read token of a new tenant that the gateway knows."""
        slug = f"t-{os.urandom(6).hex()}"
        key = TenantsFile(self.tenants_file).add_tenant(slug)
        token = self.read_token(slug)
        deadline = time.monotonic() + KNOWN_WITHIN_S
        while not self._knows(token):
            assert time.monotonic() < deadline, f"the gateway does not know tenant {slug}"
            time.sleep(ASK_EVERY_S)
        return slug, key, token

    def read_token(self, slug: str) -> str:
        """Return a read token of a tenant."""
        secret = (self.data_dir / "jwt.secret").read_text().strip()
        return mint_read_token(slug, secret=secret, now=datetime.now(UTC), ttl_s=TOKEN_TTL_S)

    def _knows(self, token: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=KNOWN_WITHIN_S)
        try:
            connection.request(
                "GET", "/api/ingestion/errors?limit=1", headers={"Authorization": f"Bearer {token}"}
            )
            return connection.getresponse().status not in {401, 403}
        finally:
            connection.close()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with these SLUICE_* variables (given without prefix) and no others."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return rest | {f"SLUICE_{name}": value for name, value in settings.items()}


@dataclass(frozen=True, slots=True)
class OwnedStack:
    """A stack and its supervisor, which is our child."""

    stack: Stack
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """Ask it to stop and return its exit status; after a time it is killed."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@contextmanager
def running_stack(
    data_dir: Path, settings: Mapping[str, str] | None = None, *words: str
) -> Iterator[OwnedStack]:
    """Run a stack of one's own until the block ends.

    Args:
        data_dir: Its folder.
        settings: SLUICE_* without prefix.
        words: What follows ``sluice run``.
    """
    owned = start_stack(data_dir, settings or {}, *words)
    try:
        yield owned
    finally:
        if owned.process.poll() is None:
            owned.stop()


def start_stack(data_dir: Path, settings: Mapping[str, str], *words: str) -> OwnedStack:
    """Start a stack and return when it has said ``ready``."""
    with _choosing_ports() if "--simulate-amplitude" in words else nullcontext():
        return _start(data_dir, settings, *words)


@contextmanager
def _choosing_ports() -> Iterator[None]:
    """Hold others back: the simulator's port cannot be told, and two would take the same."""
    with (Path(tempfile.gettempdir()) / "sluice-test-ports.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(data_dir: Path, settings: Mapping[str, str], *words: str) -> OwnedStack:
    data_dir.mkdir(parents=True, exist_ok=True)
    ports = [free_port() for _ in range(3)]
    names = ("PORT", "WORKER_PORT", "WAREHOUSE_PORT")
    given = {name: str(port) for name, port in zip(names, ports, strict=True)}
    given |= {"DATA_DIR": str(data_dir), "LOG_FORMAT": "json", **settings}
    with (data_dir / "run.out").open("wb") as out, (data_dir / "run.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "sluice.cli", "run", *words],
            env=environment(given),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            start_new_session=True,  # Ctrl-C on the tests ends them first, then this, in order
        )
    stack = Stack(process.pid, str(data_dir), *(int(given[name]) for name in names))
    owned = OwnedStack(stack, process)
    deadline = time.monotonic() + READY_WITHIN_S
    while "ready" not in stack.output.splitlines():
        if process.poll() is not None or time.monotonic() > deadline:
            owned.stop()
            message = f"sluice run did not get ready:\n{stack.log[-4000:]}"
            raise RuntimeError(message)
        time.sleep(ASK_EVERY_S)
    return owned


_OWNED: Final[list[OwnedStack]] = []
"""Shared stacks that this process started; another process may be the one that stops them."""


@contextmanager
def shared_stack(folder: Path) -> Iterator[Stack]:
    """Take part in the one stack of all processes that name this folder."""
    with users_of(folder, "stack") as users:
        if users.count == 0:
            _OWNED.append(start_stack(folder / f"stack-{os.urandom(4).hex()}", {}))
            users.path.write_bytes(msgspec.json.encode(_OWNED[-1].stack))
        users.count += 1
        stack = msgspec.json.decode(users.path.read_bytes(), type=Stack)
    try:
        yield stack
    finally:
        with users_of(folder, "stack") as users:
            users.count -= 1
            if users.count == 0:
                _stop_shared(stack)
        for owned in _OWNED:
            owned.process.poll()


def _stop_shared(stack: Stack) -> None:
    # The supervisor may be another process's child; it is gone when its lock is.
    with suppress(ProcessLookupError):
        os.kill(stack.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_WITHIN_S
    with (stack.data_dir / "run.lock").open("r+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                assert time.monotonic() < deadline, f"the stack did not stop:\n{stack.log[-4000:]}"
                time.sleep(ASK_EVERY_S)
            else:
                return
