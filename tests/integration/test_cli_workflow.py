"""``sluice workflow``: whoever writes a document learns what is wrong with it, and where."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.cli import main
from sluice.workflows.shipped import SHIPPED
from tests.support.command import Ran, sluice
from tests.unit.worker.workflows.arazzo import SHOP, one_workflow

GOOD = SHIPPED / "ingest-and-segment.arazzo.yaml"
LIST = "  - {stepId: a, operationId: listCarts}\n"
FILTER = "  - stepId: a\n    operationId: listCarts\n    successCriteria:\n    - {criterion}\n"
LENIENT = "{context: $response.body, type: jsonpath, condition: $.status == 'done'}"

Command = Callable[..., Ran]


@pytest.fixture
def workflow(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``sluice workflow`` in this process."""

    def run(*words: str | Path) -> Ran:
        status: object = 0
        try:
            main(["workflow", *map(str, words)])
        except SystemExit as end:
            status = end.code
        assert isinstance(status, int)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_bytes(SHOP)
    return tmp_path / "a.arazzo.yaml"


async def test_lint_says_that_a_shipped_document_can_be_run() -> None:
    ran = await sluice("workflow", "lint", str(GOOD), settings={})
    assert ran.stdout == f"{GOOD} can be run: workflow ingest-and-segment, 2 steps; no warnings.\n"
    assert (ran.status, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            one_workflow("  - {stepId: a}\n"),
            [
                "8:5: /workflows/0/steps/0 must have exactly one of operationId, operationPath"
                " and workflowId (step-target)"
            ],
        ),
        (
            one_workflow(
                "  - stepId: a\n    operationId: nothing\n"
                "    onSuccess:\n    - {name: n, type: goto, stepId: z}\n"
                "  - {stepId: b, operationId: listCarts, outputs: {x: $steps.q.outputs.y}}\n"
            ),
            ["11:29: ", "(goto-unknown)"],
        ),
        (
            one_workflow(LIST).replace(b"shop.yaml", b"../shop.yaml"),
            [
                "4:16: /sourceDescriptions/0/url lies outside of the folder of workflows"
                " (source-unreadable)"
            ],
        ),
        (b"arazzo: [1\n", ["2:1: the document is not YAML: ", "(yaml)"]),
    ],
    ids=["step without target", "goto to nowhere", "source outside", "no YAML"],
)
def test_lint_names_line_and_reason_of_what_is_wrong(
    workflow: Command, file: Path, text: bytes, lines: list[str]
) -> None:
    file.write_bytes(text)
    ran = workflow("lint", file)
    assert (ran.status, ran.stderr) == (1, "")
    *found, verdict = ran.stdout.splitlines()
    assert all(line.startswith(f"{file}:") for line in found)
    for line in lines:
        assert line in ran.stdout
    many = "problem" if len(found) == 1 else "problems"
    assert verdict == f"{file} is refused: {len(found)} {many}."


def test_lint_says_for_programs_what_is_wrong(workflow: Command, file: Path) -> None:
    file.write_bytes(one_workflow("  - {stepId: a, operationId: nothing}\n"))
    ran = workflow("lint", file, "--json")
    assert ran.status == 1
    [refusal] = ran.json.pop("refusals")
    assert ran.json == {
        "ok": False,
        "refusals": [refusal],
        "warnings": [],
        "workflows": ["w"],
        "digest": None,
    }
    assert refusal.keys() == {"line", "column", "path", "reason", "rule"}
    assert (refusal["line"], refusal["rule"]) == (8, "operation-unknown")
    assert refusal["path"] == "/workflows/0/steps/0/operationId"


def test_lint_says_for_programs_what_is_good(workflow: Command) -> None:
    ran = workflow("lint", GOOD, "--json")
    assert ran.status == 0
    assert len(ran.json.pop("digest")) == 64
    assert ran.json["ok"] is True
    assert ran.json["workflows"] == ["ingest-and-segment"]
    assert (ran.json["refusals"], ran.json["warnings"]) == ([], [])


