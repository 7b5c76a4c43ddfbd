"""``sluice workflow lint`` and ``list``: checks documents, and lists our own."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sluice.cli.options import AsJson, print_json
from sluice.cli.plain import plain
from sluice.core.errors import ConfigError
from sluice.workflows.core.refusals import Refusal

if TYPE_CHECKING:
    from worker.workflows.core.planned import Plan

REFUSED: Final = 1

commands = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is known of a document."""

    refusals: Sequence[Refusal] = ()
    workflows: tuple[str, ...] = ()
    """Ids; none where the text is no document."""
    title: str = ""
    plan: "Plan | None" = field(default=None, repr=False)

    @property
    def warnings(self) -> Sequence[Refusal]:
        """What is legal and probably not meant; known only of a document that can be run."""
        return self.plan.warnings if self.plan else ()


@commands.command()
def lint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An Arazzo document.", show_default=False)
    ],
    *,
    workflow_id: Annotated[
        str,
        typer.Option(
            "--workflow", metavar="ID", help="The one that would be run.", show_default="first"
        ),
    ] = "",
    is_strict: Annotated[
        bool, typer.Option("--strict", help="As with x-sluice-strict: only what Arazzo says.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Folder that sources must lie in.",
            show_default="that of FILE",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an Arazzo document against the specification and its OpenAPI sources.

    Each line names file, line, column, reason and rule. Nothing is sent and nothing is fetched:
    sources are files below the folder of FILE, or of `--root`.

    Exit status: 0 it can be run, perhaps with warnings; 1 it is refused; 2 wrong argument, or FILE
    cannot be read.

    Example: `sluice workflow lint flows/nightly.arazzo.yaml`
    """
    checked = _checked(file, workflow_id, root, is_strict=is_strict)
    if as_json:
        print_json(
            {
                "ok": checked.plan is not None,
                "refusals": [_as_data(one) for one in checked.refusals],
                "warnings": [_as_data(one) for one in checked.warnings],
                "workflows": [plain(name) for name in checked.workflows],
                "digest": checked.plan.digest if checked.plan else None,
            }
        )
    else:
        for one in checked.refusals:
            print(_line(file, one, ""))
        for one in checked.warnings:
            print(_line(file, one, "warning: "))
        print(plain(_verdict(file, checked)))
    if checked.plan is None:
        raise typer.Exit(REFUSED)


@commands.command(name="list")
def list_workflows(*, as_json: AsJson = False) -> None:
    """List the workflows that come with Sluice, with what they need."""
    from sluice.workflows.loading import shipped_files  # here, because it is heavy

    rows = []
    for file in shipped_files():
        checked = _checked(file, "", None, is_strict=False)
        if checked.plan is None:
            message = f"{file} was changed: `sluice workflow lint {file}` says what is wrong."
            raise ConfigError(message)
        schema = checked.plan.workflows[checked.plan.root].schema
        rows.append(
            {
                "id": checked.plan.root,
                "title": checked.title,
                "required": sorted(schema.required),
                "optional": sorted(schema.names - schema.required),
                "secret": sorted(schema.secrets),
                "file": str(file),
            }
        )
    if as_json:
        print_json({"workflows": rows})
        return
    for row in rows:
        print(f"{row['id']}: {row['title']}")
        for word in ("required", "optional", "secret"):
            if row[word]:
                print(f"  {word}: {', '.join(row[word])}")


def _checked(file: Path, workflow_id: str, root: Path | None, *, is_strict: bool) -> Checked:
    # Here, because they are heavy, and needed to look into a document alone.
    from sluice.workflows.loading import open_document
    from worker.workflows.core.plan import plan
    from worker.workflows.core.planned import Plan

    try:
        opened = open_document(file, root=root)
    except OSError as error:
        message = f"{plain(str(file))} cannot be read: {error.strerror}."
        raise ConfigError(message) from None
    if isinstance(opened, tuple):
        return Checked(refusals=_in_order(opened))
    document = opened.document
    ids = tuple(one.id for one in document.workflows)
    if workflow_id and workflow_id not in ids:
        message = f"--workflow is {workflow_id!r}: the document has {plain(', '.join(ids))}."
        raise ConfigError(message)
    if is_strict:
        document = replace(document, is_strict=True)
    made = plan(document, opened.sources, workflow_id=workflow_id or None)
    if isinstance(made, Plan):
        return Checked(workflows=ids, title=document.title, plan=made)
    return Checked(workflows=ids, title=document.title, refusals=_in_order(made))


def _in_order(refusals: Sequence[Refusal]) -> Sequence[Refusal]:
    return sorted(refusals, key=lambda one: (one.line, one.column))


def _line(file: Path, one: Refusal, kind: str) -> str:
    what = one.path or "the document"
    return plain(f"{file}:{one.line}:{one.column}: {kind}{what} {one.reason} ({one.rule})")


def _verdict(file: Path, checked: Checked) -> str:
    if checked.plan is None:
        return f"{file} is refused: {_count(len(checked.refusals), 'problem')}."
    steps = len(checked.plan.workflows[checked.plan.root].steps)
    warnings = _count(len(checked.warnings), "warning") if checked.warnings else "no warnings"
    return f"{file} can be run: workflow {checked.plan.root}, {_count(steps, 'step')}; {warnings}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_data(one: Refusal) -> dict[str, object]:
    return {
        "line": one.line,
        "column": one.column,
        "path": plain(one.path),
        "reason": plain(one.reason),
        "rule": one.rule,
    }
