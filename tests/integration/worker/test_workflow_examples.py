"""Documents in the shapes of the specification's examples, run against servers made from OpenAPI.

The published ones are run by ``python -m tests.conformance.arazzo_examples``; these are our own.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.stub_api import StubApi, Told
from tests.support.workflows import planned, program, run_files, serving, shell
from worker.workflows.core.addresses import Addresses
from worker.workflows.local_run import run_locally

LIBRARY = b"""\
openapi: 3.0.3
info: {title: Library, version: "1"}
servers: [{url: /v1}]
paths:
  /books:
    get:
      operationId: findBooks
      parameters: [{name: topics, in: query, explode: true, schema: {type: array}}]
      responses:
        "200":
          description: found
          content:
            application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Book"}}}
  /books/{bookId}/offers:
    get:
      operationId: getOffer
      parameters: [{name: bookId, in: path, required: true, schema: {type: integer}}]
      responses:
        "200":
          description: an offer
          content:
            application/json: {schema: {properties: {code: {type: string, example: half}}}}
  /loans:
    post:
      operationId: lend
      responses:
        "201":
          description: lent
          content:
            application/json: {schema: {properties: {id: {type: integer, example: 7}}}}
  /desk:
    get: {operationId: goToDesk, responses: {"302": {description: there}}}
  /tokens:
    post:
      operationId: makeToken
      requestBody: {content: {application/x-www-form-urlencoded: {schema: {type: object}}}}
      responses:
        "200":
          description: made
          content:
            application/json: {schema: {properties: {pass: {type: string}}}}
components:
  schemas:
    Book:
      allOf:
      - {type: object, properties: {id: {type: integer}}}
      - {type: object, properties: {state: {type: string, enum: [in, out]}}}
"""

LEND = """
- workflowId: lend-one
  inputs:
    type: object
    properties: {book: {type: integer}, days: {type: integer}, offer: {type: string}}
  steps:
  - stepId: lend-it
    operationId: lend
    requestBody:
      contentType: application/json
      payload: {book: $inputs.book, days: $inputs.days, offer: $inputs.offer, state: lent}
    successCriteria: [{condition: $statusCode == 201}]
    outputs: {loan: "$response.body#/id"}
  outputs: {loan_id: $steps.lend-it.outputs.loan}
"""

NESTED = f"""
- workflowId: w
  inputs: {{$ref: "#/components/inputs/reader"}}
  steps:
  - stepId: find
    operationId: findBooks
    parameters:
    - {{name: topics, in: query, value: $inputs.topics}}
    - {{reference: $components.parameters.page, value: 3}}
    outputs: {{book: "$response.body#/0/id"}}
  - stepId: offer
    operationId: getOffer
    parameters: [{{name: bookId, in: path, value: $steps.find.outputs.book}}]
    outputs: {{code: "$response.body#/code"}}
  - stepId: lend-it
    workflowId: lend-one
    parameters:
    - {{name: book, value: $steps.find.outputs.book}}
    - {{name: offer, value: $steps.offer.outputs.code}}
    successCriteria: [{{condition: $statusCode == 201}}]
    outputs: {{loan: $outputs.loan_id}}
  outputs: {{loan: $steps.lend-it.outputs.loan}}
{LEND}
components:
  inputs:
    reader: {{type: object, properties: {{topics: {{type: array, items: {{type: string}}}}}}}}
  parameters:
    page: {{name: page, in: query, value: 1}}
"""

HEADERS = """
- workflowId: w
  parameters:
  - {in: cookie, name: one, value: a}
  - {in: header, name: Two, value: b}
  steps:
  - stepId: first
    operationPath: '{$sourceDescriptions.api.url}#/paths/~1books'
    parameters: [{in: cookie, name: three, value: c}]
    outputs: {rate: $response.header.X-Rate-Limit, body: $response.body}
  - stepId: second
    operationId: $sourceDescriptions.api.findBooks
    parameters: [{in: header, name: Authorization, value: $steps.first.outputs.rate}]
  outputs: {rate: $steps.first.outputs.rate}
"""

TOKENS = """
- workflowId: w
  inputs: {type: object, properties: {client: {type: string}, client_secret: {type: string}}}
  steps:
  - stepId: ask
    operationId: makeToken
    requestBody:
      contentType: application/x-www-form-urlencoded
      payload: {client: $inputs.client, client_secret: $inputs.client_secret, kind: plain}
    successCriteria:
    - condition: $statusCode == 200
    - {context: $response.body, condition: "$[?@.pass != null]", type: jsonpath}
    outputs: {pass: "$response.body#/of/pass"}
  outputs: {pass: $steps.ask.outputs.pass}