def test_lint_warns_of_what_is_probably_not_meant(workflow: Command, file: Path) -> None:
    text = one_workflow("  - {stepId: a, operationId: listCarts}\n")
    file.write_bytes(text)
    (file.parent / "shop.yaml").write_bytes(
        SHOP.replace(
            b"operationId: listCarts,",
            b"operationId: listCarts, parameters: [{name: q, in: query, required: true}],",
        )
    )
    ran = workflow("lint", file)
    assert ran.status == 0
    warning, verdict = ran.stdout.splitlines()
    assert warning == (
        f"{file}:8:5: warning: /workflows/0/steps/0 does not give the query parameter q, which is"
        " required (parameter-missing)"
    )
    assert verdict.endswith("1 step; 1 warning.")
    assert [one["line"] for one in workflow("lint", file, "--json").json["warnings"]] == [8]


def test_lint_takes_lenient_forms_unless_it_is_strict(workflow: Command, file: Path) -> None:
    file.write_bytes(one_workflow(FILTER.format(criterion=LENIENT)))
    assert workflow("lint", file).status == 0
    ran = workflow("lint", file, "--strict")
    assert ran.status == 1
    assert f"{file}:11:49: " in ran.stdout


def test_lint_takes_sources_from_a_root_that_is_named(workflow: Command, file: Path) -> None:
    inner = file.parent / "flows" / "a.yaml"
    inner.parent.mkdir()
    inner.write_bytes(one_workflow(LIST).replace(b"shop.yaml", b"../shop.yaml"))
    assert workflow("lint", inner).status == 1
    assert workflow("lint", inner, "--root", file.parent).status == 0


def test_lint_names_the_workflow_that_would_be_run(workflow: Command, file: Path) -> None:
    second = "- {workflowId: v, steps: [{stepId: a, operationId: makeCart}]}\n"
    file.write_bytes(one_workflow(LIST, rest=second))
    assert "workflow w, 1 step" in workflow("lint", file).stdout
    assert "workflow v, 1 step" in workflow("lint", file, "--workflow", "v").stdout
    ran = workflow("lint", file, "--workflow", "u")
    assert ran.status == 2
    assert ran.error == "sluice: --workflow is 'u': the document has w, v."


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere", "No such file or directory"), (".", "Is a directory")]
)
def test_lint_says_in_one_line_why_a_file_cannot_be_read(
    workflow: Command, tmp_path: Path, name: str, reason: str
) -> None:
    path = tmp_path / name
    ran = workflow("lint", path)
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.error == f"sluice: {path} cannot be read: {reason}."


@pytest.mark.parametrize("words", [(), ("--root", "/nowhere/at/all", str(GOOD)), ("--nonsense",)])
def test_lint_ends_with_2_when_it_is_called_wrongly(
    workflow: Command, words: tuple[str, ...]
) -> None:
    assert workflow("lint", *words).status == 2


@pytest.mark.parametrize("char", [r"\e[2J", r"\n", r"\ud800"])
def test_lint_lets_no_document_steer_the_terminal(workflow: Command, file: Path, char: str) -> None:
    file.write_bytes(one_workflow(LIST, rest=f'"odd{char}": 1\n'))
    ran = workflow("lint", file)
    assert ran.status == 1
    assert len(ran.stdout.splitlines()) == 2
    assert "/odd\N{REPLACEMENT CHARACTER}" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert workflow("lint", file, "--json").json["ok"] is False


def test_list_names_the_shipped_workflows_and_what_they_need(workflow: Command) -> None:
    ran = workflow("list")
    assert ran.status == 0
    assert ran.stdout.splitlines()[:4] == [
        "export-cohort-members: Export the members of an Amplitude cohort",
        "  required: basicAuth, cohortId",
        "  optional: includeProps",
        "  secret: basicAuth",
    ]
    found = workflow("list", "--json").json["workflows"]
    assert [one["id"] for one in found] == ["export-cohort-members", "ingest-and-segment"]
    assert all(workflow("lint", one["file"]).status == 0 for one in found)
