"""The documents that are part of Sluice (reference, cases 1 to 20)."""

from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from sluice.workflows.core.document import parse
from sluice.workflows.core.input_problem import InputProblem
from sluice.workflows.shipped import SHIPPED
from tests.unit.worker.workflows.arazzo import NOW, begun, run, says, shipped, text_says
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.machine import apply, begin, next_move
from worker.workflows.core.plan import plan
from worker.workflows.core.rendering import render
from worker.workflows.core.state import Answer, Failed, FileBody, Lost, NoAnswer, Send, Stop, Wait

INGEST = shipped("ingest-and-segment")
EXPORT = shipped("export-cohort-members")
BOTH = {"apiKey": "env:KEY", "basicAuth": "env:BASIC"}
BASIC = {"basicAuth": "env:BASIC"}
EVENT = {
    "userId": "ada@example.com",
    "eventType": "page_viewed",
    "eventProperties": {"path": "/"},
    "start": "20260101",
    "end": "20260102",
}
COHORT = {"cohortId": "c1"}
TAKEN = says(events_ingested=1, server_upload_time=5)
SERIES = says(data={"series": [[1, 0]], "xValues": ["2026-01-01"]})
ASKED = says(request_id="r1", cohort_id="c1")
CSV = text_says("id\n1\n")


def test_case_1_ingest_and_segment_sends_exactly_two_requests() -> None:
    ran = run(INGEST, [TAKEN, SERIES], EVENT, BOTH)
    assert ran.urls == [
        "POST https://api2.amplitude.com/2/httpapi",
        "GET https://amplitude.com/api/2/events/segmentation"
        "?e=%7B%22event_type%22%3A%22page_viewed%22%7D&start=20260101&end=20260102&m=uniques&i=1",
    ]
    assert ran.requests[1].headers == (("Authorization", "Basic QTpC"),)
    event = orjson.loads(ran.requests[0].body or b"")
    assert event["api_key"] == "k-1"
    assert event["events"][0]["event_properties"] == {"path": "/"}
    assert ran.outputs == {"eventsIngested": 1, "series": [[1, 0]]}


@pytest.mark.parametrize(
    "day", ["2026-01-01", "202601", "2026010a", "20260101\n", "\u0662" * 8, ""]
)
def test_day_that_amplitude_would_refuse_is_refused_before_anything_is_sent(day: str) -> None:
    for name in ("start", "end"):
        refused = begin(INGEST, EVENT | {name: day}, BOTH, run_id="r", now=NOW)
        assert isinstance(refused, tuple)
        [problem] = refused
        assert problem.pointer == f"/{name}"
        assert "does not match" in problem.reason


@pytest.mark.parametrize(
    "event_type", ['say "hi" & go', "$inputs.apiKey", "{$inputs.apiKey}", "\\"]
)
def test_cases_2_and_3_an_event_type_neither_breaks_out_nor_is_replaced(event_type: str) -> None:
    ran = run(INGEST, [TAKEN, SERIES], EVENT | {"eventType": event_type}, BOTH)
    (sent,) = parse_qs(urlsplit(ran.requests[1].url).query)["e"]
    assert orjson.loads(sent) == {"event_type": event_type}
    body = orjson.loads(ran.requests[0].body or b"")
    assert body["events"][0]["event_type"] == event_type


def test_case_4_a_missing_input_leaves_its_member_out() -> None:
    given = {name: value for name, value in EVENT.items() if name != "eventProperties"}
    body = orjson.loads(run(INGEST, [], given, BOTH).requests[0].body or b"")
    assert "event_properties" not in body["events"][0]


def test_case_5_a_gate_that_nothing_opens_fails_the_run() -> None:
    ran = run(INGEST, [says(events_ingested=0, status="odd")], EVENT, BOTH)
    assert ran.error is not None
    assert (ran.error.type, ran.error.attribution) == ("sluice.workflow.step/no-action", "customer")
    assert "events_ingested > 0" in ran.error.message
    assert "'odd'" in ran.error.message
    assert len(ran.requests) == 1


def test_case_6_a_400_fails_the_run_at_once() -> None:
    ran = run(INGEST, [says(400, error="Bad")], EVENT, BOTH)
    assert ran.error is not None
    assert (ran.error.type, ran.error.attribution) == ("sluice.workflow.step/http", "customer")
    assert "400" in ran.error.message
    assert len(ran.requests) == 1


