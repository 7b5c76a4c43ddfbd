"""What a test must know of a block beside its text: how it is run, or why it is only parsed.

A block of ``sh`` without an entry is run in the sandbox as it stands, unless it calls a program
that is not here (``grammar.NOT_HERE``), whose words are checked all the same. An entry is known by
page and the beginning of the block's first line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Parsed:
    """The block is not run; its commands are parsed by those that would take them."""

    why: str


@dataclass(frozen=True, slots=True)
class Run:
    """How a block is run."""

    replace: Mapping[str, str] = field(default_factory=dict)
    """What of the page is another here: its text, and what stands for it (``{key}``: what was
    learned from the output of earlier blocks)."""
    before: str = ""
    """What a person has done already, as shell, with ``{key}`` as above."""
    eventually: bool = False
    """Whether it may need a moment, because the one before only has promised."""
    status: int = 0


DIGEST: Final = {"3f6a09c1d2e4": "{public_digest}"}
RUN: Final = {"wf-20260425-52331-x9E9U": "{run}"}
TO_GOOGLE: Final = (
    "the emulator's tests run them: tests/integration/test_pubsub_setup.py, tests/faults"
)

PAGES: Final[Mapping[str, Parsed]] = {
    "docs/runbooks/": Parsed("`make drills` mends real faults by these steps"),
    "docs/recovery.md": Parsed("`python -m tests.faults.recovery` loses disks and rebuilds them"),
    "docs/clickhouse.md": Parsed("tests/integration/test_warehouse_grants.py makes such users"),
    "docs/tracing.md": Parsed("it starts a Sluice that would not end; the exporter has tests"),
}
"""Pages, or folders of them, whose blocks are done elsewhere; SQL too."""

ENTRIES: Final[Mapping[tuple[str, str], Parsed | Run]] = {
    ("README.md", "make run"): Parsed("`make newcomer` runs it in a fresh clone"),
    ("README.md", "make test"): Parsed("these tests are that"),
    ("README.md", "export SLUICE_API_KEY="): Run({"sk_live_…": "{key}"}),
    ("docs/amplitude.md", "sluice replay"): Run(
        {"--event-type order_placed": "--event-type order_placed --yes"}  # nobody is there to ask
    ),
    ("docs/client-apps.md", "sluice tenant set-key shop"): Run(DIGEST),
    ("docs/pubsub.md", "export SLUICE_QUEUE_URL="): Parsed(TO_GOOGLE),
    ("docs/pubsub.md", "SLUICE_HOST=0.0.0.0 sluice worker"): Parsed(TO_GOOGLE),
    ("docs/production.md", "export URL="): Run({"sk_live_…": "{shop_key}"}),
    ("docs/upgrading.md", "sluice workflow run cg-reconcile"): Parsed(
        "docs/production.md has the same line and is run"
    ),
    ("docs/console-api.md", "curl -N"): Parsed(
        "it goes on until it is stopped; tests/integration/test_tail.py watches and stops"
    ),
    ("docs/loadtest.md", "make loadtest"): Parsed(
        "minutes of load; tests/integration/test_loadtest.py does it for a second"
    ),
    ("docs/loadtest.md", "python3 -m venv"): Parsed(
        "it installs Locust; tests/unit/loadtest has the file's own test"
    ),
    ("docs/capacity.md", ".venv/bin/python -m loadtest.simulate"): Parsed(
        "half a minute of load; tests/unit/loadtest/test_capacity.py has the model's tests"
    ),
    ("docs/contributing.md", "make check"): Parsed("these tests are part of that"),
    ("docs/quickstart.md", "make run"): Parsed("as in the README"),
    ("docs/quickstart.md", "export SLUICE_API_KEY="): Run({"sk_live_…": "{key}"}),
    ("docs/quickstart.md", ".venv/bin/sluice receipt"): Run(eventually=True),
    ("docs/receipts.md", "curl -H"): Run(
        before="""curl http://127.0.0.1:8080/api/ingestion/track \\
            -H "Authorization: ApiKey {key}" -H "Content-Type: application/json" \\
            -d '{{"user_id": "user-1", "event_type": "page_viewed", "event_id": "order-123"}}'""",
        eventually=True,
    ),
    ("docs/runs.md", 'curl "$URL/api/workflow/runs/wf-20260425-52331-x9E9U?'): Run(
        RUN, eventually=True
    ),
    ("docs/runs.md", "curl -X POST"): Parsed(
        "the run has ended by then; tests/conformance/test_runs_stop.py stops runs"
    ),
    ("docs/runs.md", "curl -fO"): Run(
        RUN,
        before="sluice workflow run og-data-request --tenant demo --input user_id=user-123 --watch",
    ),
    ("docs/workflows.md", "sluice workflow configure shop cg-nightly"): Run(
        before="""mkdir -p sluice-data/workflows/shop
            cp flows/* sluice-data/workflows/shop/
            export SHOP_AMPLITUDE_KEY=k"""
    ),
    ("docs/workflows.md", "sluice workflow run --file"): Parsed(
        "it calls reports.example; tests/integration/test_cli_workflow_file.py has such a server"
    ),
    ("tests/simulators/amplitude/README.md", "python -m tests.simulators.amplitude"): Parsed(
        "it serves until it is stopped; the sandbox has one by `sluice run --simulate-amplitude`"
    ),
}  # fmt: skip
