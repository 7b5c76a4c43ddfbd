"""The simulator's dashboard half against the numbered cases of Amplitude's documented behaviour."""

import asyncio
import gzip
import io
import zipfile
from collections import Counter
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.amplitude import AmplitudeProject, Reply

DAY_S = 86_400
NOON = 1_772_366_400
"""Sunday, 1 March 2026, 12:00 UTC."""
SEGMENTATION = "/api/2/events/segmentation"
DELETIONS = "/api/2/deletions/users"
EXPORT = "/api/5/cohorts/request"
TWO_DAYS = {"start": "20260228", "end": "20260301"}


@pytest.fixture
async def stored(amplitude: AmplitudeProject) -> AmplitudeProject:
    """A project with events of two days: on the first by two users, on the second by one."""
    await amplitude.set(clock={"set": NOON})
    days = [("a", 0), ("b", 0), ("b", 0), ("a", 1)]
    events = [
        {
            "event_type": "page_viewed",
            "user_id": f"user-{user}",
            "insert_id": f"insert-{n}",
            "time": (NOON - DAY_S * (1 - day)) * 1000,
            "event_properties": {"page": f"page-{n % 2}", "size": n},
        }
        for n, (user, day) in enumerate(days)
    ]
    assert (await amplitude.upload(*events, events[0])).status == 200
    return amplitude


async def segmentation(project: AmplitudeProject, **query: Any) -> Reply:
    given = {"e": {"event_type": "page_viewed"}, **TWO_DAYS, **query}
    text = {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in given.items()
        if value is not None
    }
    return await project.get(SEGMENTATION, **text)


async def test_case_56_segmentation_counts_distinct_users(stored: AmplitudeProject) -> None:
    reply = await segmentation(stored)
    assert (reply.status, reply.json) == (
        200,
        {
            "data": {
                "series": [[2, 1]],
                "seriesLabels": [0],
                "seriesCollapsed": [[{"value": 2}]],
                "xValues": ["2026-02-28", "2026-03-01"],
            }
        },
    )


async def test_case_57_totals_count_events_after_deduplication(stored: AmplitudeProject) -> None:
    data = (await segmentation(stored, m="totals")).json["data"]
    assert (data["series"], data["seriesCollapsed"]) == ([[3, 1]], [[{"value": 4}]])


async def test_case_58_unknown_event_has_zeros(stored: AmplitudeProject) -> None:
    reply = await segmentation(stored, e={"event_type": "never_seen"})
    assert (reply.status, reply.json["data"]["series"]) == (200, [[0, 0]])


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"e": "{"}, id="case_59_not_json"),
        pytest.param({"e": None}, id="no_event"),
        pytest.param({"start": None}, id="case_60_no_start"),
        pytest.param({"end": "20260101"}, id="end_before_start"),
        pytest.param({"start": "20250101"}, id="too_many_days"),
        pytest.param({"m": "histogram"}, id="metric"),
        pytest.param({"limit": "1001"}, id="limit"),
    ],
)
async def test_case_59_and_60_query_that_is_none(
    stored: AmplitudeProject, query: dict[str, object]
) -> None:
    assert (await segmentation(stored, **query)).status == 400


