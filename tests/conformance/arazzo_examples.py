"""``python -m tests.conformance.arazzo_examples --folder DIR``: the specification's own examples.

They are not part of the project: DIR is ``examples`` of a copy of OAI/Arazzo-Specification, with
the petstore's description beside it (``petstore.yaml``, from swagger-api/swagger-petstore). Each
example is parsed and checked as it was published, and every workflow of it is run against a server
made from its OpenAPI description. Most of the published documents hold mistakes that no runner can
run: they must be refused with the right line, and they run with the mistake corrected. Every line
is a check; the status is 1 if one fails.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sluice.workflows.core.document import Document, parse
from sluice.workflows.core.refusals import Refusal
from tests.support.stub_api import StubApi, Told
from tests.support.workflows import program, run_files, serving, shell
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan
from worker.workflows.local_run import run_locally


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Something in a published document that cannot be run."""

    line: int
    rule: str
    written: str
    meant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run of one workflow of an example."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Values by the name of the input."""
    calls: Sequence[str]
    """Operations that must be asked for, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A published document."""

    file: str
    source: str
    """File of its description."""
    mistakes: Sequence[Mistake] = ()
    told: Mapping[str, Told] = field(default_factory=dict)
    """Answers that its description does not show."""
    runs: Mapping[str, Started]
    made_up: bytes = b""
    """The description, where none was published."""


TOKEN: Final = {"access_token": "t", "refresh_token": "r", "expires_in": 60, "code": "c"}
IN_A_CHILD: Final = {**TOKEN, "of": {"access_token": "t"}}
"""A filter after ``$`` looks at children (RFC 9535), so one of them must have the member."""
ANIMALS: Final = b"""\
openapi: 3.0.3
info: {title: Animals, version: "1"}
paths:
  /animals:
    post: {operationId: postAnimal, responses: {"201": {description: made}}}
  /animals/random:
    get: {operationId: getRandomAnimal, responses: {"200": {description: one}}}
"""
NEW_CUSTOMER: Final = {
    "firstName": "Ann",
    "lastName": "Bo",
    "dateOfBirth": "2000-01-01T00:00:00Z",
    "postalCode": "1",
}
PRODUCT: Final = {"productCode": "p", "purchaseAmount": {"currency": "EUR", "amount": 1.5}}

EXAMPLES: Final = (
    Example(
        file="ExtendedParametersExample.arazzo.yaml",
        source="animals.yaml",
        made_up=ANIMALS,
        runs={"animal-workflow": Started(calls=["postAnimal", "getRandomAnimal"])},
    ),
    Example(
        file="FAPI-PAR.arazzo.yaml",
        source="FAPI-PAR.openapi.yaml",
        mistakes=[
            Mistake(line=102, rule="operation-unknown", written="api.PAR", meant="api.Par"),
        ],
        told={
            "Par": Told(body={"request_uri": "urn:x"}),
            "Authorization": Told(
                status=302, body=TOKEN, headers={"Location": "https://a.example/?code=c"}
            ),
            "Token": Told(body=TOKEN),
        },
        runs={
            "OIDC-PAR-AuthzCode": Started(
                inputs={
                    "client_id": "c",
                    "client_assertion": {"iss": "i"},
                    "redirect_uri": "https://a.example/",
                    "code_verifier": "v",
                    "PARrequestBody": {"scope": "read"},
                },
                secrets={"TokenRequestBody": "unused"},
                calls=["Par", "Authorization", "Token"],
            )
        },
    ),
    Example(
        file="LoginAndRetrievePets.arazzo.yaml",
        source="petstore.yaml",
        told={"loginUser": Told(body="session", headers={"X-Rate-Limit": "5"})},
        runs={
            "loginUserRetrievePet": Started(
                inputs={"username": "ann"},
                secrets={"password": "pass"},
                calls=["loginUser", "findPetsByStatus"],
            )
        },
    ),
    Example(
        file="bnpl-arazzo.yaml",
        source="bnpl-openapi.yaml",
        mistakes=[
            Mistake(
                line=231,
                rule="expression-dangling",
                written="$steps.authenticateCustomerAndAuthorizeLoan.outputs.redirectAuthToken",
                meant="$steps.initiateBnplTransaction.outputs.redirectAuthToken",
            ),
            Mistake(
                line=242,
                rule="expression-dangling",
                written="outputs.loanTransactionId",
                meant="outputs.loanTransactionResourceUrl",
            ),
            Mistake(
                line=253,
                rule="expression-dangling",
                written="outputs.loanTransactionId",
                meant="outputs.loanTransactionResourceUrl",
            ),
            Mistake(
                line=260,
                rule="output-expression",
                written="$steps.retrieveFinalizedPaymentPlan.finalizedPaymentPlan",
                meant="$steps.retrieveFinalizedPaymentPlan.outputs.finalizedPaymentPlan",
            ),
        ],
        told={
            "findEligibleProducts": Told(
                body={
                    "existingCustomerNotEligible": True,
                    "eligibilityCheckRequired": True,
                    "products": ["p"],
                    "totalAmount": {"amount": 1},
                    "basket": {"products": ["p"]},
                }
            ),
            "createCustomer": Told(status=201, body={"links": {"self": "/customers/1"}}),
            "createBnplTransaction": Told(
                status=202, body={"redirectAuthToken": "r", "links": {"self": "/loans/1"}}
            ),
        },
        runs={
            "ApplyForLoanAtCheckout": Started(
                inputs={"customer": NEW_CUSTOMER, "products": [PRODUCT]},
                calls=[
                    "findEligibleProducts",
                    "getTermsAndConditions",
                    "createCustomer",
                    "createBnplTransaction",
                    "getAuthorization",
                    "retrieveBnplLoanTransaction",
                    "updateBnplLoanTransactionStatus",
                ],
            )
        },
    ),
    Example(
        file="oauth.arazzo.yaml",
        source="oauth.openapi.yaml",
        told={"authorize": Told(body=TOKEN), "get-token": Told(body=IN_A_CHILD)},
        runs={
            "refresh-token-flow": Started(
                inputs={"my_client_id": "c", "my_redirect_uri": "https://a.example/"},
                secrets={"my_client_secret": "s3cret"},
                calls=["authorize", "get-token", "get-token"],
            ),
            "client-credentials-flow": Started(
                inputs={"client_id": "c"}, secrets={"client_secret": "s3cret"}, calls=["get-token"]
            ),
            "authorization-code-flow": Started(
                inputs={"client_id": "c", "redirect_uri": "https://a.example/"},
                secrets={"client_secret": "s3cret"},
                calls=["authorize", "get-token"],
            ),
        },
    ),
    Example(
        file="pet-coupons.arazzo.yaml",
        source="pet-coupons.openapi.yaml",
        mistakes=[
            Mistake(
                line=40,
                rule="parameter-unknown",
                written="- name: pet_id\n            in: path",
                meant="- name: petId\n            in: path",
            ),
        ],
        runs={
            "apply-coupon": Started(
                inputs={"my_pet_tags": ["puppy"]},
                calls=["findPetsByTags", "getPetCoupons", "placeOrder"],
            ),
            "buy-available-pet": Started(calls=["findPetsByStatus", "placeOrder"]),
            "place-order": Started(inputs={"pet_id": 1}, calls=["placeOrder"]),
        },
    ),
)


