"""schemathesis against /openapi.json: whatever it makes up gets a declared answer, never a 5xx.

It is driven by hand, because its pytest plugin (4.32) does not work with pytest 9.
"""

import time
from contextlib import suppress
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.credentials import TokenMaker
from tests.support.segops import Segops

Operation = APIOperation[Any, Any, Any, Any]

EXAMPLES: Final = settings.default.max_examples // 5 if settings.default else 8
"""Requests for each operation and way of generating: ``make fuzz`` makes more."""
FEW_EXAMPLES: Final = max(2, EXAMPLES // 4)
"""The same for the many paths that other systems' clients call and that are alike."""
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


def fuzz(
    operation: Operation, mode: GenerationMode, headers: dict[str, str], *, examples: int
) -> int:
    """Send what schemathesis makes of one operation; return how many requests it was.

    It cannot make invalid requests for an operation that has nothing to be invalid.
    """
    sent = 0

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case[Any]) -> None:
        nonlocal sent
        answer = case.call(headers=headers, timeout=10)
        case.validate_response(answer, checks=CHECKS)
        sent += 1

    with suppress(Unsatisfiable):
        send()
    return sent


def _is_stream(operation: Operation) -> bool:
    answer = operation.definition.raw["responses"].get("200", {})
    return "text/event-stream" in answer.get("content", {})


@pytest.mark.long(40)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_declared_when_schemathesis_asks(
    client: Segops, sign: TokenMaker, mode: GenerationMode
) -> None:
    runs_token = sign({"tenant": client.slug, "scope": "read runs", "exp": time.time() + 3_600})
    schema = schemathesis.openapi.from_url(f"{client.url}/openapi.json")
    labels = set()
    sent = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation: Operation = found.ok()
        labels.add(operation.label)
        is_ingest = operation.method == "post" and "/workflow/" not in operation.path
        credential = f"ApiKey {client.api_key}" if is_ingest else f"Bearer {runs_token}"
        if _is_stream(operation):
            # With a token it goes on for minutes: tests/integration/test_tail.py reads it.
            sent += fuzz(operation, mode, {}, examples=EXAMPLES)
            continue
        examples = EXAMPLES if operation.path.startswith("/api/") else FEW_EXAMPLES
        sent += fuzz(operation, mode, {"Authorization": credential}, examples=examples)
        sent += fuzz(operation, mode, {}, examples=2)
    assert sent > 20
    assert {"POST /api/ingestion/track", "GET /api/ingestion/stats", "POST /api/workflow/runs"} <= {
        label.rstrip("/") for label in labels
    }
