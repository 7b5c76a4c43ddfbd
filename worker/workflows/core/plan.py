"""From a document and its sources to a plan: everything that can be refused is refused here."""

from collections.abc import Mapping

from sluice.workflows.core.document import Document, SourceText, digest_of
from sluice.workflows.core.inputs import InputSchema, read_schema
from sluice.workflows.core.refusals import Problems, Refusal
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.checks import check_references
from worker.workflows.core.openapi import Description, read_description
from worker.workflows.core.planned import Plan
from worker.workflows.core.planner import Planner


def plan(
    document: Document,
    sources: Mapping[str, SourceText],
    *,
    workflow_id: str | None = None,
    addresses: Addresses | None = None,
) -> Plan | tuple[Refusal, ...]:
    """Return how a document runs, or every reason why it does not.

    Args:
        document: As ``parse`` gave it.
        sources: By the name of the source description.
        workflow_id: The workflow to run; the first of the document when there is none.
        addresses: What the tenant and the operator say of base addresses.
    """
    problems = Problems(document.marks)
    check_references(document, problems)
    descriptions = _descriptions(document, sources, problems)
    schemas = _schemas(document, problems)
    if problems.refusals:
        return tuple(problems.refusals)
    root = workflow_id or document.workflows[0].id
    planner = Planner(document, descriptions, schemas, addresses or Addresses(), problems)
    workflows = {one.id: planner.workflow(one) for one in document.workflows}
    if root not in workflows:
        problems.refuse(("workflows",), f"has no workflow {root}", "workflow-unknown")
    if problems.refusals:
        return tuple(problems.refusals)
    return Plan(
        root=root,
        digest=digest_of(document, sources),
        self_url=document.self_url,
        sources={one.name: {"url": one.url, "type": one.type} for one in document.sources},
        workflows=workflows,
        warnings=tuple(problems.warnings),
    )


def _descriptions(
    document: Document, sources: Mapping[str, SourceText], problems: Problems
) -> dict[str, Description]:
    found: dict[str, Description] = {}
    for source in document.sources:
        if source.type != "openapi":
            continue
        text = sources.get(source.name, "was not given")
        if isinstance(text, str):
            problems.refuse((*source.path, "url"), text, "source-unreadable")
            continue
        read = read_description(source.name, text)
        if isinstance(read, Refusal):
            reason = f"leads to a description that {read.reason} (its line {read.line})"
            problems.refuse((*source.path, "url"), reason, read.rule)
            continue
        found[source.name] = read
    return found


def _schemas(document: Document, problems: Problems) -> dict[str, InputSchema]:
    found: dict[str, InputSchema] = {}
    for workflow in document.workflows:
        read = read_schema(workflow.inputs, document.schemas)
        if isinstance(read, str):
            problems.refuse((*workflow.path, "inputs"), read, "inputs-schema")
        else:
            found[workflow.id] = read
    return found
