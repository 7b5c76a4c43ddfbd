"""What is in an image, and what must not be."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from tests.containers.build import FULL, PARTS, Built
from tests.containers.container import Image
from tests.containers.tools import Buildah, CheckError

USER: Final = "10001:10001"
COMPILERS: Final = {"cc", "c++", "gcc", "g++", "clang", "ld", "make", "cargo", "rustc"}
UNWANTED: Final = {"pip", "setuptools", "pandas", "pyarrow", "tests", ".cache", "node_modules"}
MAX_BYTES: Final = {PARTS: 450_000_000, FULL: 1_050_000_000}
"""Of files, uncompressed, with the stand-in for the base."""


def config_of(buildah: Buildah, name: str) -> dict[str, Any]:
    """Return what the image tells a runtime."""
    inspected = orjson.loads(buildah.run("inspect", "--type", "image", name))
    config: dict[str, Any] = inspected["Docker"]["config"]
    return config


def image_of(config: dict[str, Any], root: Path) -> Image:
    """Return what it takes to run it."""
    return Image(root, config["User"], config["Entrypoint"], config["Env"])


def check_config(config: dict[str, Any], built: Built) -> None:
    """Check what a runtime is told.

    Raises:
        CheckError: Something is not as docs/containers.md says.
    """
    labels = config["Labels"]
    said = {
        "user": (config["User"], USER),
        "entry point": (config["Entrypoint"], ["sluice"]),
        "volumes": (list(config["Volumes"]), ["/var/lib/sluice"]),
        "stop signal": (config.get("StopSignal"), "SIGTERM"),
        "healthcheck": (config["Healthcheck"]["Test"], ["CMD", "sluice-healthcheck"]),
        "version": (labels["org.opencontainers.image.version"], built.version),
        "revision": (labels["org.opencontainers.image.revision"], built.revision),
        "licence": (labels["org.opencontainers.image.licenses"], "Apache-2.0"),
    }
    _refuse([f"{what} is {is_!r}" for what, (is_, wanted) in said.items() if is_ != wanted])


def check_secrets(buildah: Buildah, name: str, root: Path, built: Built) -> None:
    """Check that nothing which was planted got in: not into a file, not into the description.

    Raises:
        CheckError: It did.
    """
    mark = built.mark.encode()
    leaks = [f"{path} holds what was planted" for path in _files(root) if _holds(path, mark)]
    if built.mark in buildah.run("inspect", "--type", "image", name):
        leaks.append("the image's description holds what was planted")
    _refuse(leaks)


def check_files(root: Path, base: Path) -> None:
    """Check what the image adds to its base.

    Raises:
        CheckError: A way to more rights, or something that is not needed to run.
    """
    problems = []
    known = {path.relative_to(base) for path in _paths(base)}
    for path in _paths(root):
        inside = path.relative_to(root)
        if inside in known:
            continue
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            if mode & (stat.S_ISUID | stat.S_ISGID):
                problems.append(f"{inside} is set-user-id or set-group-id")
            if mode & stat.S_IWOTH:
                problems.append(f"{inside} can be written by everybody")
            if inside.parts[0] == "opt" and not mode & stat.S_IROTH:
                problems.append(f"{inside} cannot be read by the user")
        if path.name in UNWANTED or (path.name in COMPILERS and "bin" in inside.parts):
            problems.append(f"{inside} is not needed")
        if inside.parts[0] not in {"opt", "etc", "var"} or inside.parts[:2] == ("var", "log"):
            problems.append(f"{inside} is in an odd place")
    _refuse(problems)


def size_of(root: Path) -> int:
    """Return the bytes of all files."""
    return sum(path.lstat().st_size for path in _files(root))


def check_size(name: str, size: int) -> None:
    """Check that the image did not grow past what it needs.

    Raises:
        CheckError: It did.
    """
    if size > MAX_BYTES[name]:
        _refuse([f"{name} has {size:,} bytes; at most {MAX_BYTES[name]:,} are expected"])


def _paths(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        if Path(folder) == root:
            names[:] = [name for name in names if name not in {"proc", "sys", "dev", "run"}]
        for name in (*names, *files):
            yield Path(folder, name)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in _paths(root) if stat.S_ISREG(path.lstat().st_mode))


def _holds(path: Path, mark: bytes) -> bool:
    kept = b""
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            if mark in kept + part:
                return True
            kept = part[-len(mark) :]
    return False


def _refuse(problems: list[str]) -> None:
    if problems:
        shown = problems[:20]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise CheckError("\n".join([*shown, *more]))
