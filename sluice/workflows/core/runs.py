"""A run, its states, and the commands that start and stop it (reference, "Decisions").

Times are UTC texts, ``YYYY-MM-DDTHH:MM:SS.mmm`` without a zone letter, as the warehouse takes them;
the API adds the ``Z``. A run names its person by inputs only; secrets are never among them.
"""

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal

import msgspec

RunState = Literal[
    "scheduled", "started", "in progress", "stopping", "canceled", "succeeded", "failed"
]
TaskState = Literal[
    "scheduled", "running", "up for retry", "succeeded", "failed", "skipped", "canceled"
]
LIVE: Final[frozenset[RunState]] = frozenset({"scheduled", "started", "in progress", "stopping"})
ENDED: Final[frozenset[RunState]] = frozenset({"canceled", "succeeded", "failed"})
Source = Literal["api", "schedule", "shopify"]
Attribution = Literal["customer", "platform"]

LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LETTERS: Final = 5
RUN_ID: Final = re.compile(r"wf-\d{8}-\d{5}-[0-9A-Za-z]{5,6}", re.ASCII)
LEGAL_DAYS: Final = 30
"""Within which a privacy request must be done (Shopify, "Privacy law compliance")."""


class RunError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a step or a run failed (reference "Error types"). No secret is in it."""

    attribution: Attribution
    type: str
    message: str


CANCELED: Final = RunError("customer", "sluice.workflow.run/cancel", "Workflow manually stopped")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as lists and the API see it: the columns of ``workflow_runs`` but for the engine's own.

    The first row of a run is its ``scheduled`` one, with epoch and seq 0; who writes it again
    changes nothing, since every other row of the run is newer.
    """

    tenant: str
    run_id: str
    config_id: str
    type: str
    name: str
    workflow_id: str
    source: Source
    state: RunState = "scheduled"
    created_at: str
    ended_at: str | None = None
    error_attribution: str = ""
    error_type: str = ""
    error_message: str = ""
    principal_id: str = ""
    principal_name: str = ""
    principal_email: str = ""
    launched_version: str = ""
    run_mode: str = ""
    """Empty where the type knows none."""
    range_from: str | None = None
    range_to: str | None = None
    inputs: str = "{}"
    """JSON object: what was given, without the tenant's own and without secrets."""
    outputs: str = "{}"
    """JSON object; of a run that succeeded."""
    request_key: str = ""
    """SHA-256 of what makes two requests one; empty where each is one of its own."""
    request_digest: str = ""
    """SHA-256 of the request's body, to tell a repeated request from another of the same key."""
    due_at: str | None = None
    """When the law wants it to be done."""
    has_retry: int = 0
    """1 while a step is up for retry."""

    @property
    def error(self) -> RunError | None:
        """Why it failed or was stopped."""
        if not self.error_type:
            return None
        attribution: Attribution = (
            "customer" if self.error_attribution == "customer" else "platform"
        )
        return RunError(attribution, self.error_type, self.error_message)


class Start(msgspec.Struct, frozen=True, tag_field="command", tag="start"):
    """Begin a run."""

    run: Run


class Stop(msgspec.Struct, frozen=True, tag_field="command", tag="stop", kw_only=True):
    """Stop a run, as a person asked."""

    tenant: str
    run_id: str
    asked_at: str
    principal_name: str = ""


Command = Start | Stop
"""A row of an envelope of the kind ``commands``."""


def run_time(moment: datetime) -> str:
    """Return a moment as runs have it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def new_run_id(moment: datetime, seed: str) -> str:
    """Return the id of a run: UTC date, second of that day, and letters that the seed decides.

    A seed that is random makes a new id; one that names a request makes the same id again, if the
    moment is the same (reference, "Ids").
    """
    utc = moment.astimezone(UTC)
    second = utc.hour * 3600 + utc.minute * 60 + utc.second
    return f"wf-{utc:%Y%m%d}-{second:05d}-{letters_of(seed, ID_LETTERS)}"


def version_id(moment: datetime, digest: str) -> str:
    """Return the version of a configuration: when it was read, and the start of its digest."""
    utc = moment.astimezone(UTC)
    second = utc.hour * 3600 + utc.minute * 60 + utc.second
    return f"etv-{utc:%Y%m%d}-{second:05d}-{letters_of(digest, 6)}"


def letters_of(seed: str, count: int) -> str:
    """Return letters and digits that a seed decides."""
    number = int.from_bytes(sha256(seed.encode()).digest())
    found = ""
    for _ in range(count):
        number, at = divmod(number, len(LETTERS))
        found += LETTERS[at]
    return found
