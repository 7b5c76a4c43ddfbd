"""What ``sluice doctor`` takes from the gateway's own words."""

import errno
from typing import Any

import pytest

from sluice.cli import checks
from sluice.cli.checks import _why, _worker
from sluice.cli.findings import warehouse_remedy
from sluice.core.errors import WarehouseUnavailableError

DOWN = {"condition": "unavailable", "detail": "Pub/Sub does not answer.", "since": 1_700_000_000.5}
SAID = {
    "in seconds": ({"queue": DOWN}, ("Pub/Sub does not answer.", "2023-11-14T22:13:20+00:00")),
    "as text": (
        {"queue": {**DOWN, "since": "2023-11-14T22:13:20Z"}},
        ("Pub/Sub does not answer.", "2023-11-14T22:13:20Z"),
    ),
    "without time": ({"queue": {"condition": "full", "detail": "x"}}, ("x", None)),
    "for ever": ({"queue": {**DOWN, "since": 1e300}}, ("Pub/Sub does not answer.", None)),
    "all well": ({"queue": {**DOWN, "condition": "ok"}}, ("", None)),
    "says nothing": ({"ready": True}, ("", None)),
    "no answer": ("connection refused", ("", None)),
}


@pytest.mark.parametrize(("ready", "words"), SAID.values(), ids=SAID.keys())
def test_why_and_since_when_are_the_gateways_own_words(
    ready: dict[str, Any] | str, words: tuple[str, str | None]
) -> None:
    assert _why(ready) == words


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"destinations": []},
        {"heartbeat_age_s": 0, "destinations": {"x": {"parked_events": -1}}},
    ],
)
async def test_what_answers_nonsense_is_no_worker(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    async def get(_: str) -> dict[str, Any]:
        return said

    monkeypatch.setattr(checks, "_get", get)
    found = await _worker("http://127.0.0.1:8082")
    assert found.detail == "no answer at http://127.0.0.1:8082 (what answers there is not Sluice)"


async def test_a_destination_that_is_degraded_is_named_with_what_it_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = {
        "heartbeat_age_s": 0.1,
        "destinations": {
            "amplitude": {
                "backlog_age_s": 9.2,
                "breaker": "open",
                "state": "degraded",
                "detail": "",
                "troubles": ["demo: unavailable since … (Amplitude answered 503)"],
            }
        },
    }

    async def get(_: str) -> dict[str, Any]:
        return status

    monkeypatch.setattr(checks, "_get", get)
    found = await _worker("http://127.0.0.1:8082")
    assert found.detail == (
        "degraded: amplitude (9 s behind, breaker open);"
        " amplitude: demo: unavailable since … (Amplitude answered 503)"
    )


@pytest.mark.parametrize(
    ("cause", "is_remote", "remedy"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), False, "start it: `sluice run`"),
        (FileNotFoundError(errno.ENOENT, "x"), False, "start it: `sluice run`"),
        (TimeoutError(), False, "see its log"),
        (TimeoutError(), True, "check SLUICE_WAREHOUSE_URL"),
    ],
)
def test_what_to_do_about_a_silent_warehouse_depends_on_whose_it_is_and_how_it_is_silent(
    cause: Exception, *, is_remote: bool, remedy: str
) -> None:
    error = WarehouseUnavailableError("the warehouse did not answer")
    error.__cause__ = cause
    assert warehouse_remedy(error, is_remote=is_remote) == remedy
