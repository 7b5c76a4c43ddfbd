"""Small documents and a driver that answers as a script says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import orjson

from sluice.workflows.core.document import parse
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.core.runs import RunError
from sluice.workflows.shipped import SHIPPED
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.calls import Request
from worker.workflows.core.machine import apply, begin, next_move
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan
from worker.workflows.core.rendering import render
from worker.workflows.core.state import (
    Answer,
    Done,
    Elapsed,
    Failed,
    Lost,
    NoAnswer,
    Send,
    State,
    StepEnd,
    Wait,
)

NOW = 1_800_000_000.0
SECRETS = {"env:BASIC": "QTpC", "env:KEY": "k-1"}

SHOP = b"""\
openapi: 3.0.3
info: {title: Shop, version: "1"}
servers:
- url: https://shop.example
paths:
  /carts:
    post: {operationId: makeCart, responses: {"200": {description: made}}}
    get: {operationId: listCarts, responses: {"200": {description: all}}}
  /carts/{id}:
    parameters:
    - {name: id, in: path, required: true, schema: {type: string}}
    get: {operationId: getCart, responses: {"200": {description: one}}}
    delete: {operationId: dropCart, responses: {"200": {description: gone}}}
"""

HEAD = """\
arazzo: {version}
info: {{title: T, version: "1"}}
sourceDescriptions:
- {{name: shop, url: shop.yaml, type: openapi}}
"""


def document(body: str, version: str = "1.0.1") -> bytes:
    """A document that has everything but its workflows."""
    return (HEAD.format(version=version) + body).encode()


def one_workflow(steps: str, *, inputs: str = "", rest: str = "", version: str = "1.0.1") -> bytes:
    """A document with one workflow, ``w``; its steps are indented by two."""
    schema = f"  inputs: {{type: object, properties: {{{inputs}}}}}\n" if inputs else ""
    return document(f"workflows:\n- workflowId: w\n{schema}  steps:\n{steps}{rest}", version)


def refusals(text: bytes, shop: bytes | str = SHOP) -> tuple[Refusal, ...]:
    """What is wrong with a document."""
    read = parse(text)
    if isinstance(read, tuple):
        return read
    made = plan(read, {"shop": shop})
    return made if isinstance(made, tuple) else ()


def planned(text: bytes, shop: bytes = SHOP) -> Plan:
    """The plan of a document that is right."""
    read = parse(text)
    assert not isinstance(read, tuple), [str(one) for one in read]
    made = plan(read, {"shop": shop})
    assert isinstance(made, Plan), [str(one) for one in made]
    return made


def shipped(name: str, addresses: Addresses | None = None) -> Plan:
    """The plan of a document that is part of Sluice."""
    read = parse((SHIPPED / f"{name}.arazzo.yaml").read_bytes())
    assert not isinstance(read, tuple), [str(one) for one in read]
    sources = {one.name: (SHIPPED / one.url).read_bytes() for one in read.sources}
    made = plan(read, sources, addresses=addresses)
    assert isinstance(made, Plan), [str(one) for one in made]
    return made


def says(code: int = 200, /, *, headers: Mapping[str, str] | None = None, **body: object) -> Answer:
    """A JSON answer."""
    return Answer(
        status=code,
        headers={"Content-Type": "application/json", **(headers or {})},
        body=orjson.dumps(body),
    )


def text_says(text: str, media_type: str = "text/csv", code: int = 200) -> Answer:
    """An answer that is text, or says so."""
    return Answer(status=code, headers={"content-type": media_type}, body=text.encode())


def begun(
    made: Plan, inputs: Mapping[str, object] | None = None, secrets: Mapping[str, str] | None = None
) -> State:
    """The first state of a run whose inputs are right."""
    state = begin(made, inputs or {}, secrets or {}, run_id="wf-1", now=NOW)
    assert isinstance(state, State), state
    return state


@dataclass(kw_only=True)
class Ran:
    """What a run did."""

    requests: list[Request] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    ended: list[StepEnd] = field(default_factory=list)
    outputs: dict[str, object] | None = None
    error: RunError | None = None
    state: State

    @property
    def urls(self) -> list[str]:
        return [f"{one.method} {one.url}" for one in self.requests]


def run(
    made: Plan,
    answers: Iterable[Answer | NoAnswer | Lost],
    inputs: Mapping[str, object] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Ran:
    """Drive a run with scripted answers until it ends, or until there is no answer left.

    After every transition the state goes through JSON, as it does between two workers.
    """
    state, now = begun(made, inputs, secrets), NOW
    ran = Ran(state=state)
    script = iter(answers)
    while True:
        state = msgspec.json.decode(msgspec.json.encode(state), type=State)
        ran.state = state
        ran.ended += state.ended
        match next_move(made, state):
            case Done(outputs):
                ran.outputs = {name: one.value for name, one in outputs.items()}
                return ran
            case Failed(error):
                ran.error = error
                return ran
            case Wait(until):
                ran.waits.append(until - now)
                now = until
                state = apply(made, state, Elapsed(), now)
            case Send():
                answer = next(script, None)
                ran.requests.append(render(made, state, SECRETS))
                if answer is None:
                    return ran
                state = apply(made, state, answer, now)
