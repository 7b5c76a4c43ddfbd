"""What a configuration runs, from files that come, change and go."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from sluice.core.workflows import DEFAULTS, WorkflowConfig
from sluice.workflows import catalogue
from sluice.workflows.catalogue import Catalogue, Entry
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.loading import Opened, open_document
from tests.unit.worker.workflows.arazzo import SHOP, one_workflow

STEPS = "  - {stepId: a, operationId: listCarts}\n"
INPUTS = "  inputs: {type: object, required: [apiKey, day], properties: {apiKey: {}, day: {}}}\n"


def mine(**settings: Any) -> WorkflowConfig:
    values = {"config_id": "cg-mine", "type": "arazzo.w", "name": "Mine", "document": "a.yaml"}
    return WorkflowConfig(**{**values, **settings})


class Disk:
    """Reads documents and counts them; one may be held up."""

    def __init__(self) -> None:
        self.reads = 0
        self.most_at_once = 0
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, file: Path, **options: Any) -> Opened | tuple[Refusal, ...]:
        with self._lock:
            self.reads += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            found = open_document(file, **options)
            self.has_begun.set()
            assert self.may_go_on.wait(10)
            return found
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tenant = tmp_path / "shop"
    tenant.mkdir()
    return tenant


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def known(tmp_path: Path, disk: Disk) -> Catalogue:
    return Catalogue(tmp_path, read=disk)


def write(folder: Path, *, steps: str = STEPS, inputs: str = "") -> None:
    text = one_workflow(steps).decode()
    (folder / "a.yaml").write_text(text.replace("  steps:\n", f"{inputs}  steps:\n"))


async def entry(known: Catalogue, **settings: Any) -> Entry:
    return await known.entry("shop", mine(**settings))


@pytest.mark.parametrize("config_id", DEFAULTS)
async def test_every_default_can_be_run(known: Catalogue, config_id: str) -> None:
    found = await known.entry("shop", DEFAULTS[config_id])
    assert found.problem == ""
    assert found.schema is not None
    assert DEFAULTS[config_id].secrets.keys() == found.schema.secrets
    assert (found.opened is not None) == (DEFAULTS[config_id].shipped is not None)


async def test_shipped_document_is_read_once_for_all_tenants(known: Catalogue, disk: Disk) -> None:
    first = await known.entry("shop", DEFAULTS["og-cohort"])
    second = await known.entry("other", DEFAULTS["og-cohort"])
    assert first.opened is second.opened
    assert first.digest == second.digest
    assert disk.reads == 1


async def test_document_is_kept_while_its_files_stay(
    known: Catalogue, disk: Disk, folder: Path
) -> None:
    write(folder)
    (folder / "shop.yaml").write_bytes(SHOP)
    first = await entry(known)
    assert first.problem == ""
    assert await entry(known) is first
    assert disk.reads == 1


async def test_document_is_read_again_when_the_missing_file_appears(
    known: Catalogue, folder: Path
) -> None:
    first = await entry(known)
    assert first.problem == "The document a.yaml cannot be read: No such file or directory."
    assert first.schema is None
    write(folder)
    assert (await entry(known)).problem == ""


async def test_document_is_read_again_when_its_folder_appears(tmp_path: Path, disk: Disk) -> None:
    known = Catalogue(tmp_path / "later", read=disk)
    assert "cannot be read" in (await entry(known)).problem
    (tmp_path / "later" / "shop").mkdir(parents=True)
    write(tmp_path / "later" / "shop")
    assert (await entry(known)).problem == ""


async def test_document_is_read_again_when_a_missing_source_appears(
    known: Catalogue, folder: Path
) -> None:
    write(folder)
    first = await entry(known)
    assert first.opened is not None
    assert "cannot be read" in str(first.opened.sources["shop"])
    (folder / "shop.yaml").write_bytes(SHOP)
    second = await entry(known)
    assert second.opened is not None
    assert second.opened.sources["shop"] == SHOP
    assert second.digest != first.digest


async def test_document_is_read_again_when_a_source_changes_but_keeps_its_time_and_size(
    known: Catalogue, folder: Path
) -> None:
    write(folder)
    source = folder / "shop.yaml"
    source.write_bytes(SHOP)
    first = await entry(known)
    times = source.stat()
    source.write_bytes(SHOP.replace(b"Shop", b"Show"))
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (await entry(known)).digest != first.digest


async def test_document_is_read_again_when_a_link_leads_elsewhere(
    known: Catalogue, folder: Path
) -> None:
    write(folder)
    for name in ("one.yaml", "two.yaml"):
        (folder / name).write_bytes(SHOP + f"# {name}\n".encode())
    link = folder / "shop.yaml"
    link.symlink_to("one.yaml")
    first = await entry(known)
    (folder / "new").symlink_to("two.yaml")
    (folder / "new").rename(link)
    assert (await entry(known)).digest != first.digest


async def test_document_is_read_again_when_it_changed_while_it_was_read(
    known: Catalogue, disk: Disk, folder: Path
) -> None:
    write(folder)
    disk.may_go_on.clear()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(entry(known))
        assert await asyncio.to_thread(disk.has_begun.wait, 10)
        # The old text was read; the file is another before the reader is done.
        await asyncio.to_thread(write, folder, inputs=INPUTS)
        disk.may_go_on.set()
    reading.result()
    after = await entry(known)
    assert after.schema is not None
    assert "day" in after.schema.names


async def test_one_document_is_read_once_when_many_ask_at_the_same_time(
    known: Catalogue, disk: Disk, folder: Path
) -> None:
    write(folder)
    disk.may_go_on.clear()
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(entry(known)) for _ in range(20)]
        assert await asyncio.to_thread(disk.has_begun.wait, 10)
        disk.may_go_on.set()
    assert len({id(one.result().opened) for one in asked}) == 1
    assert disk.reads == 1


async def test_few_documents_are_read_at_a_time(known: Catalogue, disk: Disk, folder: Path) -> None:
    write(folder)
    for number in range(8):
        (folder / f"{number}.yaml").write_bytes((folder / "a.yaml").read_bytes())
    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(entry(known, config_id=f"cg-n{number}", document=f"{number}.yaml"))
    assert disk.reads == 8
    assert disk.most_at_once <= catalogue.MAX_READS


async def test_waiting_asker_reads_when_the_one_before_went_away(
    known: Catalogue, disk: Disk, folder: Path
) -> None:
    write(folder)
    disk.may_go_on.clear()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(entry(known))
        assert await asyncio.to_thread(disk.has_begun.wait, 10)
        second = tasks.create_task(entry(known))
        await asyncio.sleep(0)
        first.cancel()
        disk.may_go_on.set()
    assert first.cancelled()
    assert second.result().problem == ""


async def test_what_was_dropped_for_room_is_read_again(
    known: Catalogue, disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MAX_DOCUMENTS", 1)
    write(folder)
    (folder / "b.yaml").write_bytes((folder / "a.yaml").read_bytes())
    first = await entry(known)
    await entry(known, config_id="cg-other", document="b.yaml")
    assert (await entry(known)).digest == first.digest
    assert disk.reads == 3


async def test_settings_that_make_a_version_change_the_digest_and_others_do_not(
    known: Catalogue, folder: Path
) -> None:
    write(folder)
    first = await entry(known)
    renamed = await entry(known, name="Other", schedule="@daily")
    assert renamed.config.name == "Other"
    assert renamed.digest == first.digest
    assert (await entry(known, inputs={"day": "x"})).digest != first.digest


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"type": "arazzo.x"}, "The document a.yaml has no workflow x: it has w."),
        (
            {"inputs": {"apiKey": "k-not-shown"}},
            "The input apiKey is secret: it stands under secrets, as a reference.",
        ),
        (
            {"secrets": {"day": "env:DAY"}},
            "w has no secret input day: what is not secret stands under inputs.",
        ),
    ],
)
async def test_configuration_has_a_problem_when_it_does_not_go_with_its_document(
    known: Catalogue, folder: Path, settings: dict[str, Any], problem: str
) -> None:
    write(folder, inputs=INPUTS)
    found = await entry(known, **settings)
    assert (found.problem, found.schema) == (problem, None)


async def test_refused_document_is_named_with_its_first_line(
    known: Catalogue, folder: Path
) -> None:
    (folder / "a.yaml").write_text("arazzo: 1.0.1\ninfo: 3\n")
    found = await entry(known)
    assert found.problem.startswith("The document a.yaml is refused: line 1, ")
    write(folder, inputs="  inputs: {type: 7}\n")
    assert "The inputs of w in a.yaml: the schema " in (await entry(known)).problem
