"""``GET /api/workflow/runs``, case by case (reference/amperity.md, "Test cases")."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from sluice.workflows.core.runs import Run, new_run_id, run_time
from tests.support.runs import RUNS, Runs, a_run, bearer_of


def at(tenant: str, text: str) -> Run:
    """Return a run that was created at a time."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    run_id = new_run_id(moment, f"{tenant} {text}")
    return a_run(tenant, created_at=run_time(moment), run_id=run_id)


async def test_case_01_list_is_empty_when_there_are_no_runs(runs: Runs) -> None:
    answer = await runs.get()
    assert answer.status == 200
    assert answer.json == {"data": [], "next_token": ""}


async def test_case_02_newest_run_comes_first_and_there_is_no_total(runs: Runs) -> None:
    three = [a_run(runs.slug, number) for number in range(3)]
    await runs.insert(*three)
    answer = await runs.get()
    assert [run["id"] for run in answer.json["data"]] == [run.run_id for run in reversed(three)]
    assert set(answer.json) == {"data", "next_token"}
    assert answer.json["data"][0] == {
        "id": three[2].run_id,
        "type": "amplitude.export-cohort",
        "name": "Export a cohort",
        "tenant": runs.slug,
        "state": "succeeded",
        "created_at": f"{three[2].created_at}Z",
        "ended_at": f"{three[2].ended_at}Z",
        "principal_id": "",
        "principal_name": "",
        "principal_email": "",
    }


async def test_case_03_total_is_told_when_it_is_asked_for(runs: Runs) -> None:
    await runs.insert(*(a_run(runs.slug, number) for number in range(3)))
    assert (await runs.get("?with_total=true")).json["total"] == 3


async def test_case_04_total_counts_all_pages(runs: Runs) -> None:
    await runs.insert(*(a_run(runs.slug, number) for number in range(3)))
    answer = (await runs.get("?with_total=TRUE&limit=1")).json
    assert (len(answer["data"]), answer["total"]) == (1, 3)
    assert answer["next_token"]


async def test_case_05_other_words_for_with_total_are_refused(runs: Runs) -> None:
    for word in ("yes", "1", "", "truee"):
        await runs.refused(f"?with_total={word}", "with_total", "true or false")


