"""Privacy requests as they were queued before there were workflow runs, made into such runs.

Migration ``0010_erasures`` does the same with those that were stored already; the ids of both are
functions of the request.
"""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal

import msgspec

from sluice.core.workflows import DEFAULTS
from sluice.workflows.core.runs import Run, run_time

OldType = Literal["export_user", "erase_user", "erase_shop"]
TOPICS: Final[dict[OldType, str]] = {
    "export_user": "customers/data_request",
    "erase_user": "customers/redact",
    "erase_shop": "shop/redact",
}


class OldRun(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the kind ``runs``."""

    tenant: str
    run_id: str
    type: OldType
    requested_at: str
    due_at: str
    input: str


_DECODER: Final = msgspec.json.Decoder(OldRun)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def carried_over(row: bytes) -> Run:
    """Return the run that an old row asks for.

    Raises:
        msgspec.DecodeError, ValueError: It is no such row.
    """
    old = _DECODER.decode(row)
    asked_at = _moment(old.requested_at)
    config_id = "og-data-request" if old.type == "export_user" else "og-erase"
    config = DEFAULTS[config_id]
    second = asked_at.hour * 3600 + asked_at.minute * 60 + asked_at.second
    said: dict[str, object] = {"request": TOPICS[old.type]}
    if old.type == "erase_shop":  # nobody looked at the form of what was signed
        said["unproven"] = True
    said |= _OBJECT.decode(old.input)
    return Run(
        tenant=old.tenant,
        run_id=f"wf-{asked_at:%Y%m%d}-{second:05d}-{old.run_id.replace('-', '')[:6]}",
        config_id=config_id,
        type=config.type,
        name=config.name,
        workflow_id=config.type,
        source="shopify",
        created_at=run_time(asked_at),
        inputs=msgspec.json.encode({"shopify": said}).decode(),
        request_key=sha256(f"{old.tenant}\0{old.run_id}".encode()).hexdigest(),
        due_at=run_time(_moment(old.due_at)),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
