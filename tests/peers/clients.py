"""The real client libraries, each run by its own interpreter as a program of its users would."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sluice.core.event import derive_event_id
from tests.support.segops import Row

FOLDER: Final = Path(__file__).parent
PYTHON: Final = FOLDER.parents[1] / ".venv" / "peers" / "bin" / "python"
MAX_RUN_S: Final = 110


@dataclass(frozen=True, slots=True)
class Peer:
    """One library and the script that uses it."""

    name: str
    script: str
    source: str
    """The source whose dialect it speaks."""

    @property
    def command(self) -> Sequence[str]:
        """What runs the script."""
        if self.script.endswith(".py"):
            return [str(PYTHON), str(FOLDER / self.script)]
        return [shutil.which("node") or "node", str(FOLDER / self.script)]

    @property
    def is_installed(self) -> bool:
        """Whether ``make test`` has set it up here."""
        if self.script.endswith(".py"):
            return PYTHON.exists()
        return shutil.which("node") is not None and (FOLDER / "node_modules").exists()


PEERS: Final = (
    Peer("segment-analytics-python", "segment_python.py", "segment"),
    Peer("@segment/analytics-node", "segment_node.mjs", "segment"),
    Peer("amplitude-analytics", "amplitude_python.py", "amplitude_http"),
    Peer("@amplitude/analytics-node", "amplitude_node.mjs", "amplitude_http"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a library says of the events that it was given."""

    ids: frozenset[str]
    """Its own ids of the events that it holds for sent."""
    failed: Counter[str]
    """How many it gave up, by code."""


def library_ids(peer: Peer, report: Report, slug: str, rows: Sequence[Row]) -> Mapping[str, str]:
    """Return the library's own id by the ``event_id`` that it becomes (docs/migrate.md)."""
    scopes = {_scope(peer, row) for row in rows}
    return {derive_event_id(slug, f"{scope}\n{one}"): one for scope in scopes for one in report.ids}


def _scope(peer: Peer, row: Row) -> str:
    if peer.source == "segment":
        return peer.source
    device = row.anonymous_id
    return f"{peer.source}\n" + (f"device:{device}" if device else f"user:{row.user_id}")


async def send(peer: Peer, url: str, key: str, count: int) -> Report:
    """Have a library send ``count`` events and end; return what it reports."""
    process = await asyncio.create_subprocess_exec(
        *peer.command,
        url,
        key,
        str(count),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(MAX_RUN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-3000:]
    ids: set[str] = set()
    failed: Counter[str] = Counter()
    for line in out.decode().splitlines():
        word, *rest = line.split(" ")
        if word == "id":
            ids.add(rest[0])
        elif word == "failed":
            failed[rest[0]] += int(rest[1])
    return Report(frozenset(ids), failed)