def test_case_7_a_503_is_sent_again_with_the_same_insert_id() -> None:
    ran = run(INGEST, [says(503), says(503), TAKEN, SERIES], EVENT, BOTH)
    assert len({one.body for one in ran.requests[:3]}) == 1
    assert b"insert_id" in (ran.requests[0].body or b"")
    assert ran.waits == [1.0, 2.0]
    assert ran.outputs is not None
    assert [one.outcome for one in ran.ended] == [
        "up for retry",
        "up for retry",
        "succeeded",
        "succeeded",
    ]


def test_case_8_a_429_waits_as_long_as_it_asks() -> None:
    ran = run(INGEST, [TAKEN, says(429, headers={"Retry-After": "2"}), SERIES], EVENT, BOTH)
    assert ran.waits == [2.0]
    assert ran.outputs is not None


def test_case_9_export_polls_until_the_file_is_made() -> None:
    answers = [ASKED, says(status="queued"), says(status="computing"), says(status="complete"), CSV]
    ran = run(EXPORT, answers, COHORT, BASIC)
    start = "GET https://amplitude.com/api/5/cohorts/request/c1"
    assert ran.urls == [f"{start}?props=0", *[f"{start}/status"] * 3, f"{start}/file"]
    assert ran.outputs == {"requestId": "r1", "finalStatus": "complete", "cohortFile": "id\n1\n"}
    assert 1.8 <= ran.waits[0] <= 2.2
    assert 2.7 <= ran.waits[1] <= 3.3


@pytest.mark.parametrize("status", ["failed", "Complete"])
def test_cases_10_and_11_an_unknown_state_downloads_nothing(status: str) -> None:
    ran = run(EXPORT, [ASKED, says(status=status)], COHORT, BASIC)
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.step/no-action"
    assert len(ran.requests) == 2


def test_case_12_a_poll_that_never_ends_is_ended_and_its_waits_grow() -> None:
    ran = run(EXPORT, [ASKED, *[says(status="queued")] * 600], COHORT, BASIC)
    assert ran.error is not None
    assert (ran.error.type, ran.error.attribution) == (
        "sluice.workflow.step/loop-limit",
        "customer",
    )
    assert sum(ran.waits) <= 7200
    assert ran.waits[0] < ran.waits[3] < ran.waits[6] <= 33


def test_case_12_the_number_of_visits_is_bounded_too() -> None:
    polls = [says(status="queued", headers={"Retry-After": "0"})] * 600
    ran = run(EXPORT, [ASKED, *polls], COHORT, BASIC)
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.step/loop-limit"
    assert len(ran.requests) == 501


def test_case_13_the_service_as_it_is() -> None:
    answers = [
        says(202, request_id="r/1", cohort_id="c1"),
        says(202, async_status="JOB ENQUEUED"),
        says(202, async_status="JOB INPROGRESS"),
        says(200, async_status="JOB COMPLETED"),
        CSV,
    ]
    ran = run(EXPORT, answers, COHORT, BASIC)
    start = "GET https://amplitude.com/api/5/cohorts"
    assert ran.urls == [
        f"{start}/request/c1?props=0",
        *[f"{start}/request-status/r%2F1"] * 3,
        f"{start}/request/r%2F1/file",
    ]
    assert ran.outputs == {"requestId": "r/1", "finalStatus": "complete", "cohortFile": "id\n1\n"}
    assert ran.ended[0].status == 202


def test_case_14_a_large_file_is_an_output_by_reference() -> None:
    file = FileBody(id="f1", size_bytes=50_000_000, media_type="text/csv", sha256="ab")
    answers = [ASKED, says(status="complete"), Answer(status=200, body=file)]
    ran = run(EXPORT, answers, COHORT, BASIC)
    assert ran.outputs is not None
    assert ran.outputs["cohortFile"] == {
        "$file": "f1",
        "bytes": 50_000_000,
        "media_type": "text/csv",
        "sha256": "ab",
    }


@pytest.mark.parametrize("lost_at", range(4))
def test_case_15_a_lost_worker_repeats_at_most_one_request(lost_at: int) -> None:
    answers = [ASKED, says(status="queued"), says(status="complete"), CSV]
    whole = run(EXPORT, answers, COHORT, BASIC)
    script: list[Answer | Lost] = list(answers)
    script.insert(lost_at, Lost())
    ran = run(EXPORT, script, COHORT, BASIC)
    assert ran.outputs == whole.outputs
    assert ran.urls == whole.urls[: lost_at + 1] + whole.urls[lost_at:]


def test_a_lost_upload_is_sent_again_with_the_same_insert_id() -> None:
    ran = run(INGEST, [Lost(), TAKEN, SERIES], EVENT, BOTH)
    assert ran.requests[0].body == ran.requests[1].body
    assert ran.outputs is not None


