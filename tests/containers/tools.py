"""Programs of the machine that build and run an image without a container engine."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "curl": "curl",
    "git": "git",
}
"""Each program with Debian's package of it."""
BUILD_WITHIN_S: Final = 1_800
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


class CheckError(Exception):
    """The image is not as it should be, or something is missing to find out."""


def missing() -> list[str]:
    """Return what this machine lacks, in words."""
    packages = sorted({name for tool, name in PACKAGES.items() if shutil.which(tool) is None})
    words = [f"packages: apt-get install -y {' '.join(packages)}"] if packages else []
    if os.geteuid() != 0:
        words.append("root: building in a chroot and making namespaces needs it")
    return words


def call(*words: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        CheckError: It failed, with the end of what it said.
    """
    try:
        done = subprocess.run(  # noqa: S603 - words of our own
            [str(word) for word in words],
            env=None if env is None else {**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"{words[0]} did not end within {error.timeout:g} s"
        raise CheckError(message) from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        message = f"{words[0]} ended with status {done.returncode}:\n{said}"
        raise CheckError(message)
    return done.stdout


class Buildah:
    """Buildah with a storage of its own, so that nothing of the machine's is touched."""

    def __init__(self, folder: Path) -> None:
        """Choose the storage driver: overlay where the kernel lets us, else whole copies."""
        self._folder = folder
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        self.driver = "overlay"
        try:
            self.run("mount")
        except CheckError:
            self.driver = "vfs"

    def run(self, *words: str | Path) -> str:
        """Run one of its commands and return what it printed."""
        root = self._folder / f"storage-{self.driver}"
        return call(
            "buildah",
            *("--root", root, "--runroot", self._folder / "run", "--storage-driver", self.driver),
            *words,
            env={"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self._folder / "tmp")},
        ).strip()

    def has(self, image: str) -> bool:
        """Whether the storage has an image of that name."""
        return image in self.run("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()

    def mounted(self, image: str) -> Path:
        """Return where the root of a fresh container of the image is."""
        return Path(self.run("mount", self.run("from", "--pull-never", image)))

    def close(self) -> None:
        """Forget the containers and unmount what is below the folder, so that it can be removed."""
        self.run("rm", "--all")
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed(mounts):
            if Path(mount).is_relative_to(self._folder):
                call("umount", mount)


def pip_secrets(folder: Path, mark: str) -> Sequence[str | Path]:
    """Return the options by which pip in a build reaches the index as pip here does.

    The mark stands in the secret, so that a leak of it into the image can be found.
    """
    lines = [f"# {mark}", "[global]"]
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name in {
            "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
            "PIP_PROXY", "PIP_RETRIES",
        }:  # fmt: skip
            key = name.removeprefix("PIP_").lower().replace("_", "-")
            lines.append(f"{key.removeprefix('default-')} = {value}")
    options: list[str | Path] = []
    if CERTIFICATES.exists():
        lines.append("cert = /run/secrets/pip_ca")
        options = ["--secret", f"id=pip_ca,src={CERTIFICATES}"]
    conf = folder / "pip.conf"
    conf.write_text("\n".join(lines) + "\n")
    conf.chmod(0o600)
    return ["--secret", f"id=pip_conf,src={conf}", *options]
