"""``data-request``: all that is held of a person, as NDJSON: one line for each record.

The file is streamed from ClickHouse to disk. ``table`` says where a line comes from; a payload is
the text that was accepted, byte for byte. After that no state or output names the person. Where the
person is being erased, or was meanwhile, the file does not stay and it is collected anew later: an
``erase`` run removes only the files of runs that have ended.
"""

from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from sluice.core.event import format_ts
from sluice.warehouse import data_requests, upkeep
from worker.workflows.builtin import Again, Builtin, BuiltinStep, Context, StepError, StoppedError
from worker.workflows.builtins.reading import column, number
from worker.workflows.core.people import people_of

FILE: Final = "person.ndjson"
AGAIN_S: Final = 30.0
"""After which it is collected anew where the person is being erased."""


async def _collect(context: Context) -> Mapping[str, Any] | Again:
    tools, run = context.tools, context.run
    tenant = tools.tenants.directory.by_slug.get(run.tenant)
    shop_domains = tenant.shopify_shop_domains if tenant else ()
    people = people_of(run.tenant, context.inputs, shop_domains=shop_domains)
    if isinstance(people, str):
        raise StepError(people, rule="person_unknown")
    bound: dict[str, object] = {
        "tenant": run.tenant,
        "digests": sorted(people.digests),
        "with_shopify": people.has_shopify,
    }
    [(since,)] = await tools.warehouse.fetch(upkeep.NOW)
    visitors = await column(tools.warehouse, data_requests.VISITORS, **bound)
    bound["digests"] = digests = sorted({*people.digests, *visitors})
    records: dict[str, int] = {}
    async with tools.files.writing(run.tenant, run.run_id, FILE) as file:
        for table, query in data_requests.RECORDS.items():
            records[table] = 0
            stream = tools.warehouse.stream(query, fmt="JSONEachRow", **bound)
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    if context.stop.is_set():
                        raise StoppedError
                    records[table] += piece.count(b"\n")
                    await file.write(piece)
    if await number(tools.warehouse, data_requests.BEING_ERASED, **bound, since=since):
        await tools.files.remove(run.tenant, run.run_id)
        return Again(after_s=AGAIN_S)
    return {
        "people_sha256": people.shown,
        "digests": digests,
        "records": records,
        "collected_at": f"{format_ts(datetime.now(UTC))}Z",
        "files": [{"name": FILE, "size_bytes": file.size_bytes, "sha256": file.sha256}],
    }


BUILTIN: Final = Builtin(
    type="data-request",
    steps=(BuiltinStep(id="collect", do=_collect),),
)
