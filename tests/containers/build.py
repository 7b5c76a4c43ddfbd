"""Builds the unchanged Dockerfile on a base that Debian's packages make."""

import re
import secrets
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from tests.containers.tools import Buildah, CheckError, call, pip_secrets

ROOT: Final = Path(__file__).parents[2]
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = "python3,python3-venv,ca-certificates"
FULL: Final = "sluice:check"
PARTS: Final = "sluice-parts:check"
PLANTED: Final = (
    ".env",
    "id_ed25519",
    "sluice-data/tenants.toml",
    "sluice/.env",
    "sluice/__pycache__/old.cpython-313.pyc",
    "worker/.netrc",
)
"""Files as they lie about in a working copy; none may get into the image."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build was given and must not, or must, be found in the image."""

    mark: str
    """Stands in every secret and every planted file."""
    version: str
    revision: str


def base_name() -> str:
    """Return the image that the Dockerfile stands on."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    if found is None:
        message = "the Dockerfile has no ARG PYTHON_IMAGE"
        raise CheckError(message)
    return found[1]


def make_base(buildah: Buildah, folder: Path) -> None:
    """Make a stand-in for the base from Debian's own packages, under the same name.

    Its Debian release is the one in the name; its Python is that release's, in /usr/bin.
    """
    if buildah.has(base_name()):
        return
    root, archive = folder / "base", folder / "base.tar"
    shutil.rmtree(root, ignore_errors=True)  # of an earlier run that was interrupted
    release = base_name().rpartition("-")[2]
    call("debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, root, MIRROR)
    leave = ("--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*")
    call("tar", "-C", root, *leave, "-cf", archive, ".")
    container = buildah.run("from", "scratch")
    buildah.run("add", "--quiet", container, archive, "/")
    buildah.run("commit", "--quiet", "--rm", container, base_name())
    archive.unlink()
    shutil.rmtree(root)


def build(buildah: Buildah, folder: Path) -> Built:
    """Build both images from a copy of the working tree in which secrets lie about."""
    built = Built(
        mark=f"planted-{secrets.token_hex(16)}",
        version=tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        revision=call("git", "-C", ROOT, "rev-parse", "HEAD").strip(),
    )
    context = folder / "context"
    _copy_tree(context)
    for name in PLANTED:
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{built.mark}\n")
    options = (
        *("build", "--quiet", "--format", "docker", "--layers", "--pull-never"),
        *pip_secrets(folder, built.mark),
        *("--build-arg", f"VERSION={built.version}"),
        *("--build-arg", f"REVISION={built.revision}"),
    )
    for image in (FULL, PARTS):
        if buildah.has(f"localhost/{image}"):  # its cache does not see that a build-arg changed
            buildah.run("rmi", "--force", image)
    buildah.run(*options, "--target", "parts", "--tag", PARTS, context)
    buildah.run(*options, "--tag", FULL, context)
    return built


def layer_sizes(buildah: Buildah, image: str, folder: Path) -> list[int]:
    """Return the bytes of each layer as a registry would hold it, the base first."""
    shutil.rmtree(folder, ignore_errors=True)
    buildah.run("push", "--quiet", "--format", "oci", image, f"oci:{folder}")
    index = orjson.loads((folder / "index.json").read_bytes())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    manifest = orjson.loads((folder / "blobs" / "sha256" / digest).read_bytes())
    shutil.rmtree(folder)
    return [layer["size"] for layer in manifest["layers"]]


def _copy_tree(context: Path) -> None:
    shutil.rmtree(context, ignore_errors=True)
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = call("git", "-C", ROOT, *words)
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, context / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
