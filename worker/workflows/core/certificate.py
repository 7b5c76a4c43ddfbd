"""The certificate that ends an erasure: what was deleted where and when, and that it is gone."""

from collections.abc import Mapping
from typing import Any, Final

from sluice.workflows.core.runs import Run

FORM: Final = "sluice.erase/1"
RULE: Final = (
    "What was received before cut_off and was still on its way (queues, spools of gateways, lots"
    " of workers) is left out by every worker when it comes; what was received later is new."
)
DERIVED: Final = "The views users and identities are made of these tables and hold nothing else."


def certificate_of(run: Run, outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the certificate of a run; a function of what its steps said, so always the same.

    Args:
        run: The run.
        outputs: Of its steps, by step id.
    """
    noted, settled, aimed = outputs["note"], outputs["settle"], outputs["aim"]
    verified = outputs["verify"]
    of_shop = {}
    if "shopless" in aimed:
        of_shop["shop"] = {"unnamed_and_kept": aimed["shopless"]}
    return {
        "form": FORM,
        "run_id": run.run_id,
        "tenant": run.tenant,
        "source": run.source,
        "requested_at": f"{run.created_at}Z",
        "cut_off": f"{noted['cut_off']}Z",
        "people_sha256": noted["people"],
        "visitors": {
            "erased": settled["visitors"],
            "shared_and_kept": settled["shared_visitors"],
        },
        **of_shop,
        "places": [
            {
                "place": f"clickhouse.{table}",
                "deleted": aimed["counts"][table] + verified["late"].get(table, 0),
                "remaining": verified["remaining"][table],
                "checked_at": verified["verified_at"],
            }
            for table in aimed["counts"]
        ],
        "views": {"rule": DERIVED, "remaining": verified["remaining"]["identities"]},
        "rollups": outputs["rollups"],
        "run_files": {"deleted": outputs["delete"]["run_files"]},
        "on_the_way": {"rule": RULE, "older_messages_waiting": settled["older_messages"]},
        "amplitude": outputs["amplitude"],
    }