def test_case_16_stop_ends_a_wait_at_once() -> None:
    state = run(EXPORT, [ASKED], COHORT, BASIC).state
    state = apply(EXPORT, state, says(status="queued"), NOW)
    assert isinstance(next_move(EXPORT, state), Wait)
    stopped = apply(EXPORT, state, Stop(), NOW + 1)
    move = next_move(EXPORT, stopped)
    assert isinstance(move, Failed)
    assert move.error.type == "sluice.workflow.run/cancel"
    assert move.error.message == "Workflow manually stopped"
    assert apply(EXPORT, stopped, Stop(), NOW + 2) == stopped


@pytest.mark.parametrize(("given", "sent"), [({}, "0"), ({"includeProps": 1}, "1")])
def test_case_17_a_default_is_filled_in(given: dict[str, object], sent: str) -> None:
    ran = run(EXPORT, [], COHORT | given, BASIC)
    assert ran.requests[0].url.endswith(f"?props={sent}")


def test_case_17_a_value_outside_of_the_schema_is_refused() -> None:
    found = begin(EXPORT, COHORT | {"includeProps": 3}, BASIC, run_id="wf-1", now=NOW)
    assert found == (InputProblem("/includeProps", "is not one of 0 or 1"),)


def test_case_18_a_missing_input_is_refused() -> None:
    found = begin(EXPORT, {}, BASIC, run_id="wf-1", now=NOW)
    assert found == (InputProblem("", '"cohortId" is a required property'),)


def test_case_19_a_path_parameter_stays_one_segment() -> None:
    ran = run(EXPORT, [], {"cohortId": "a/b?c"}, BASIC)
    assert ran.urls == ["GET https://amplitude.com/api/5/cohorts/request/a%2Fb%3Fc?props=0"]


def test_case_20_credentials_with_a_line_break_are_not_sent() -> None:
    state = begun(EXPORT, COHORT, BASIC)
    with pytest.raises(ValueError, match="line break") as refused:
        render(EXPORT, state, {"env:BASIC": "a\r\nX-Evil: 1"})
    assert "Evil" not in str(refused.value)
    failed = apply(
        EXPORT, state, NoAnswer(kind="unsendable", detail=str(refused.value), was_sent=False), NOW
    )
    move = next_move(EXPORT, failed)
    assert isinstance(move, Failed)
    assert (move.error.type, move.error.attribution) == ("sluice.workflow.step/http", "customer")


def test_a_secret_that_is_not_there_is_not_sent_as_nothing() -> None:
    with pytest.raises(ValueError, match="secret"):
        render(EXPORT, begun(EXPORT, COHORT, BASIC), {})


def test_what_is_shown_and_kept_of_a_run_holds_no_secret() -> None:
    ran = run(INGEST, [TAKEN, SERIES], EVENT, BOTH)
    state = begun(INGEST, EVENT, BOTH)
    move = next_move(INGEST, state)
    assert isinstance(move, Send)
    assert b'"api_key":"***"' in (move.request.body or b"")
    for shown in (repr(move), repr(ran.state), repr(ran.requests)):
        assert "QTpC" not in shown
        assert "k-1" not in shown


def test_a_region_picks_its_server_and_an_address_of_ours_replaces_the_origin() -> None:
    european = shipped("export-cohort-members", Addresses(region="eu"))
    assert (
        run(european, [], COHORT, BASIC).urls[0].startswith("GET https://analytics.eu.amplitude.")
    )
    local = Addresses(region="eu", amplitude_url="http://127.0.0.1:9000")
    moved = shipped("export-cohort-members", local)
    assert run(moved, [], COHORT, BASIC).urls[0].startswith("GET http://127.0.0.1:9000/api/5/")


def test_another_plan_cannot_go_on_with_a_run() -> None:
    with pytest.raises(ValueError, match="plan"):
        next_move(INGEST, begun(EXPORT, COHORT, BASIC))


def test_shipped_documents_are_warned_of_nothing() -> None:
    assert (INGEST.warnings, EXPORT.warnings) == ((), ())


def test_shipped_documents_keep_to_the_letter_of_the_specification() -> None:
    for page in SHIPPED.glob("*.arazzo.yaml"):
        read = parse(page.read_bytes() + b"x-sluice-strict: true\n")
        assert not isinstance(read, tuple)
        sources = {one.name: (SHIPPED / one.url).read_bytes() for one in read.sources}
        assert not isinstance(plan(read, sources), tuple)
