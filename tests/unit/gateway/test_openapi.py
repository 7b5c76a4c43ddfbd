"""The API description says what the code does."""

import re
from typing import Any

import pytest

from gateway import sources
from gateway.core.source import Refused
from gateway.openapi import document
from gateway.operation import Operation
from gateway.operation_errors import NOT_QUEUED, SKIPPING
from gateway.operations import OPERATIONS
from gateway.source_answers import ANY_ROUTE
from sluice.core.errors import ERRORS, ErrorType, Rejected

DOCUMENT = document(version="1.2.3")
NEVER_DECLARED = {
    ErrorType.METHOD_NOT_ALLOWED,  # not of a method that is served
}


def refs(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [ref for value in node.values() for ref in refs(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in refs(value)]
    return []


def test_every_reference_resolves() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for ref in refs(DOCUMENT):
        assert ref.removeprefix("#/components/schemas/") in schemas


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_operation_declares_the_status_of_each_of_its_errors(operation: Operation) -> None:
    described = DOCUMENT["paths"][operation.path][operation.method]["responses"]
    for error_type in operation.errors:
        response = described[str(ERRORS[error_type].status)]
        assert error_type in response["headers"]["X-Error-Type"]["schema"]["enum"]
        assert f"`{error_type}`" in response["description"]


def test_every_error_type_that_answers_is_declared_somewhere() -> None:
    declared = {one for operation in OPERATIONS for one in operation.errors}
    declared |= {*SKIPPING, *NOT_QUEUED}
    declared |= {one for name in sources.NAMES for one in sources.load(name).errors}
    answering = {one for one in ErrorType if ERRORS[one].status}
    assert answering - declared == NEVER_DECLARED


@pytest.mark.parametrize("name", sources.NAMES)
def test_source_declares_its_own_answer_to_each_of_its_errors(name: str) -> None:
    source = sources.load(name)
    for error_type in (*source.errors, *ANY_ROUTE):
        answer = source.refused(Refused(rejected=Rejected(error_type, "…")))
        for route in source.routes:
            described = DOCUMENT["paths"][f"{route.path}/"]["post"]["responses"]
            response = described[str(answer.status)]
            assert error_type in response["headers"]["X-Error-Type"]["schema"]["enum"]


def test_every_503_that_refuses_says_when_to_come_back() -> None:
    for operation in OPERATIONS:
        described = DOCUMENT["paths"][operation.path][operation.method]["responses"]
        refusal = described.get("503", {}).get("headers", {})
        if "X-Error-Type" in refusal:
            assert refusal["Retry-After"]["schema"]["maximum"] == 30


def test_operation_names_are_unique_words() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)
