"""What the API description says of one method of one path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.operation_errors import ALWAYS
from gateway.routes.ingest import MAX_BODY_BYTES
from gateway.schemas import Schema
from sluice.core.errors import ErrorType


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    name: str
    summary: str
    description: str = ""
    security: Sequence[str] = ()
    parameters: Sequence[Schema] = ()
    body: Schema | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    answers: Mapping[int, Schema]
    """What is answered when nothing is refused, by status."""
    errors: Sequence[ErrorType] = ALWAYS
    refusal: str = "Error"
    """Name of the schema of its refusals."""
