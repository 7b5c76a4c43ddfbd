"""Runs an image as ``docker run --read-only --cap-drop ALL --network none`` would.

There is no container engine, so the kernel is asked directly: namespaces of its own for mounts,
processes, network, IPC and host name; the image's root read-only; tmpfs where the image says that
data is, and in /tmp; the image's user without any capability and without a way to get one. The
command is process 1 there, and hears signals as process 1 does.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.containers.tools import CheckError
from tests.faults.processes import children_of
from tests.support.poll import poll_until

DATA_DIR: Final = "/var/lib/sluice"
COMMAND_WITHIN_S: Final = 60
READY_WITHIN_S: Final = 60
DOCKER_STOPS_WITHIN_S: Final = 10
"""Docker's own patience before SIGKILL."""
SCRIPT: Final = """
set -eu
root=$1 uid=$2 gid=$3; shift 3
ip link set lo up
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=0755,size=64k tmpfs "$root/dev"
for name in null zero full random urandom; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size=64m tmpfs "$root/tmp"
mount -t tmpfs -o "uid=$uid,gid=$gid,mode=0700,nosuid,nodev,noexec,size=1g" \\
  tmpfs "$root/var/lib/sluice"
mount -o remount,bind,ro "$root"
exec chroot "$root" /usr/bin/setpriv --reuid "$uid" --regid "$gid" --clear-groups \\
  --no-new-privs --bounding-set=-all --inh-caps=-all /usr/bin/env -i -C /var/lib/sluice "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What a runtime takes from an image."""

    root: Path
    user: str
    entrypoint: Sequence[str]
    environment: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """How a command ended, and what it said."""

    status: int
    text: str


class Container:
    """One running container."""

    def __init__(self, image: Image, process: asyncio.subprocess.Process, log: Path) -> None:
        """Take its image, the process that made the namespaces, and the file with its output."""
        self._image = image
        self._process = process
        self._log = log
        self._started = time.monotonic()

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    @property
    def first_pid(self) -> int | None:
        """Its process 1, as this machine counts."""
        return next((pid for _, pid in children_of(self._process.pid)), None)

    @property
    def is_inside(self) -> bool:
        """Whether its process 1 has the image as its root."""
        try:
            return Path(f"/proc/{self.first_pid}/root").readlink() == self._image.root
        except OSError:
            return False

    async def ready_after_s(self) -> float:
        """Return the seconds from its start to its line ``ready``.

        Raises:
            CheckError: It ended, or the time is up.
        """

        def is_ready() -> bool:
            if self._process.returncode is not None:
                message = f"ended with status {self._process.returncode}: {self.said}"
                raise CheckError(message)
            return any(line.startswith("ready") for line in self.said.splitlines())

        try:
            await poll_until(is_ready, within_s=READY_WITHIN_S, what="the line ready")
        except TimeoutError as error:
            message = f"not ready within {READY_WITHIN_S} s: {self.said}"
            raise CheckError(message) from error
        return time.monotonic() - self._started

    async def execute(self, *words: str) -> Answered:
        """Run a command inside, as its user, with its environment: ``docker exec``."""
        uid, _, gid = self._image.user.partition(":")
        return await _ended(
            *("nsenter", "--target", str(self.first_pid)),
            *("--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd"),
            *("/usr/bin/setpriv", "--reuid", uid, "--regid", gid, "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
            *("/usr/bin/env", "-i", *self._image.environment, *words),
        )

    async def curl(self, *words: str) -> Answered:
        """Run this machine's curl in its network, which nothing else can reach."""
        return await _ended("nsenter", "--target", str(self.first_pid), "--net", "curl", *words)

    async def stop(self) -> tuple[int, float]:
        """Send SIGTERM to its process 1; return the exit status and the seconds until it ended.

        Raises:
            CheckError: It did not end before Docker would have killed it.
        """
        pid, began = self.first_pid, time.monotonic()
        if pid is None:
            message = f"it ended by itself: {self.said}"
            raise CheckError(message)
        os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(DOCKER_STOPS_WITHIN_S):
                status = await self._process.wait()
        except TimeoutError as error:
            message = f"still there {DOCKER_STOPS_WITHIN_S} s after SIGTERM: {self.said}"
            raise CheckError(message) from error
        return status, time.monotonic() - began


@asynccontextmanager
async def running(
    image: Image, *words: str, log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Container]:
    """Run the image with these words until the block ends."""
    uid, _, gid = image.user.partition(":")
    given = [f"{name}={value}" for name, value in (environment or {}).items()]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"),
            *("sh", "-c", SCRIPT, "sh", str(image.root), uid, gid),
            *(*image.environment, *given, *image.entrypoint, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    container = Container(image, process, log)
    try:
        await poll_until(
            lambda: container.is_inside or process.returncode is not None, what="its process 1"
        )
        yield container
    finally:
        if process.returncode is None:
            process.kill()  # and with it, by --kill-child, all that is inside
            await process.wait()


async def _ended(*words: str) -> Answered:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(COMMAND_WITHIN_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Answered(process.returncode or 0, said.decode(errors="replace"))
