"""What each answer of Amplitude means (reference, "What to do with each answer")."""

import orjson
import pytest

from worker.core.amplitude_answers import (
    Answer,
    Held,
    NoAnswer,
    Refused,
    Suspect,
    Taken,
    Throttled,
    TooLarge,
    judge,
)

USERS = ["ada", "bob", "ada", "cy"]


def answer(status: int, **body: object) -> Answer:
    return Answer(status, orjson.dumps({"code": status, **body}))


def test_a_200_that_counts_every_event_takes_them_all() -> None:
    assert judge(answer(200, events_ingested=4), USERS) == Taken()


def test_a_200_that_counts_fewer_is_looked_into() -> None:
    verdict = judge(answer(200, events_ingested=3), USERS)
    assert isinstance(verdict, Suspect)
    assert verdict.reason == "not_counted"


def test_another_2xx_takes_them_all_whatever_its_body() -> None:
    assert judge(Answer(204, b""), USERS) == Taken()


@pytest.mark.parametrize("body", [b"", b'{"code":200,"events_inge', b"<html>ok</html>", b"{}"])
def test_a_200_that_does_not_say_so_takes_nothing(body: bytes) -> None:
    verdict = judge(Answer(200, body), USERS)
    assert isinstance(verdict, Held)
    assert verdict.reason == "unavailable"


def test_the_code_in_the_body_counts_more_than_the_status_line() -> None:
    verdict = judge(Answer(200, b'{"code":429,"error":"Too many requests"}'), USERS)
    assert verdict == Held("project_throttled", "Amplitude answered 429: Too many requests")


@pytest.mark.parametrize("status", [302, 400, 401, 403, 413, 429, 500, 503])
def test_a_success_in_the_body_of_a_refusal_takes_nothing(status: int) -> None:
    verdict = judge(Answer(status, b'{"code":200,"events_ingested":4}'), USERS)
    assert not isinstance(verdict, Taken)


@pytest.mark.parametrize("status", [400, 401, 403, 413, 429, 500])
def test_no_words_of_an_answer_show_the_api_key(status: int) -> None:
    said = answer(
        status, error="x" * 290 + " key k-secret-k", events_with_invalid_fields={"k-secret-k": [1]}
    )
    verdict = repr(judge(said, USERS, secret="k-secret-k"))
    assert "k-se" not in verdict
    assert "x" * 290 in verdict


@pytest.mark.parametrize("member", ["events_with_missing_fields", "events_with_invalid_fields"])
def test_events_that_are_named_are_refused_with_amplitudes_words(member: str) -> None:
    verdict = judge(answer(400, error="Bad", **{member: {"time": [1, 3]}}), USERS)
    assert isinstance(verdict, Refused)
    assert sorted(verdict.bad) == [1, 3]
    assert "Bad" in verdict.bad[1]
    assert "time" in verdict.bad[1]


def test_too_short_ids_and_silenced_events_are_refused_together() -> None:
    body = {"events_with_invalid_id_lengths": {"user_id": [0]}, "silenced_events": [2]}
    verdict = judge(answer(400, error="Bad", **body), USERS)
    assert isinstance(verdict, Refused)
    assert sorted(verdict.bad) == [0, 2]


def test_indexes_outside_the_request_name_nothing() -> None:
    verdict = judge(answer(400, error="Bad", events_with_missing_fields={"time": [4, -1]}), USERS)
    assert verdict == Suspect("malformed", "Amplitude answered 400: Bad")


@pytest.mark.parametrize(
    "body",
    [
        {"error": "Invalid API key: 0123456789abcdef"},
        {"error": "Request missing required field", "missing_field": "api_key"},
        {"error": "Invalid request path"},
    ],
)
def test_a_key_or_path_that_is_refused_holds_the_project(body: dict[str, str]) -> None:
    verdict = judge(answer(400, **body), USERS)
    assert isinstance(verdict, Held)
    assert verdict.reason == "bad_credentials"


def test_the_key_is_not_repeated_in_what_people_read() -> None:
    verdict = judge(answer(400, error="Invalid API key: 0123456789abcdef"), USERS)
    assert isinstance(verdict, Held)
    assert "0123" not in verdict.detail


@pytest.mark.parametrize("status", [301, 302, 307, 401, 404, 405])
def test_a_wrong_host_holds_the_project_like_a_wrong_key(status: int) -> None:
    verdict = judge(Answer(status, b"<html>"), USERS)
    assert isinstance(verdict, Held)
    assert verdict.reason == "bad_credentials"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 599])
def test_a_server_error_holds_the_project_as_unavailable(status: int) -> None:
    verdict = judge(Answer(status, b"<html>"), USERS)
    assert isinstance(verdict, Held)
    assert verdict.reason == "unavailable"


def test_no_answer_holds_the_project_as_unavailable() -> None:
    assert judge(NoAnswer("reset"), USERS) == Held("unavailable", "reset")


def test_a_413_says_that_the_request_is_too_large() -> None:
    assert isinstance(judge(answer(413, error="Payload too large"), USERS), TooLarge)


@pytest.mark.parametrize("status", [400, 403, 418])
def test_a_refusal_that_names_nothing_is_looked_into(status: int) -> None:
    assert isinstance(judge(Answer(status, b"no"), USERS), Suspect)


def test_a_429_names_the_throttled_users_by_index_or_by_id() -> None:
    verdict = judge(
        answer(429, throttled_events=[1], throttled_users={"cy": 31, "zoe": 40}, eps_threshold=10),
        USERS,
    )
    assert verdict == Throttled(
        frozenset({"bob", "cy"}), frozenset(), "Amplitude answered 429", eps=10
    )


def test_a_user_over_quota_is_not_merely_throttled() -> None:
    verdict = judge(
        answer(429, throttled_events=[0, 1, 2], exceeded_daily_quota_users={"ada": 500_200}), USERS
    )
    assert isinstance(verdict, Throttled)
    assert (verdict.users, verdict.quota_users) == (frozenset({"bob"}), frozenset({"ada"}))


def test_a_429_that_names_nobody_throttles_the_project_for_the_time_it_says() -> None:
    assert judge(Answer(429, b"slow down", retry_after_s=7.0), USERS) == Held(
        "project_throttled", "Amplitude answered 429 with a body that is not its own", 7.0
    )


def test_a_body_with_members_of_other_types_is_judged_by_its_status() -> None:
    verdict = judge(Answer(503, b'{"code":"x","error":5}'), USERS)
    assert isinstance(verdict, Held)
    assert verdict.reason == "unavailable"
