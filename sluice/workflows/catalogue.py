"""What a configuration runs, read once and kept while its files stay as they are.

Both sides ask: the edge for the schema of the inputs and the version, the worker for the document.
Reading YAML takes up to seconds, so it is done in a thread.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from sluice.core.workflows import ARAZZO, TYPES, WorkflowConfig, version_settings
from sluice.workflows.core.document import digest_of
from sluice.workflows.core.inputs import InputSchema, read_schema
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.loading import SHIPPED, Opened, open_document

MAX_ENTRIES: Final = 1_000
_Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A configuration with what it runs."""

    config: WorkflowConfig
    workflow_id: str
    schema: InputSchema | None
    """None where there is a problem."""
    digest: str
    """SHA-256 in hex over settings, document and sources."""
    opened: Opened | None = field(default=None, repr=False)
    """Of an Arazzo document."""
    problem: str = ""
    """Why nothing can be run, in a sentence that names the file; empty if it can."""


class Catalogue:
    """The configurations of all tenants, read when first asked for.

    Args:
        folder: Of the tenants' own documents, one folder for each tenant.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[tuple[str, str], tuple[WorkflowConfig, _Stamp, Entry]] = (
            OrderedDict()
        )

    async def entry(self, tenant: str, config: WorkflowConfig) -> Entry:
        """Return what a configuration runs; never raises for what is wrong with its files."""
        key = (tenant, config.config_id)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == config:
            self._kept.move_to_end(key)
            if not kept[1] or kept[1] == await asyncio.to_thread(_stamp_again, kept[1]):
                return kept[2]
        stamp, entry = await asyncio.to_thread(self._read, tenant, config)
        self._kept[key] = (config, stamp, entry)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_ENTRIES:
            self._kept.popitem(last=False)
        return entry

    def _read(self, tenant: str, config: WorkflowConfig) -> tuple[_Stamp, Entry]:
        known = TYPES.get(config.type)
        if known is not None and known.document is None:
            schema = read_schema(dict(known.inputs or {}), {})
            if isinstance(schema, str):
                return (), _broken(config, f"The inputs of {config.type} are no schema: {schema}.")
            return (), Entry(
                config=config, workflow_id=config.type, schema=schema, digest=_digest(config, "")
            )
        folder = SHIPPED if known is not None else self._folder / tenant
        name = known.document if known is not None else config.document
        file = folder / (name or "")
        stamp = _stamp_of([file, *_files_below(folder)])
        return stamp, _entry_of(config, file, folder)


def _entry_of(config: WorkflowConfig, file: Path, folder: Path) -> Entry:
    try:
        opened = open_document(file, root=folder)
    except OSError as error:
        return _broken(config, f"The document {file.name} cannot be read: {error.strerror}.")
    if isinstance(opened, tuple):
        return _broken(config, f"The document {file.name} is refused: {_first(opened)}.")
    ids = [one.id for one in opened.document.workflows]
    wanted = config.type.removeprefix(ARAZZO) if config.type.startswith(ARAZZO) else ids[0]
    found = next((one for one in opened.document.workflows if one.id == wanted), None)
    if found is None:
        return _broken(config, f"The document {file.name} has no workflow {wanted}.")
    schema = read_schema(found.inputs, opened.document.schemas)
    if isinstance(schema, str):
        return _broken(config, f"The inputs of {wanted} in {file.name}: {schema}.")
    return Entry(
        config=config,
        workflow_id=wanted,
        schema=schema,
        digest=_digest(config, digest_of(opened.document, opened.sources)),
        opened=opened,
    )


def _broken(config: WorkflowConfig, problem: str) -> Entry:
    workflow_id = config.type.removeprefix(ARAZZO)
    return Entry(
        config=config,
        workflow_id=workflow_id,
        schema=None,
        digest=_digest(config, problem),
        problem=problem,
    )


def _digest(config: WorkflowConfig, content: str) -> str:
    settings = msgspec.json.encode(version_settings(config), order="sorted")
    return sha256(settings + content.encode()).hexdigest()


def _first(refusals: tuple[Refusal, ...]) -> str:
    one = min(refusals, key=lambda refusal: (refusal.line, refusal.column))
    return f"line {one.line}, {one.path or 'the document'} {one.reason}"


def _files_below(folder: Path) -> list[Path]:
    """Return the files whose change may change a document: those of its folder, two levels deep."""
    found = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(one for one in found if one.suffix in (".yaml", ".yml", ".json"))[:MAX_ENTRIES]


def _stamp_of(files: list[Path]) -> _Stamp:
    return _stamp_again(tuple((str(file), 0, 0) for file in files))


def _stamp_again(stamp: _Stamp) -> _Stamp:
    found = []
    for name, _, _ in stamp:
        try:
            status = Path(name).stat()
        except OSError:
            found.append((name, 0, 0))
        else:
            found.append((name, status.st_mtime_ns, status.st_size))
    return tuple(found)
