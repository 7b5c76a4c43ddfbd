"""Cases 102 to 105: recent errors."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.poll import poll_until
from tests.support.segops import (
    ERRORS,
    EVENT,
    VISIBLE_WITHIN_S,
    Segops,
    assert_counted,
    assert_refused,
)

BAD = {"event_type": "page_viewed"}


async def errors_when(api: Segops, count: int, query: str = "") -> Any:
    """Wait until that many error records are shown, and return them."""

    async def recorded() -> Any:
        errors = await api.errors(query)
        return errors if errors["count"] >= count else None

    errors = await poll_until(
        recorded, within_s=VISIBLE_WITHIN_S, every_s=0.05, what=f"{count} error records"
    )
    assert errors["count"] == len(errors["results"]) == count
    times = [record["ts"] for record in errors["results"]]
    assert times == sorted(times, reverse=True)
    return errors["results"]


async def test_case_102_skipped_event_leaves_a_record(api: Segops) -> None:
    answer = await api.batch([EVENT, BAD, EVENT], X_Request_Id="the-request")
    assert_counted(answer, queued=2, skipped=1)
    (record,) = await errors_when(api, 1)
    assert (record["error_type"], record["event_index"]) == ("user_id_missing", 1)
    assert (record["source"], record["request_id"]) == ("batch", "the-request")
    assert record["detail"]
    assert record["ts"].endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(record["ts"])
    assert age < timedelta(minutes=1)
    assert None not in record.values()


async def test_case_103_at_most_100_records_are_shown(api: Segops) -> None:
    assert_counted(await api.batch([BAD] * 150), queued=0, skipped=150)
    await errors_when(api, 100, "?limit=1000")
    await errors_when(api, 100, "?limit=100")
    await errors_when(api, 50)
    await errors_when(api, 7, "?limit=7")


@pytest.mark.parametrize("limit", ["0", "-1", "abc", "5.0", "%2B5", "", "%C2%B2"])
async def test_case_104_limit_that_is_no_count_is_refused(client: Segops, limit: str) -> None:
    answer = await client.get(f"{ERRORS}?limit={limit}")
    assert_refused(answer, 400, "limit_invalid", field="limit")


async def test_case_105_no_errors_are_an_empty_list(api: Segops) -> None:
    answer = await api.get(ERRORS)
    assert (answer.status, answer.json) == (200, {"count": 0, "results": []})


async def test_refused_request_leaves_a_record_without_the_offending_value(api: Segops) -> None:
    """Sections 3 and 9: every refusal of a known tenant is on record, and no value in it."""
    secret = "hunter2-hunter2"
    assert (await api.track(f'{{"user_id":"{secret}'.encode())).status == 400
    assert (await api.track({**EVENT, "occurred_at": secret})).status == 400
    assert (await api.track(EVENT, Content_Type="text/plain")).status == 415
    assert (await api.track(EVENT, Authorization=f"Bearer {api.read_token}")).status == 403
    records = await errors_when(api, 4)
    assert {record["error_type"] for record in records} == {
        "json_invalid",
        "occurred_at_invalid",
        "content_type_unsupported",
        "scope_denied",
    }
    assert secret not in str(records)