class Checks:
    """What was shown."""

    def __init__(self) -> None:
        self.held = self.failed = 0

    def check(self, what: str, *, holds: bool, said: object = "") -> None:
        """Print one line."""
        self.held += holds
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'} {what}{'' if holds else f': {said}'}", flush=True)  # noqa: T201 - a report


async def run_example(example: Example, folder: Path, checks: Checks) -> None:
    """Check one published document, and run its workflows."""
    published = (folder / "1.0.0" / example.file).read_bytes()
    source = example.made_up or _source(folder, example.source)
    read = parse(published)
    checks.check(f"{example.file}: parsed", holds=isinstance(read, Document), said=read)
    assert isinstance(read, Document)
    found = _refusals(read, source)
    expected = [(one.line, one.rule) for one in example.mistakes]
    is_named = {(one.line, one.rule) for one in found} >= set(expected)
    others = [str(one) for one in found if one.rule not in {rule for _, rule in expected}]
    words = ", ".join(f"line {line} {rule}" for line, rule in expected) or "nothing to refuse"
    checks.check(
        f"{example.file}: checked as published: {words}",
        holds=is_named and all("parameter-missing" in one for one in others),
        said=found,
    )
    corrected = published.decode()
    for mistake in example.mistakes:
        corrected = corrected.replace(mistake.written, mistake.meant)
    for workflow_id, started in example.runs.items():
        await _run(example, workflow_id, started, corrected.encode(), source, checks)


def _source(folder: Path, name: str) -> bytes:
    place = folder / "1.0.0" / name
    return (place if place.exists() else folder / name).read_bytes()


def _refusals(document: Document, source: bytes) -> tuple[Refusal, ...]:
    name = document.sources[0].name
    made = plan(document, {name: source}, addresses=Addresses(servers={name: "http://a.example"}))
    return made if isinstance(made, tuple) else ()


async def _run(
    example: Example, workflow_id: str, started: Started, text: bytes, source: bytes, checks: Checks
) -> None:
    read = parse(text)
    assert isinstance(read, Document)
    stub = StubApi([source], example.told)
    name = read.sources[0].name
    with TemporaryDirectory() as folder:
        async with serving(stub.handle) as served, shell(served) as http:
            made = plan(
                read,
                {name: source},
                workflow_id=workflow_id,
                addresses=Addresses(servers={name: served.url}),
            )
            assert isinstance(made, Plan), made
            made_program = program(
                made,
                http,
                run_files(Path(folder)),
                inputs=started.inputs,
                secrets={one: f"env:{one}" for one in started.secrets},
                environment=started.secrets,
            )
            outcome = await run_locally(made_program, lambda _told: None, asyncio.Event())
    checks.check(
        f"{example.file}: {workflow_id} ran: {', '.join(stub.called)}",
        holds=outcome.error is None and stub.called == list(started.calls),
        said=outcome,
    )
    declared = made.workflows[workflow_id].outputs.keys()
    checks.check(
        f"{example.file}: {workflow_id} has its outputs: {', '.join(declared) or 'none declared'}",
        holds=outcome.outputs is not None and outcome.outputs.keys() == declared,
        said=outcome.outputs,
    )


async def main(folder: Path) -> int:
    """Run all examples; return the exit status."""
    checks = Checks()
    for example in EXAMPLES:
        await run_example(example, folder, checks)
    print(f"{checks.held} checks hold, {checks.failed} fail")  # noqa: T201 - a report
    return 1 if checks.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="holds 1.0.0/*.arazzo.yaml")
    sys.exit(asyncio.run(main(parser.parse_args().folder)))
