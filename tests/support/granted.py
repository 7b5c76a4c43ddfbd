"""The embedded warehouse whose one user may do what a user of ours may on a server, and no more.

``python -m tests.support.granted DATA_DIR GRANT...``
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from sluice.warehouse.server import config
from tests.support import warehouse

OWN = ("GRANT CREATE DATABASE ON sluice.*", "GRANT TABLE ENGINE ON *")
"""What the engine itself needs to open; a server has the database, and lets all use its engines."""


@contextmanager
def granted_warehouse(data_dir: Path, grants: Sequence[str]) -> Iterator[str]:
    """Run a warehouse over ``data_dir`` and give its address with user and password.

    Raises:
        RuntimeError: It did not come up; the text is what it wrote.
    """
    process = subprocess.Popen(  # noqa: S603 - this very module
        [sys.executable, "-m", "tests.support.granted", str(data_dir), *grants],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        if not line.startswith("ready "):
            message = f"the warehouse did not start: {line}"
            raise RuntimeError(message)
        yield warehouse.service_url(data_dir)
    finally:
        warehouse.stop_warehouse(process)


if __name__ == "__main__":
    config.GRANTS = (*OWN, *sys.argv[2:])  # type: ignore[misc]  # not final for this test
    uvloop.run(warehouse.main(Path(sys.argv[1])))