@pytest.mark.parametrize("header", [None, "Bearer x", "Basic !", "Basic bm8=", "Basic YTpi"])
async def test_case_61_bad_credentials(amplitude: AmplitudeProject, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    assert (await amplitude.call("GET", "/api/3/cohorts", headers=headers)).status == 401


async def test_case_61_bad_secret_is_403_when_set_so(amplitude: AmplitudeProject) -> None:
    await amplitude.set(denied_status=403, secret_key="another")
    reply = await amplitude.get("/api/3/cohorts")
    assert (reply.status, reply.json["error"]["http_code"]) == (403, 403)


async def test_case_62_sixth_request_at_once(stored: AmplitudeProject) -> None:
    await stored.set(latency_ms=100)
    async with asyncio.TaskGroup() as tasks:
        sent = [
            tasks.create_task(segmentation(stored) if n % 2 else stored.get("/api/3/cohorts"))
            for n in range(6)
        ]
    replies = [task.result() for task in sent]
    assert Counter(reply.status for reply in replies) == {200: 5, 429: 1}
    assert any(b"concurrency limit" in reply.body for reply in replies)


async def test_case_63_third_year_in_five_minutes_costs_too_much(stored: AmplitudeProject) -> None:
    year = {"start": "20250302", "end": "20260301"}
    assert [(await segmentation(stored, **year)).status for _ in range(2)] == [200, 200]
    refused = await segmentation(stored, **year)
    assert refused.status == 429
    assert b"cost limit" in refused.body
    await stored.set(clock={"advance_s": 300})
    assert (await segmentation(stored, **year)).status == 200


@pytest.mark.parametrize(
    ("query", "series", "labels"),
    [
        (
            {"e": {"event_type": "_all", "group_by": [{"type": "event", "value": "page"}]}},
            [[1, 1], [2, 0]],
            [[0, "page-1"], [0, "page-0"]],
        ),
        ({"e2": {"event_type": "other"}}, [[2, 1], [0, 0]], [0, 1]),
        ({"m": "average"}, [[1.5, 1]], [0]),
        ({"m": "pct_dau"}, [[100, 100]], [0]),
        ({"s": [{"prop": "user_id", "op": "is", "values": ["user-b"]}]}, [[1, 0]], [0]),
        ({"s": [{"prop": "userdata_cohort", "op": "is", "values": ["c1"]}]}, [[1, 1]], [0]),
        ({"g": "gp:plan"}, [[1, 0], [1, 1]], [[0, "(none)"], [0, "pro"]]),
        (
            {
                "e": {
                    "event_type": "page_viewed",
                    "filters": [
                        {
                            "subprop_type": "event",
                            "subprop_key": "size",
                            "subprop_op": "greater",
                            "subprop_value": [1],
                        }
                    ],
                }
            },
            [[1, 1]],
            [0],
        ),
        ({"i": "-3600000", "start": "20260301", "m": "totals"}, [[0] * 12 + [1] + [0] * 11], [0]),
        ({"i": "7", "m": "totals"}, [[4]], [0]),
        ({"i": "30", "m": "totals"}, [[3, 1]], [0]),
    ],
)
async def test_segmentation_by_groups_filters_and_intervals(
    stored: AmplitudeProject, query: dict[str, object], series: object, labels: object
) -> None:
    await stored.set(cohorts=[{"id": "c1", "user_ids": ["user-a"]}])
    identify = {"event_type": "$identify", "user_id": "user-a", "user_properties": {"plan": "pro"}}
    await stored.upload(identify)
    data = (await segmentation(stored, **query)).json["data"]
    pairs = sorted(zip(data["seriesLabels"], data["series"], strict=True), key=str)
    expected = zip(labels, series, strict=True)  # type: ignore[call-overload]
    assert pairs == sorted(expected, key=str)


async def test_segmentation_sums_revenue(stored: AmplitudeProject) -> None:
    order = {"event_type": "order_placed", "user_id": "user-a", "price": 2.5, "quantity": 4}
    await stored.upload(order)
    data = (await segmentation(stored, e={"event_type": "revenue_amount"}, m="totals")).json["data"]
    assert data["series"] == [[0, 10]]


COHORT = {"id": "c1", "name": "Buyers", "user_ids": ["user-a", "user-b"]}


@pytest.fixture
async def cohort(stored: AmplitudeProject) -> AmplitudeProject:
    """A project with a cohort, a hidden one, and one whose exports fail."""
    hidden = {"id": "hidden", "hidden": True}
    failing = {"id": "failing", "fails": True, "polls": 0}
    await stored.set(cohorts=[COHORT, hidden, failing])
    return stored


async def export(project: AmplitudeProject, cohort_id: str = "c1", **query: str) -> str:
    """Request an export and return its id."""
    reply = await project.get(f"{EXPORT}/{cohort_id}", **query)
    assert (reply.status, reply.json["cohort_id"]) == (202, cohort_id)
    return str(reply.json["request_id"])


async def finished(project: AmplitudeProject, **query: str) -> str:
    """Request an export, wait for its end and return its id."""
    request_id = await export(project, **query)
    while (await project.get(f"{EXPORT}-status/{request_id}")).status == 202:
        pass
    return request_id


async def test_case_64_list_of_cohorts(cohort: AmplitudeProject) -> None:
    reply = await cohort.get("/api/3/cohorts")
    assert reply.status == 200
    assert [(one["id"], one["name"], one["size"]) for one in reply.json["cohorts"]] == [
        ("c1", "Buyers", 2),
        ("failing", "failing", 0),
    ]


async def test_case_65_request_of_an_export(cohort: AmplitudeProject) -> None:
    reply = await cohort.get(f"{EXPORT}/c1")
    assert (reply.status, reply.json.keys()) == (202, {"request_id", "cohort_id"})
    await cohort.set(dialect="given")
    assert (await cohort.get(f"{EXPORT}/c1")).status == 200


@pytest.mark.parametrize("cohort_id", ["unknown", "hidden"])
async def test_case_66_unknown_cohort(cohort: AmplitudeProject, cohort_id: str) -> None:
    assert (await cohort.get(f"{EXPORT}/{cohort_id}")).status == 404


async def test_case_67_fifth_running_request(cohort: AmplitudeProject) -> None:
    for _ in range(4):
        await export(cohort)
    assert (await cohort.get(f"{EXPORT}/c1")).status == 429
    await cohort.set(clock={"advance_s": 600})
    await export(cohort)


async def test_case_68_status_by_request(cohort: AmplitudeProject) -> None:
    request_id = await export(cohort)
    said = [await cohort.get(f"{EXPORT}-status/{request_id}") for _ in range(3)]
    assert [one.status for one in said] == [202, 202, 200]
    common = {"request_id": request_id, "cohort_id": "c1"}
    assert said[0].json == {**common, "async_status": "JOB INPROGRESS"}
    assert said[2].json == {**common, "async_status": "JOB COMPLETED"}


async def test_case_69_status_by_cohort(cohort: AmplitudeProject) -> None:
    await export(cohort)
    said = [await cohort.get(f"{EXPORT}/c1/status") for _ in range(3)]
    assert [one.status for one in said] == [200, 200, 200]
    assert [(one.json["status"], one.json["async_status"]) for one in said] == [
        ("queued", "JOB INPROGRESS"),
        ("computing", "JOB INPROGRESS"),
        ("complete", "JOB COMPLETED"),
    ]


async def test_case_70_job_that_fails(cohort: AmplitudeProject) -> None:
    request_id = await export(cohort, "failing")
    reply = await cohort.get(f"{EXPORT}/failing/status")
    assert (reply.status, reply.json["status"], reply.json["async_status"]) == (
        200, "failed", "JOB FAILED",
    )  # fmt: skip
    reply = await cohort.get(f"{EXPORT}-status/{request_id}")
    assert (reply.status, reply.json["async_status"]) == (200, "JOB FAILED")
    assert (await cohort.get(f"{EXPORT}/{request_id}/file")).status == 404


async def test_case_71_unknown_request(cohort: AmplitudeProject) -> None:
    assert (await cohort.get(f"{EXPORT}-status/unknown")).status == 404
    assert (await cohort.get(f"{EXPORT}/c1/status")).status == 404


async def test_case_72_file_before_it_is_done(cohort: AmplitudeProject) -> None:
    request_id = await export(cohort)
    assert (await cohort.get(f"{EXPORT}/{request_id}/file")).status == 404


@pytest.mark.parametrize("by_cohort", [False, True])
async def test_case_73_small_file(cohort: AmplitudeProject, by_cohort: bool) -> None:
    identify = {"event_type": "$identify", "user_id": "user-a", "user_properties": {"plan": "pro"}}
    await cohort.upload(identify)
    request_id = await finished(cohort, props="1")
    reply = await cohort.get(f"{EXPORT}/{'c1' if by_cohort else request_id}/file")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/csv")
    rows = [line.split(",") for line in reply.body.decode().splitlines()]
    assert rows[0] == ["amplitude_id", "user_id", "plan"]
    assert [row[1:] for row in rows[1:]] == [["user-a", "pro"], ["user-b", ""]]


@pytest.fixture
async def link(cohort: AmplitudeProject) -> str:
    """A link to a file that counts as large."""
    await cohort.set(link_above_bytes=10)
    reply = await cohort.get(f"{EXPORT}/{await finished(cohort)}/file")
    assert reply.status == 302
    return str(reply.headers["Location"])


async def test_case_74_large_file_is_a_signed_link(cohort: AmplitudeProject, link: str) -> None:
    assert not link.startswith(cohort.url)
    async with cohort.session.get(link) as response:
        assert (response.status, (await response.read())[:21]) == (200, b"amplitude_id,user_id\n")
    async with cohort.session.get(link[:-1] + ("0" if link[-1] != "0" else "1")) as response:
        assert response.status == 403


async def test_case_75_signed_link_with_credentials(cohort: AmplitudeProject, link: str) -> None:
    async with cohort.session.get(link, headers=cohort.credentials) as response:
        assert response.status == 400


async def test_case_76_signed_link_after_its_minute(cohort: AmplitudeProject, link: str) -> None:
    await cohort.set(clock={"advance_s": 61})
    async with cohort.session.get(link) as response:
        assert response.status == 403


async def test_case_77_file_after_eight_days(cohort: AmplitudeProject) -> None:
    request_id = await finished(cohort)
    await cohort.set(clock={"advance_s": 8 * DAY_S})
    assert (await cohort.get(f"{EXPORT}/{request_id}/file")).status == 410


async def test_cohort_of_those_who_did_something(stored: AmplitudeProject) -> None:
    await stored.set(cohorts=[{"id": "viewers", "event_type": "page_viewed"}])
    cohorts = (await stored.get("/api/3/cohorts")).json["cohorts"]
    assert [one["size"] for one in cohorts] == [2]


async def test_cohort_is_uploaded_and_its_members_change(stored: AmplitudeProject) -> None:
    given = {"name": "Mine", "app_id": 1, "id_type": "BY_USER_ID", "owner": "a@example.com"}
    reply = await stored.call(
        "POST",
        "/api/3/cohorts/upload",
        json={**given, "ids": ["user-a", "x"]},
        headers=stored.credentials,
    )
    assert reply.json["metadata"] == [{"matched": 1, "totals": 2, "invalid_ids_sample": ["x"]}]
    changes = [
        {"ids": ["user-b", "x"], "id_type": "BY_ID", "operation": "ADD"},
        {"ids": ["user-a"], "id_type": "BY_ID", "operation": "REMOVE"},
    ]
    body = {"cohort_id": reply.json["cohortId"], "memberships": changes}
    reply = await stored.call(
        "POST", "/api/3/cohorts/membership", json=body, headers=stored.credentials
    )
    assert reply.json["memberships_result"] == [
        {"skipped_ids": ["x"], "operation": "ADD"},
        {"skipped_ids": [], "operation": "REMOVE"},
    ]
    reply = await stored.call("POST", "/api/3/cohorts/upload", json={}, headers=stored.credentials)
    assert (reply.status, reply.json["error"]["http_code"]) == (400, 400)


async def delete(project: AmplitudeProject, *user_ids: str, **members: object) -> Reply:
    body = {"user_ids": user_ids, "requester": "a@example.com", **members}
    return await project.call("POST", DELETIONS, json=body, headers=project.credentials)


async def listed(
    project: AmplitudeProject, start: str = "2026-03-01", end: str = "2026-05-01"
) -> Reply:
    return await project.get(DELETIONS, start_day=start, end_day=end)


async def test_case_78_deletion_of_known_users(stored: AmplitudeProject) -> None:
    reply = await delete(stored, "user-a", "user-b", include_mapped_user_ids=True)
    assert reply.status == 200
    assert (reply.json["day"], reply.json["status"]) == ("2026-03-31", "staging")
    assert [one["user_id"] for one in reply.json["amplitude_ids"]] == ["user-a", "user-b"]
    assert {one["requested_on_day"] for one in reply.json["amplitude_ids"]} == {"2026-03-01"}


async def test_case_79_unknown_user_refuses_all(stored: AmplitudeProject) -> None:
    assert (await delete(stored, "user-a", "nobody")).status == 400
    assert (await listed(stored)).json == []


@pytest.mark.parametrize("flag", ["ignore_invalid_id", "ignore_invalid_ids", "delete_from_org"])
async def test_case_80_unknown_user_is_named_when_ignored(
    stored: AmplitudeProject, flag: str
) -> None:
    reply = await delete(stored, "user-a", "nobody", **{flag: True})
    assert (reply.status, reply.json["invalid_ids"]) == (200, ["nobody"])
    assert len(reply.json["amplitude_ids"]) == 1


async def test_case_81_too_many_ids(stored: AmplitudeProject) -> None:
    ids = [f"user-{n}" for n in range(101)]
    assert (await delete(stored, *ids, ignore_invalid_id=True)).status == 400


async def test_case_82_second_deletion_within_a_second(stored: AmplitudeProject) -> None:
    assert (await delete(stored, "user-a")).status == 200
    assert (await delete(stored, "user-b")).status == 429
    await stored.set(clock={"advance_s": 1})
    reply = await delete(stored, "user-b")
    assert (reply.status, len(reply.json["amplitude_ids"])) == (200, 2)


async def test_case_83_list_of_seven_months(stored: AmplitudeProject) -> None:
    assert (await listed(stored, "2026-01-01", "2026-08-01")).status == 400
    assert (await listed(stored, "2026-01-01", "2026-06-30")).status == 200
    assert (await stored.get(DELETIONS, start_day="2026-01-01")).status == 400


async def test_case_84_deletion_is_submitted_and_done(stored: AmplitudeProject) -> None:
    await delete(stored, "user-a")
    await stored.set(clock={"advance_s": 28 * DAY_S})
    assert [job["status"] for job in (await listed(stored)).json] == ["submitted"]
    assert {row["user_id"] for row in await stored.taken()} == {"user-a", "user-b"}
    await stored.set(clock={"advance_s": 2 * DAY_S})
    (job,) = (await listed(stored)).json
    assert (job["status"], job["active_scrub_done_date"]) == ("done", "2026-03-31")
    assert {row["user_id"] for row in await stored.taken()} == {"user-b"}
    again = {"event_type": "page_viewed", "user_id": "user-a", "insert_id": "insert-0"}
    assert (await stored.upload(again, again)).status == 200
    rows = [row for row in await stored.taken() if row["user_id"] == "user-a"]
    assert [row["copies"] for row in rows] == [2]


async def test_user_is_taken_out_of_a_deletion_while_it_can_change(
    stored: AmplitudeProject,
) -> None:
    (entry,) = (await delete(stored, "user-a")).json["amplitude_ids"]
    path = f"{DELETIONS}/{entry['amplitude_id']}/2026-03-31"
    assert (await stored.call("DELETE", path, headers=stored.credentials)).status == 200
    assert (await stored.call("DELETE", path, headers=stored.credentials)).status == 404
    assert [job["amplitude_ids"] for job in (await listed(stored)).json] == [[]]


async def test_fault_meets_the_dashboard_where_its_path_is_named(stored: AmplitudeProject) -> None:
    await stored.set(fault="503", times=1, paths=["/api/"])
    assert (await stored.upload({"event_type": "a", "user_id": "user-a"})).status == 200
    assert [(await segmentation(stored)).status for _ in range(2)] == [503, 200]


async def test_hanging_request_counts_as_one_on_its_way(stored: AmplitudeProject) -> None:
    """The client itself asks once more after a reset."""
    await stored.set(fault="hang", seconds=0.1, times=10, paths=["/api/"])
    async with asyncio.TaskGroup() as tasks:
        hanging = [tasks.create_task(ends_in_error(stored)) for _ in range(5)]
    assert all(task.result() for task in hanging)
    assert (await segmentation(stored)).status == 200


async def ends_in_error(project: AmplitudeProject) -> bool:
    try:
        await project.call("GET", "/api/3/cohorts", headers=project.credentials)
    except aiohttp.ClientConnectionError:
        return True
    return False


def exported(reply: Reply) -> list[dict[str, Any]]:
    """Return the events of an archive, in order."""
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        files = [gzip.decompress(archive.read(name)) for name in archive.namelist()]
    return [orjson.loads(line) for data in files for line in data.splitlines()]


async def export_of(project: AmplitudeProject, start: str, end: str) -> Reply:
    return await project.get("/api/2/export", start=start, end=end)


async def test_export_is_a_zip_of_gzipped_lines_by_the_hour_of_upload(
    stored: AmplitudeProject,
) -> None:
    await stored.set(clock={"advance_s": 3 * 3600})
    reply = await export_of(stored, "20260301T12", "20260301T12")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/zip")
    events = exported(reply)
    assert [one["$insert_id"] for one in events] == [f"insert-{n}" for n in range(4)]
    assert events[0]["event_time"] == "2026-02-28 12:00:00.000000"
    assert events[0]["server_upload_time"].startswith("2026-03-01 12:00:0")
    assert len({one["uuid"] for one in events}) == 4
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        [name] = archive.namelist()
    assert name.endswith("_2026-03-01_12#0.json.gz")
    assert (await export_of(stored, "20260301T13", "20260301T14")).status == 404


async def test_export_holds_an_hour_two_hours_after_its_end(stored: AmplitudeProject) -> None:
    assert (await export_of(stored, "20260301T12", "20260301T12")).status == 404
    await stored.set(clock={"set": NOON + 3 * 3600 - 1})
    assert (await export_of(stored, "20260301T12", "20260301T12")).status == 404
    await stored.set(clock={"set": NOON + 3 * 3600})
    assert (await export_of(stored, "20260301T12", "20260301T12")).status == 200


async def test_export_shows_what_a_test_removed_and_doubled(stored: AmplitudeProject) -> None:
    await stored.set(export_delay_s=None, remove=["insert-1"], double=["insert-2"])
    events = exported(await export_of(stored, "20260301T00", "20260301T23"))
    ids = Counter(one["$insert_id"] for one in events)
    assert ids == {"insert-0": 1, "insert-2": 2, "insert-3": 1}
    series = (await segmentation(stored, m="totals")).json["data"]["series"]
    assert sum(series[0]) == 4


@pytest.mark.parametrize(
    ("start", "end"),
    [("20260301", "20260301T00"), ("20260301T05", "20260301T04"), ("20250101T00", "20260301T00")],
    ids=["no hour", "backwards", "over a year"],
)
async def test_export_refuses_hours_that_it_cannot_read(
    stored: AmplitudeProject, start: str, end: str
) -> None:
    assert (await export_of(stored, start, end)).status == 400
