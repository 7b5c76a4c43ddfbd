"""The document that docs/workflows.md shows can be run as it stands there."""

import re
from pathlib import Path

from sluice.workflows.loading import Opened, open_document
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def test_the_example_can_be_run_without_a_warning(tmp_path: Path) -> None:
    document, source = BLOCK.findall(PAGE.read_text())
    (tmp_path / "nightly.arazzo.yaml").write_text(document)
    (tmp_path / "reports.openapi.yaml").write_text(source)
    opened = open_document(tmp_path / "nightly.arazzo.yaml")
    assert isinstance(opened, Opened)
    made = plan(opened.document, opened.sources)
    assert isinstance(made, Plan)
    assert made.warnings == ()
    assert made.workflows["nightly"].schema.secrets == {"apiKey"}
