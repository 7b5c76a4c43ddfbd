"""schemathesis against /openapi.json: whatever it makes up gets a declared answer, never a 5xx.

It is driven by hand, because its pytest plugin (4.32) does not work with pytest 9.
"""

from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.segops import Segops

Operation = APIOperation[Any, Any, Any, Any]

EXAMPLES: Final = 25
"""Requests for each operation, way of generating, and credential."""
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


def fuzz(operation: Operation, mode: GenerationMode, headers: dict[str, str]) -> int:
    """Send what schemathesis makes of one operation; return how many requests it was."""
    sent = 0

    @settings(
        max_examples=EXAMPLES,
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

    send()
    return sent


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_declared_when_schemathesis_asks(api: Segops, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    labels = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation: Operation = found.ok()
        labels.add(operation.label)
        credential = (
            f"ApiKey {api.api_key}" if operation.method == "post" else f"Bearer {api.read_token}"
        )
        for headers in ({"Authorization": credential}, {}):
            assert fuzz(operation, mode, headers) > 0
    assert {"POST /api/ingestion/track", "GET /api/ingestion/stats"} <= {
        label.rstrip("/") for label in labels
    }
