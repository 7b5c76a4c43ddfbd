"""Files of runs over HTTP: whole or in parts, for their own tenant, never through memory."""

import asyncio
import os
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from sluice.workflows.core.runs import Run
from sluice.workflows.files import RunFiles
from tests.support.gateway import Gateway
from tests.support.raw_http import connect, request_bytes
from tests.support.runs import RUNS, Runs, a_run, bearer_of
from tests.support.segops import Answer

MIB = 1024 * 1024
CONTENT = os.urandom(3 * MIB + 17)


async def a_run_with(runs: Runs, content: bytes, name: str = "members.csv") -> Run:
    """Put a run into the warehouse, and a file that its outputs name into its folder."""
    described = {
        "$file": name,
        "bytes": len(content),
        "media_type": "text/csv",
        "sha256": sha256(content).hexdigest(),
    }
    run = a_run(runs.slug, outputs=orjson.dumps({"cohortFile": described}).decode())
    files = RunFiles(runs.gateway.settings.run_files_path, max_bytes=1024 * MIB)
    async with files.writing(runs.slug, run.run_id, name) as file:
        await file.write(content)
    await runs.insert(run)
    return run


async def get(runs: Runs, path: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
    """Ask for a file as ``Runs.ask``, whose manners are those of JSON."""
    return await runs.fetch(method, f"{RUNS}/{path}", *headers)


async def test_tenant_gets_the_file_whole_with_its_digest(runs: Runs) -> None:
    run = await a_run_with(runs, CONTENT)
    path = f"{run.run_id}/files/members.csv"
    answer = await get(runs, path)
    assert (answer.status, answer.body) == (200, CONTENT)
    digest = sha256(CONTENT)
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Content-Type"] == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="members.csv"'
    assert answer.headers["ETag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["Digest"] == f"sha-256={b64encode(digest.digest()).decode()}"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    head = await get(runs, path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(CONTENT))
    assert (await get(runs, f"{path}/")).body == CONTENT


async def test_part_of_the_file_is_sent_when_a_range_is_asked_for(runs: Runs) -> None:
    run = await a_run_with(runs, CONTENT)
    path = f"{run.run_id}/files/members.csv"
    size = len(CONTENT)
    etag = f'"{sha256(CONTENT).hexdigest()}"'
    for header, start, end in (
        ("bytes=10-19", 10, 20),
        (f"bytes={MIB}-", MIB, size),
        ("bytes=-5", size - 5, size),
    ):
        answer = await get(runs, path, ("Range", header), ("If-Range", etag))
        assert (answer.status, answer.body) == (206, CONTENT[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    whole = await get(runs, path, ("Range", "bytes=10-19"), ("If-Range", '"old"'))
    assert (whole.status, whole.body) == (200, CONTENT)
    behind = await get(runs, path, ("Range", f"bytes={size}-"))
    assert (behind.status, behind.error_type) == (416, "range_unsatisfiable")
    assert behind.headers["Content-Range"] == f"bytes */{size}"


async def test_foreign_and_missing_files_are_404(runs: Runs, tmp_path: Path) -> None:
    run = await a_run_with(runs, b"x")
    (tmp_path / "files" / "secret").write_text("s")
    for path in (
        f"{run.run_id}/files/other.csv",
        f"{run.run_id}/files/..%2f..%2fsecret",
        f"{run.run_id}/files/members.csv.part",
        f"{run.run_id}/files/%2e%2e",
    ):
        answer = await runs.ask("GET", f"{RUNS}/{path}")
        assert (answer.status, answer.error_type) == (404, "run_file_unknown"), path
    foreign = bearer_of(runs.gateway.settings, "acme", "read")
    path = f"{RUNS}/{run.run_id}/files/members.csv"
    answer = await runs.ask("GET", path, bearer=foreign)
    assert (answer.status, answer.error_type) == (404, "run_unknown")
    assert (await runs.ask("GET", path, bearer=("", ""))).status == 401


async def test_connection_ends_when_the_file_is_shorter_than_it_was(runs: Runs) -> None:
    size = 64 * MIB  # more than the kernel holds for both sides
    run = await a_run_with(runs, CONTENT)
    path = runs.gateway.settings.run_files_path / runs.slug / run.run_id / "members.csv"
    await asyncio.to_thread(os.truncate, path, size)
    target = f"{RUNS}/{run.run_id}/files/members.csv"
    request = request_bytes(target, method="GET", headers=(runs.bearer(),))
    async with connect(runs.gateway.url) as (reader, writer):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d\r" % size in head
        await asyncio.to_thread(os.truncate, path, MIB)
        received = 0
        while piece := await reader.read(MIB):
            received += len(piece)
    assert received < size
    assert (await runs.get()).status == 200


async def test_large_file_goes_through_in_pieces_while_others_are_answered(runs: Runs) -> None:
    size = 200 * MIB
    run = await a_run_with(runs, b"x" * MIB)
    path = runs.gateway.settings.run_files_path / runs.slug / run.run_id / "members.csv"
    await asyncio.to_thread(os.truncate, path, size)
    before = resident_bytes()
    async with asyncio.TaskGroup() as tasks:
        download = tasks.create_task(length_of(runs.gateway, run, runs.bearer()))
        listed = await runs.listed()
    assert listed == [run.run_id]
    assert download.result() == size
    assert resident_bytes() - before < 40 * MIB


async def length_of(gateway: Gateway, run: Run, bearer: tuple[str, str]) -> int:
    """Read a file to its end, forget it, and return its size."""
    target = f"{RUNS}/{run.run_id}/files/members.csv"
    request = request_bytes(target, method="GET", headers=(bearer, ("Connection", "close")))
    async with connect(gateway.url) as (reader, writer):
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        length = 0
        while piece := await reader.read(MIB):
            length += len(piece)
    return length


def resident_bytes() -> int:
    """Return the memory that this process, gateway included, has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_writer_that_paused_changes_nothing_of_the_file_of_its_successor(
    tmp_path: Path,
) -> None:
    files = RunFiles(tmp_path, max_bytes=MIB)
    run = a_run("acme")
    path = files.path("acme", run.run_id, "a.csv")
    assert path is not None
    paused = files.writing("acme", run.run_id, "a.csv")
    file = await paused.__aenter__()
    await file.write(b"old ")
    async with files.writing("acme", run.run_id, "a.csv") as successor:
        await file.write(b"stale and much longer")
        await successor.write(b"new")
    await file.write(b"late")
    with pytest.raises(FileNotFoundError):
        await paused.__aexit__(None, None, None)
    assert path.read_bytes() == b"new"
    assert [one.name for one in path.parent.iterdir()] == ["a.csv"]
