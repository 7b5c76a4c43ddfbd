"""Names of the files that steps leave: told by the step, the same at each attempt."""

import re
from hashlib import sha256
from typing import Final

_SAFE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,79}", re.ASCII).fullmatch
_EXTENSIONS: Final = {
    "application/gzip": "gz",
    "application/json": "json",
    "application/pdf": "pdf",
    "application/x-gzip": "gz",
    "application/x-ndjson": "ndjson",
    "application/xml": "xml",
    "application/zip": "zip",
    "text/csv": "csv",
    "text/plain": "txt",
    "text/xml": "xml",
}


def file_stem(root: str, workflow_id: str, step_id: str, visit: int) -> str:
    """Return the start of the name of a step's file, unlike that of any other visit of the run.

    Ids hold no dots, so ``step``, ``step.2`` and ``workflow.step.1`` never meet.
    """
    parts = [step_id] if visit == 1 else [step_id, str(visit)]
    if workflow_id != root:
        parts = [workflow_id, step_id, str(visit)]
    stem = ".".join(parts)
    return stem if _SAFE(stem) else f"step-{sha256(stem.encode()).hexdigest()[:24]}"


def extension_of(media_type: str) -> str:
    """Return how the name of a file of a type ends; ``bin`` where it is none of the usual."""
    plain = media_type.partition(";")[0].strip().lower()
    return "json" if plain.endswith("+json") else _EXTENSIONS.get(plain, "bin")