async def test_case_06_every_run_is_seen_once_when_tokens_are_followed(runs: Runs) -> None:
    # Two of them in one millisecond, so that only the id decides.
    made = [a_run(runs.slug, number // 2) for number in range(6)]
    await runs.insert(*made)
    seen: list[str] = []
    token = None
    while token != "":
        query = "?limit=1" if token is None else f"?limit=1&next_token={token}"
        answer = (await runs.get(query)).json
        seen += [run["id"] for run in answer["data"]]
        token = answer["next_token"]
    expected = sorted(made, key=lambda run: (run.created_at, run.run_id), reverse=True)
    assert seen == [run.run_id for run in expected]


async def test_case_07_no_run_is_missed_or_repeated_when_one_starts_between_pages(
    runs: Runs,
) -> None:
    made = [a_run(runs.slug, number) for number in range(4)]
    await runs.insert(*made)
    first = (await runs.get("?limit=2&with_total=true")).json
    await runs.insert(a_run(runs.slug, 10))
    assert (await runs.start(b'{"config_id":"og-cohort","inputs":{"cohortId":"c"}}')).status == 200
    second = (await runs.get(f"?limit=5&next_token={first['next_token']}")).json
    both = [run["id"] for run in first["data"] + second["data"]]
    assert both == [run.run_id for run in reversed(made)]
    assert second["next_token"] == ""


async def test_case_08_empty_token_is_refused(runs: Runs) -> None:
    for token in ("", "null"):
        await runs.refused(f"?next_token={token}", "next_token")


async def test_case_09_token_is_refused_with_other_filters(runs: Runs) -> None:
    await runs.insert(*(a_run(runs.slug, number) for number in range(3)))
    token = (await runs.get("?limit=1&state=succeeded")).json["next_token"]
    await runs.refused(f"?limit=1&state=failed&next_token={token}", "next_token", "same filters")
    await runs.refused(f"?limit=1&next_token={token}", "next_token")
    same = await runs.get(f"?limit=2&state=SUCCEEDED&with_total=true&next_token={token}")
    assert (len(same.json["data"]), same.json["total"]) == (2, 3)


async def test_case_10_token_of_another_tenant_is_refused_and_nothing_told(runs: Runs) -> None:
    await runs.insert(*(a_run(runs.slug, number) for number in range(3)))
    token = (await runs.get("?limit=1")).json["next_token"]
    foreign = bearer_of(runs.gateway.settings, "acme", "read")
    answer = await runs.ask("GET", f"{RUNS}?limit=1&next_token={token}", bearer=foreign)
    assert answer.status == 400
    assert "data" not in answer.json
    invented = await runs.ask("GET", f"{RUNS}?limit=1&next_token=x", bearer=foreign)
    assert answer.json["message"] == invented.json["message"]


async def test_case_11_token_is_refused_when_one_letter_changed(runs: Runs) -> None:
    await runs.insert(*(a_run(runs.slug, number) for number in range(2)))
    token = (await runs.get("?limit=1")).json["next_token"]
    changed = f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}"
    await runs.refused(f"?limit=1&next_token={changed}", "next_token")


async def test_case_12_limit_must_be_a_whole_number_from_one(runs: Runs) -> None:
    for limit in ("0", "-1", "x", "1.5", ""):
        await runs.refused(f"?limit={limit}", "limit", "whole number")
    await runs.refused("?limit=12%20?with_total=true", "limit", "Only the first ?")


async def test_case_13_limit_is_at_most_500(runs: Runs) -> None:
    await runs.insert(*(a_run(runs.slug, number) for number in range(501)))
    answer = await runs.get("?limit=10000")
    assert (answer.status, len(answer.json["data"])) == (200, 500)
    assert answer.json["next_token"]
    assert len(await runs.listed()) == 50


async def test_cases_14_to_17_times_may_be_partial_from_is_in_and_to_is_out(runs: Runs) -> None:
    midnight = at(runs.slug, "2024-02-10T00:00:00.000")
    eight = at(runs.slug, "2024-02-10T08:00:00.000")
    before = at(runs.slug, "2023-12-31T23:59:59.999")
    await runs.insert(midnight, eight, before)
    ids = {"midnight": midnight.run_id, "eight": eight.run_id, "before": before.run_id}
    for query, expected in (
        ("?created_from=2024-02-10", ["eight", "midnight"]),
        ("?created_to=2024-02-10", ["before"]),
        ("?created_from=2024", ["eight", "midnight"]),
        ("?created_from=2024-02-10T10:00:00+02:00", ["eight"]),
        ("?created_from=2024-02-10T10:00:00.0000001+02:00", []),
        ("?created_to=2024-02-10T10:00:00%2B02:00", ["midnight", "before"]),
        ("?created_from=2023-12-31T23:59:59.999Z&created_to=2024", ["before"]),
    ):
        assert await runs.listed(query) == [ids[name] for name in expected], query


async def test_case_18_list_is_empty_when_from_is_to(runs: Runs) -> None:
    await runs.insert(at(runs.slug, "2024-02-10T00:00:00"))
    assert await runs.listed("?created_from=2024-02-10&created_to=2024-02-10") == []


async def test_case_19_times_are_refused_when_they_are_none_or_in_the_wrong_order(
    runs: Runs,
) -> None:
    await runs.refused("?created_from=2024-02-11&created_to=2024-02-10", "created_from")
    await runs.refused("?created_from=yesterday", "created_from", "`yesterday`", "ISO 8601")
    await runs.refused("?ended_to=2024-13", "ended_to")


async def test_case_20_run_that_goes_on_is_left_out_when_ended_is_asked_for(runs: Runs) -> None:
    ended, running = a_run(runs.slug, 0), a_run(runs.slug, 1, state="started")
    await runs.insert(ended, running)
    assert await runs.listed("?ended_from=2000") == [ended.run_id]
    assert await runs.listed("?ended_to=2200") == [ended.run_id]
    assert await runs.listed("?ended_to=2000") == []


@pytest.mark.parametrize(
    ("case", "words", "states"),
    [
        (21, ["Succeeded", "succeeded", "SUCCEEDED"], ["succeeded"]),
        (22, ["In progress", "in_progress", "in-progress", "In+progress"], ["in progress"] * 2),
        (23, ["Stopped", "canceled", "cancelled"], ["canceled"]),
        (24, ["running"], ["in progress", "in progress", "started"]),
        (24, ["Running with failures"], ["in progress"]),
        (24, ["paused"], []),
        (24, ["started,stopping", "started&state=Canceling"], ["stopping", "started"]),
    ],
)
async def test_cases_21_to_24_state_may_be_spelt_in_any_way(
    runs: Runs, case: int, words: list[str], states: list[str]
) -> None:
    all_states = ("scheduled", "started", "in progress", "stopping", "canceled", "succeeded")
    made = [a_run(runs.slug, number, state=state) for number, state in enumerate(all_states)]
    made.append(a_run(runs.slug, 2, state="in progress", has_retry=1))
    await runs.insert(*made)
    for word in words:
        answer = await runs.get(f"?state={word.replace(' ', '%20')}")
        assert sorted(run["state"] for run in answer.json["data"]) == sorted(states), (case, word)


async def test_case_25_unknown_state_is_refused_with_the_words_there_are(runs: Runs) -> None:
    await runs.refused("?state=bogus", "`bogus`", "in progress", "cancelled", "running")
    await runs.refused("?state=", "state")
    await runs.refused("?state=failed,", "state")


async def test_case_26_and_27_type_is_matched_whole_and_in_any_case(runs: Runs) -> None:
    cohort = a_run(runs.slug, 0)
    erase = a_run(runs.slug, 1, type="erase", config_id="og-erase")
    await runs.insert(cohort, erase)
    assert await runs.listed("?type=AMPLITUDE.export-cohort") == [cohort.run_id]
    assert await runs.listed("?type=nope") == []
    assert await runs.listed("?type=amplitude") == []


async def test_case_28_unknown_parameter_is_refused_by_its_name(runs: Runs) -> None:
    await runs.refused("?sate=failed", "`sate`", "state")
    await runs.refused("?limit=1&limit=2", "limit", "once")


async def test_case_29_answer_is_401_without_a_good_token(runs: Runs) -> None:
    missing = await runs.ask("GET", RUNS, bearer=("", ""))
    expired = await runs.ask(
        "GET", RUNS, bearer=runs.bearer(exp=datetime.now(UTC) - timedelta(hours=1))
    )
    key = await runs.ask("GET", RUNS, bearer=("Authorization", f"ApiKey {runs.gateway.api_key}"))
    for answer, error_type in (
        (missing, "auth_missing"),
        (expired, "token_expired"),
        (key, "token_invalid"),
    ):
        assert (answer.status, answer.error_type) == (401, error_type)
        assert "Bearer" in answer.headers["WWW-Authenticate"]


async def test_case_30_another_tenant_in_the_header_is_refused(runs: Runs) -> None:
    answer = await runs.get("", ("amperity-tenant", "acme"))
    assert (answer.status, answer.error_type) == (403, "tenant_denied")


async def test_case_31_tenant_and_version_may_be_left_out_or_given(runs: Runs) -> None:
    assert (await runs.get()).status == 200
    given = (("amperity-tenant", runs.slug), ("api-version", "2024-04-01"))
    assert (await runs.get("?api_version=2024-04-01", *given)).status == 200


async def test_case_32_and_33_version_must_be_known_and_one(runs: Runs) -> None:
    unknown = await runs.get("", ("api-version", "1999-01-01"))
    assert unknown.status == 400
    assert "2024-04-01" in unknown.json["message"]
    await runs.refused("?api_version=1999-01-01", "2024-04-01")
    both = await runs.get("?api_version=2024-04-01", ("api-version", "2024-04-02"))
    assert both.status == 400
    assert "differ" in both.json["message"]


async def test_case_34_eleventh_request_in_a_second_is_429(runs: Runs) -> None:
    refused = []
    for _ in range(60):
        # The last hundred milliseconds pay for one more, so a slow machine needs a few more.
        answer = await runs.ask("GET", f"{RUNS}?limit=0", is_patient=False)
        if answer.status == 429:
            refused.append(answer)
            break
    assert refused, "no request was too many"
    assert refused[0].headers["Retry-After"] == "1"
    assert refused[0].error_type == "rate_limited"


async def test_case_35_other_methods_are_405(runs: Runs) -> None:
    for path, allow in (
        (RUNS, "GET, POST, HEAD, OPTIONS"),
        (f"{RUNS}/wf-20240101-00000-abcde", "GET, HEAD, OPTIONS"),
        (f"{RUNS}/wf-20240101-00000-abcde/stop", "POST, OPTIONS"),
        (f"{RUNS}/wf-20240101-00000-abcde/files/a.csv", "GET, HEAD, OPTIONS"),
    ):
        answer = await runs.ask("PUT", path)
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
        options = await runs.ask("OPTIONS", path)
        assert (options.status, options.headers["Allow"]) == (204, allow)
    head = await runs.ask("HEAD", RUNS)
    assert (head.status, head.body) == (200, b"")


async def test_case_65_list_is_the_same_with_a_trailing_slash(runs: Runs) -> None:
    run = a_run(runs.slug)
    await runs.insert(run)
    for path in ("", f"/{run.run_id}", f"/{run.run_id}/files/a.csv"):
        plain, slashed = await runs.get(path), await runs.get(f"{path}/")
        assert plain.status == slashed.status
        if plain.status == 200:
            assert plain.json == slashed.json
    stops = [await runs.ask("POST", f"{RUNS}/{run.run_id}/stop{end}") for end in ("", "/")]
    assert [answer.status for answer in stops] == [409, 409]
    started = [await runs.ask("POST", f"{RUNS}{end}", body=b"{}") for end in ("", "/")]
    assert [answer.status for answer in started] == [400, 400]


async def test_path_below_the_api_that_is_not_served_is_404_in_its_shape(runs: Runs) -> None:
    for path in ("/api/workflow/run", f"{RUNS}/x/y", f"{RUNS}//stop", f"{RUNS}/{quote('a/b')}/z"):
        answer = await runs.ask("GET", path)
        assert (answer.status, answer.error_type) == (404, "not_found")
