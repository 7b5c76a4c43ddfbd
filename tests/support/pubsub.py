"""Google's Pub/Sub emulator for tests: ``loadtest.emulator`` runs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.emulator import MISSING, find_jar
from loadtest.emulator import running_emulator as _running

__all__ = ["MISSING", "find_jar", "running_emulator"]


@contextmanager
def running_emulator(jar: Path) -> Iterator[str]:
    """Run the emulator until the block ends; the value is for ``PUBSUB_EMULATOR_HOST``."""
    with _running(jar) as emulator:
        yield emulator.host
