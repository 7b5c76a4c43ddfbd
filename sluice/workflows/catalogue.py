"""What a configuration runs, read once and kept while its files stay as they are.

Both sides ask: the edge for the schema of the inputs and the version, the worker for the document.

Invariants:

* A file is looked at before it is read, also one that is not there: whatever happens to it from
  then on, even while it is read, makes the next asker read it again.
* Reading YAML takes up to seconds and holds the interpreter, so it happens in a thread, once for
  all who ask for the same document, and of few documents at a time.
* What reads YAML and checks by JSON Schema is imported there as well, with the first document: an
  edge that nobody asks for a run starts without it.
* What is kept is bounded in number and in bytes of text; what was dropped is read again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import msgspec

from sluice.core.workflows import ARAZZO, TYPES, WorkflowConfig, version_settings
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.shipped import SHIPPED

if TYPE_CHECKING:
    from sluice.workflows.core.inputs import InputSchema
    from sluice.workflows.loading import Opened

MAX_ENTRIES: Final = 2_000
MAX_DOCUMENTS: Final = 200
MAX_BYTES: Final = 32 * 1024 * 1024
"""Text of all documents and sources that are kept."""
MAX_READS: Final = 2
"""Documents that are read at a time."""

_Status = tuple[int, int, int] | None
_Place = tuple[Path, Path]
"""A document and the folder that its sources must lie in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A configuration with what it runs."""

    config: WorkflowConfig
    workflow_id: str
    schema: "InputSchema | None"
    """None where there is a problem."""
    digest: str
    """SHA-256 in hex over settings, document and sources."""
    opened: "Opened | None" = field(default=None, repr=False)
    """Of an Arazzo document."""
    problem: str = ""
    """Why nothing can be run, in a sentence that names the file; empty if it can."""
    stray: str = ""
    """The setting that does not go with the workflow, such as ``secrets.apiKeyy``, if one is it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A document as it was read, with how its files were just before."""

    statuses: dict[PurePath, _Status]
    opened: "Opened | None"
    content: str
    """Digest of document and sources, or why there is none."""

    @property
    def size(self) -> int:
        return sum(status[2] for status in self.statuses.values() if status is not None)


class Catalogue:
    """The configurations of all tenants, read when first asked for.

    Args:
        folder: Of the tenants' own documents, one folder for each tenant.
        read: Reads a document instead of ``open_document``; for tests of what happens meanwhile.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read: "Callable[..., Opened | tuple[Refusal, ...]] | None" = None,
    ) -> None:
        self._folder = folder
        self._open = read
        self._entries: OrderedDict[tuple[str, str], tuple[_Read | None, Entry]] = OrderedDict()
        self._documents: OrderedDict[_Place, _Read] = OrderedDict()
        self._turns: WeakValueDictionary[_Place, asyncio.Lock] = WeakValueDictionary()
        self._room = asyncio.Semaphore(MAX_READS)

    async def entry(self, tenant: str, config: WorkflowConfig) -> Entry:
        """Return what a configuration runs; never raises for what is wrong with its files."""
        place = self._place(tenant, config)
        read = None if place is None else await self._document(place)
        key = (tenant, config.config_id)
        kept = self._entries.get(key)
        if kept is not None and kept[0] is read and kept[1].config == config:
            self._entries.move_to_end(key)
            return kept[1]
        if read is None:
            entry = await asyncio.to_thread(_built_in, config)
        else:
            entry = await asyncio.to_thread(_entry_of, config, read)
        self._entries[key] = (read, entry)
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return entry

    def _place(self, tenant: str, config: WorkflowConfig) -> _Place | None:
        known = TYPES.get(config.type)
        if known is None:
            folder = self._folder / tenant
            return folder / config.document, folder
        return None if known.document is None else (SHIPPED / known.document, SHIPPED)

    async def _document(self, place: _Place) -> _Read:
        turn = self._turns.setdefault(place, asyncio.Lock())
        async with turn:
            kept = self._documents.get(place)
            if kept is None or not await asyncio.to_thread(_is_as_it_was, kept.statuses):
                async with self._room:
                    kept = await asyncio.to_thread(self._read, place)
                self._documents[place] = kept
            self._documents.move_to_end(place)
            self._drop_old()
            return kept

    def _drop_old(self) -> None:
        size = sum(one.size for one in self._documents.values())
        while len(self._documents) > 1 and (
            len(self._documents) > MAX_DOCUMENTS or size > MAX_BYTES
        ):
            _, dropped = self._documents.popitem(last=False)
            size -= dropped.size
            self._entries = OrderedDict(
                (key, kept) for key, kept in self._entries.items() if kept[0] is not dropped
            )

    def _read(self, place: _Place) -> _Read:
        from sluice.workflows.core.document import digest_of
        from sluice.workflows.loading import open_document

        read = open_document if self._open is None else self._open
        file, folder = place
        statuses: dict[PurePath, _Status] = {}

        def look(path: PurePath) -> None:
            statuses[path] = _status_of(path)

        name = file.relative_to(folder)
        try:
            opened = read(file, root=folder, before_read=look)
        except OSError as error:
            reason = error.strerror or "no such file"
            return _Read(statuses, None, f"The document {name} cannot be read: {reason}.")
        if isinstance(opened, tuple):
            return _Read(statuses, None, f"The document {name} is refused: {_first(opened)}.")
        return _Read(statuses, opened, digest_of(opened.document, opened.sources))