"""

BRANCHES = """
- workflowId: w
  inputs: {type: object, properties: {reader: {type: object}}}
  steps:
  - stepId: find
    operationId: findBooks
    onSuccess:
    - name: none
      type: end
      criteria:
      - {context: $response.body, type: jsonpath, condition: "$[?@.state == 'out']"}
    - name: some
      type: goto
      stepId: lend-it
      criteria: [{condition: "$response.body#/0/state == 'in'"}]
    outputs: {books: $response.body}
  - {stepId: never, operationId: getOffer, parameters: [{name: bookId, in: path, value: 1}]}
  - stepId: lend-it
    operationId: lend
    requestBody:
      contentType: application/json
      payload: |
        {"name": "{$inputs.reader#/name}", "card": "{$inputs.reader#/card}",
         "of": {$steps.find.outputs.books}}
    successCriteria: [{condition: $statusCode == 200 || $statusCode == 201}]
    onSuccess:
    - {name: go, type: goto, stepId: desk, criteria: [{condition: "$response.body#/id != null"}]}
    outputs: {id: "$response.body#/id"}
  - stepId: desk
    operationId: goToDesk
    successCriteria: [{condition: $statusCode == 302}]
    outputs: {where: $response.header.Location}
  outputs: {where: $steps.desk.outputs.where, id: $steps.lend-it.outputs.id}
"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A document, what it is given, and what must come of it."""

    text: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)
    calls: Sequence[str]
    outputs: Mapping[str, Any]
    body: bytes | None = None
    """Of the last request that has one."""
    sent: Sequence[tuple[str, Mapping[str, str]]] = ()
    """Path and headers of the first requests."""


SHAPES = {
    "nested workflow, reusable parts": Shape(
        text=NESTED,
        inputs={"topics": ["sea", "ships"]},
        calls=["findBooks", "getOffer", "lend"],
        outputs={"loan": 7},
        body=b'{"book":1,"offer":"half","state":"lent"}',
        sent=[("/v1/books?topics=sea&topics=ships&page=3", {})],
    ),
    "headers, cookies, a path for an operation": Shape(
        text=HEADERS,
        told={"findBooks": Told(body=[], headers={"X-Rate-Limit": "5"})},
        calls=["findBooks", "findBooks"],
        sent=[
            ("/v1/books", {"Cookie": "one=a; three=c", "Two": "b"}),
            ("/v1/books", {"Cookie": "one=a", "Two": "b", "Authorization": "5"}),
        ],
        outputs={"rate": "5"},
    ),
    "a form with a secret": Shape(
        text=TOKENS,
        inputs={"client": "c&d"},
        secrets={"client_secret": "s3cret="},
        told={"makeToken": Told(body={"of": {"pass": "p"}})},
        calls=["makeToken"],
        outputs={"pass": "p"},
        body=b"client=c%26d&client_secret=s3cret%3D&kind=plain",
    ),
    "branches, a text of JSON, a redirect": Shape(
        text=BRANCHES,
        inputs={"reader": {"name": 'A "B"'}},
        told={"goToDesk": Told(status=302, headers={"Location": "/desk/1"})},
        calls=["findBooks", "lend", "goToDesk"],
        outputs={"where": "/desk/1", "id": 7},
        body=b'{"name":"A \\"B\\"","of":[{"id":1,"state":"in"}]}',
    ),
    "an early end": Shape(
        text=BRANCHES,
        inputs={"reader": {}},
        told={"findBooks": Told(body=[{"state": "out"}])},
        calls=["findBooks"],
        outputs={},
    ),
}


@pytest.mark.parametrize("name", SHAPES)
async def test_document_in_the_shape_of_a_published_example_runs(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    head = orjson.dumps({"name": "api", "url": "api.yaml", "type": "openapi"}).decode()
    text = f'arazzo: 1.0.0\ninfo: {{title: T, version: "1"}}\nsourceDescriptions: [{head}]\n'
    stub = StubApi([LIBRARY], shape.told)
    async with serving(stub.handle) as served, shell(served) as http:
        made = planned(
            f"{text}workflows:{shape.text}".encode(),
            LIBRARY,
            Addresses(servers={"api": f"{served.url}/v1"}),
        )
        outcome = await run_locally(
            program(
                made,
                http,
                run_files(tmp_path),
                inputs=shape.inputs,
                secrets={one: f"env:{one}" for one in shape.secrets},
                environment=shape.secrets,
            ),
            lambda _told: None,
            asyncio.Event(),
        )
    assert outcome.error is None, outcome.error
    assert stub.called == shape.calls
    assert outcome.outputs == shape.outputs
    assert all(path.startswith("/v1/") for path in served.paths)
    if shape.body is not None:
        assert [one for one in stub.bodies if one][-1] == shape.body
    for (_, path, headers), (expected_path, expected) in zip(
        served.requests, shape.sent, strict=False
    ):
        assert path == expected_path
        assert headers.items() >= expected.items()
