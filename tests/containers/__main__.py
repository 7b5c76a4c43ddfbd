"""Builds the image as a registry's base would be built on, looks into it, and runs it.

``make image-test`` does this on Debian or Ubuntu, as root, without a container engine. It takes
some minutes, and cleans up after itself; ``--folder`` keeps base and layers for the next time.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.containers.build import FULL, PARTS, base_name, build, layer_sizes, make_base
from tests.containers.compose import check_compose
from tests.containers.inspection import (
    check_config,
    check_files,
    check_secrets,
    check_size,
    config_of,
    image_of,
    size_of,
)
from tests.containers.tools import Buildah, CheckError, missing
from tests.containers.trials import Trials

WITHIN_S = 3_600
MISSING_STATUS = 2


def main() -> int:
    """Return the exit status: 0 when all is well, 1 when not, 2 when something is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work, and leave base and layers")
    parser.add_argument("--only", choices=("compose", "image"), help="check one of the two")
    arguments = parser.parse_args()
    lacks = missing() if arguments.only != "compose" else []
    if lacks:
        _report("\n  ".join(["Building the image needs what is not here:", *lacks]))
        return MISSING_STATUS
    with ExitStack() as stack:
        folder = arguments.folder or stack.enter_context(_own_folder())
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if arguments.only != "image":
                with _said("compose.yaml") as say:
                    say(check_compose(folder))
            if arguments.only != "compose":
                _check_image(folder.resolve())
        except CheckError as error:
            _report(f"FAILED: {error}")
            return 1
    return 0


def _check_image(folder: Path) -> None:
    buildah = Buildah(folder)
    try:
        with _said(f"base {base_name()}") as say:
            make_base(buildah, folder)
            say(f"from Debian's packages, storage driver {buildah.driver}")
        with _said("build"):
            built = build(buildah, folder)
        base = buildah.mounted(base_name())
        images = {}
        for name in (PARTS, FULL):
            with _said(f"inspect {name}") as say:
                config, root = config_of(buildah, name), buildah.mounted(name)
                check_config(config, built)
                check_files(root, base)
                check_secrets(buildah, name, root, built)
                size = size_of(root)
                check_size(name, size)
                say(f"{_mb(size)} of files, {_mb(size_of(base))} of them the base's")
                images[name] = image_of(config, root)
        trials = Trials(images[FULL], images[PARTS], folder / "logs", built.version)
        asyncio.run(_run(trials))
        with _said("layers") as say:
            sizes = layer_sizes(buildah, FULL, folder / "layers")
            shown = " + ".join(_mb(size) for size in sizes)
            say(f"{shown} = {_mb(sum(sizes))} to pull, the last for the embedded warehouse")
    finally:
        buildah.close()


async def _run(trials: Trials) -> None:
    async with asyncio.timeout(WITHIN_S):
        for trial in (
            trials.is_confined,
            trials.counts_the_first_event,
            trials.runs_the_gateway_alone,
            trials.says_what_a_worker_lacks,
            trials.ends_what_has_no_handler,
        ):
            with _said(f"run: {trial.__name__.replace('_', ' ')}") as say:
                say(await trial())


class _Say:
    words = ""

    def __call__(self, words: str) -> None:
        self.words = words


@contextmanager
def _said(what: str) -> Iterator[_Say]:
    began, say = time.monotonic(), _Say()
    try:
        yield say
    except BaseException:
        _report(f"{what}: failed after {time.monotonic() - began:.0f} s")
        raise
    detail = f": {say.words}" if say.words else ""
    _report(f"{what} ({time.monotonic() - began:.0f} s){detail}")


def _report(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the report of a command


@contextmanager
def _own_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sluice-image-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