def _built_in(config: WorkflowConfig) -> Entry:
    from sluice.workflows.core.inputs import read_schema

    schema = read_schema(dict(TYPES[config.type].inputs or {}), {})
    if isinstance(schema, str):
        return _broken(config, f"The inputs of {config.type} are no schema: {schema}.")
    return _whole(config, config.type, schema, "", None)


def _entry_of(config: WorkflowConfig, read: _Read) -> Entry:
    from sluice.workflows.core.inputs import read_schema

    opened = read.opened
    if opened is None:
        return _broken(config, read.content)
    workflows = opened.document.workflows
    own_type = config.type.startswith(ARAZZO)
    wanted = config.type.removeprefix(ARAZZO) if own_type else workflows[0].id
    found = next((one for one in workflows if one.id == wanted), None)
    name = config.document or config.shipped
    if found is None:
        known = ", ".join(one.id for one in workflows)
        return _broken(config, f"The document {name} has no workflow {wanted}: it has {known}.")
    schema = read_schema(found.inputs, opened.document.schemas)
    if isinstance(schema, str):
        return _broken(config, f"The inputs of {wanted} in {name}: the schema {schema}.")
    return _whole(config, wanted, schema, read.content, opened)


def _whole(
    config: WorkflowConfig,
    workflow_id: str,
    schema: "InputSchema",
    content: str,
    opened: "Opened | None",
) -> Entry:
    """Return an entry unless secrets and inputs of the settings stand in each other's place."""
    for name in sorted(config.inputs.keys() & schema.secrets):
        problem = f"The input {name} is secret: it stands under secrets, as a reference."
        return _broken(config, problem, stray=f"inputs.{name}")
    for name in schema.named_as_secret(config.inputs):
        problem = f"{workflow_id} has no input {name}, which is named as a secret."
        return _broken(config, problem, stray=f"inputs.{name}")
    for name in sorted(config.secrets.keys() - schema.secrets):
        what = f"{workflow_id} has no secret input {name}"
        problem = f"{what}: what is not secret stands under inputs."
        return _broken(config, problem, stray=f"secrets.{name}")
    return Entry(
        config=config,
        workflow_id=workflow_id,
        schema=schema,
        digest=_digest(config, content),
        opened=opened,
    )


def _broken(config: WorkflowConfig, problem: str, *, stray: str = "") -> Entry:
    return Entry(
        config=config,
        workflow_id=config.type.removeprefix(ARAZZO),
        schema=None,
        digest=_digest(config, problem),
        problem=problem,
        stray=stray,
    )


def _digest(config: WorkflowConfig, content: str) -> str:
    settings = msgspec.json.encode(version_settings(config), order="sorted")
    return sha256(settings + content.encode()).hexdigest()


def _first(refusals: tuple[Refusal, ...]) -> str:
    one = min(refusals, key=lambda refusal: (refusal.line, refusal.column))
    return f"line {one.line}, {one.path or 'the document'} {one.reason}"


def _is_as_it_was(statuses: dict[PurePath, _Status]) -> bool:
    return all(_status_of(path) == status for path, status in statuses.items())


def _status_of(path: PurePath) -> _Status:
    """Return what changes whenever the file does: ``ctime`` cannot be set back."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # a name with a character that no file may have
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size
