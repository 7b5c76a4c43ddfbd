"""``python -m tests.conformance.given_documents --shared DIR``: the given documents, unchanged.

They are not part of the project. This runs them, and our own of the same names, with ``sluice
workflow run --file`` against a simulator of Amplitude that is a process of its own, in both of its
dialects, and compares what comes out with what the simulator holds. Every line is a check; the
status is 1 if one fails.
"""

import argparse
import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp
import orjson

from sluice.workflows.shipped import SHIPPED
from tests.support.amplitude import AmplitudeProject, running_simulator
from tests.support.workflows import cohort_file

INGEST: Final = "ingest-and-segment"
EXPORT: Final = "export-cohort-members"
SMALL: Final = 3
LARGE: Final = 100_000
EVENT_TYPE: Final = 'say "hi" & $inputs.apiKey'
"""Neither breaks out of the query nor is filled in again."""


@dataclass(kw_only=True)
class Checks:
    """What was shown."""

    failed: int = 0
    held: int = 0

    def check(self, what: str, *, holds: bool, said: object = "") -> None:
        """Print one line."""
        self.held += holds
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'} {what}{'' if holds else f': {said}'}", flush=True)  # noqa: T201 - a report


@dataclass(frozen=True, kw_only=True)
class Given:
    """One document in one dialect."""

    origin: str
    file: Path
    root: Path
    dialect: str
    project: AmplitudeProject
    checks: Checks
    folder: Path
    before: bytes = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.origin}/{self.file.name.partition('.')[0]}, {self.dialect} dialect"

    async def run(self, *words: str) -> Mapping[str, Any]:
        """Run it as a person does; return what the command printed."""
        basic = b64encode(f"{self.project.api_key}:secret".encode()).decode()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sluice.cli", "workflow", "run", "--json", "--file"),
            *(str(self.file), "--root", str(self.root), "--amplitude-url", self.project.url),
            *("--secret", "basicAuth=env:BASIC", "--out", str(self.folder), *words),
            env={**os.environ, "BASIC": basic, "KEY": self.project.api_key},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        shown = stdout.decode() + stderr.decode()
        is_hidden = basic not in shown and self.project.api_key not in shown
        self.checks.check(f"{self.name}: no secret is printed", holds=is_hidden)
        self.checks.check(
            f"{self.name}: succeeded", holds=process.returncode == 0, said=shown[-500:]
        )
        return orjson.loads(stdout) if process.returncode == 0 else {}


async def ingest(given: Given) -> None:
    """One event goes in, and the segmentation counts it."""
    today = datetime.now(UTC)
    days = [f"{today + timedelta(days):%Y%m%d}" for days in (-1, 1)]
    ran: Mapping[str, Any] = {}
    for user in ("person-1", "person-2"):
        ran = await given.run(
            *("--secret", "apiKey=env:KEY", "--input", f"userId={user}"),
            *("--input", f"eventType={EVENT_TYPE}", "--input", 'eventProperties={"path":"/"}'),
            *("--input", f"start={days[0]}", "--input", f"end={days[1]}"),
        )
    taken = await given.project.taken()
    kinds = {(event["user_id"], event["event_type"]) for event in taken}
    expected = {("person-1", EVENT_TYPE), ("person-2", EVENT_TYPE)}
    given.checks.check(
        f"{given.name}: the simulator holds both events", holds=kinds == expected, said=kinds
    )
    outputs = ran.get("outputs") or {}
    series = outputs.get("series") or [[]]
    given.checks.check(
        f"{given.name}: eventsIngested is 1, and the series counts the events held",
        holds=outputs.get("eventsIngested") == 1 and sum(series[0]) == len(taken) == 2,
        said=outputs,
    )


async def export(given: Given) -> None:
    """A small and a large cohort come out byte by byte, the large one by a link."""
    for count in (SMALL, LARGE):
        users = [f"person-{number}" for number in range(count)]
        cohorts = [{"id": "a/b c", "user_ids": users, "polls": 2}]
        await given.project.set(cohorts=cohorts, dialect=given.dialect)
        held, storage = await cohort_file(given.project, "a%2Fb%20c")
        words = ["--input", "cohortId=a/b c", "--allow-host", storage.place]
        ran = await given.run(*words)
        outputs = ran.get("outputs") or {}
        found = outputs.get("cohortFile")
        size = f"{len(held):,} bytes"
        polls = [one for one in ran.get("steps", ()) if one["step_id"] == "pollStatus"]
        statuses = {one["status"] for one in polls[:-1]}
        given.checks.check(
            f"{given.name}: finalStatus is complete, after {len(polls)} polls ({statuses})",
            holds=outputs.get("finalStatus") == "complete"
            and len(polls) == 3
            and statuses == ({202} if given.dialect == "real" else {200}),
            said=outputs,
        )
        if count == SMALL:
            is_equal = isinstance(found, str) and found.encode() == held
            given.checks.check(f"{given.name}: the file of {size} is equal", holds=is_equal)
            continue
        file = given.folder / "downloadExport.csv"
        is_equal = file.exists() and file.read_bytes() == held
        is_named = isinstance(found, dict) and found["sha256"] == sha256(held).hexdigest()
        given.checks.check(
            f"{given.name}: the file of {size}, fetched by a link, is equal",
            holds=is_equal and is_named and storage.url != given.project.url,
            said=found,
        )


def documents(shared: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield whose each document is, its file and its root."""
    for name in (INGEST, EXPORT):
        reference = shared / "reference"
        yield "given", reference / "workflows" / f"{name}.arazzo.yaml", reference
        yield "ours", SHIPPED / f"{name}.arazzo.yaml", SHIPPED


async def run(shared: Path, url: str, session: aiohttp.ClientSession) -> Checks:
    """Run everything."""
    checks = Checks()
    for dialect in ("given", "real"):
        for origin, file, root in documents(shared):
            project = AmplitudeProject(url, session, f"key-{origin}-{dialect}-{file.stem}")
            await project.set(dialect=dialect)
            with TemporaryDirectory() as folder:
                given = Given(
                    origin=origin,
                    file=file,
                    root=root,
                    dialect=dialect,
                    project=project,
                    checks=checks,
                    folder=Path(folder),
                    before=file.read_bytes(),
                )
                await (ingest if INGEST in file.name else export)(given)
            is_same = file.read_bytes() == given.before
            checks.check(f"{given.name}: the document is as it was", holds=is_same)
    return checks


async def main(shared: Path) -> int:
    """Start the simulator and run everything; return the exit status."""
    with running_simulator() as url:
        async with aiohttp.ClientSession() as session:
            checks = await run(shared, url, session)
    print(f"{checks.held} checks hold, {checks.failed} fail")  # noqa: T201 - a report
    return 1 if checks.failed else 0


def arguments(words: Sequence[str] | None = None) -> Path:
    """Return the folder that was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shared",
        type=Path,
        required=True,
        help="holds reference/workflows and reference/openapi",
    )
    given: Path = parser.parse_args(words).shared
    return given


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
