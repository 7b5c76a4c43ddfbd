"""What a failed call to Pub/Sub means."""

import pytest
from google.api_core import exceptions as google
from google.auth import exceptions as auth

from sluice.queue.pubsub_faults import TRANSIENT, NotGrantedError, fault_of

TOPIC = "projects/some-project/topics/sluice-events"
ROLE = "roles/pubsub.publisher"
PLUGIN = "Getting metadata from plugin failed with error: "
LOGIN = "run `gcloud auth application-default login`"


@pytest.fixture(autouse=True)
def _no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)


def error_of(kind: type[Exception], text: str) -> Exception:
    """Return an error of Google's library."""
    return kind(text)


SENTENCES = {
    "missing": (google.NotFound, "Resource not found (resource=x).", f"{TOPIC} does not exist"),
    "denied": (google.PermissionDenied, "User not authorized.", f"grant {ROLE} on it"),
    "one of the two": (NotGrantedError, "", "run `sluice setup`, and grant"),
    "no project": (google.NotFound, "Requested project not found or user", "no project some-"),
    "denied project": (google.PermissionDenied, "Permission denied on resource project x.", "id"),
    "api off": (google.PermissionDenied, "API has not been used in project 1", "services enable"),
    "scope": (google.PermissionDenied, "insufficient authentication scopes.", "access scope"),
    "unauthenticated": (google.Unauthenticated, "Request had invalid", LOGIN),
    "revoked": (google.ServiceUnavailable, f"{PLUGIN}('invalid_grant: Bad', 'x')", LOGIN),
    "no file": (auth.DefaultCredentialsError, "File /x was not found.", "(File /x was not found)"),
    "no login": (
        auth.DefaultCredentialsError,
        "Your default credentials were not found.",
        "expired: run",
    ),
    "refused": (auth.RefreshError, "unauthorized_client: x", "(unauthorized_client)"),
    "token away": (google.ServiceUnavailable, f"{PLUGIN}Max retries exceeded", "token service"),
    "token name": (auth.TransportError, "Failed to resolve", "token service"),
    "token broken": (google.ServiceUnavailable, f"{PLUGIN}temporarily_unavailable", "token serv"),
    "name": (google.ServiceUnavailable, "errors resolving x:443: [..]", "its name is not known"),
    "tls": (google.ServiceUnavailable, "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", "valid"),
    "no tls": (google.ServiceUnavailable, "Ssl handshake failed: WRONG_VERSION", "speak TLS"),
    "late": (google.DeadlineExceeded, "Deadline Exceeded", "no answer in time"),
    "quota": (google.TooManyRequests, "Quota exceeded.\nmore", "Quota exceeded."),
    "other": (google.InvalidArgument, "Bad name", "refused a call for"),
}


@pytest.mark.parametrize(("kind", "text", "words"), SENTENCES.values(), ids=SENTENCES.keys())
def test_fault_is_one_line_that_says_what_to_do(
    kind: type[Exception], text: str, words: str
) -> None:
    fault = fault_of(error_of(kind, text), resource=TOPIC, role=ROLE)
    assert words in fault.sentence
    assert fault.sentence.endswith(".")
    assert "\n" not in fault.sentence


def test_what_is_in_a_key_file_is_not_told() -> None:
    told = ("Failed to load service account credentials from /x", ValueError("hidden-secret"))
    error = auth.DefaultCredentialsError(*told)  # type: ignore[no-untyped-call]  # it has no types
    sentence = fault_of(error, resource=TOPIC, role=ROLE).sentence
    assert "from /x)" in sentence
    assert "hidden-secret" not in sentence


def test_retried_call_is_told_by_its_last_failure() -> None:
    cause = error_of(google.ServiceUnavailable, f"{PLUGIN}invalid_grant")
    error = google.RetryError("Timeout", cause)  # type: ignore[no-untyped-call]  # it has no types
    fault = fault_of(error, resource=TOPIC, role=ROLE)
    assert "(invalid_grant)" in fault.sentence
    assert not fault.is_transient


@pytest.mark.parametrize("kind", [kind for kind in TRANSIENT if kind is not google.RetryError])
def test_outage_mends_itself_and_concerns_every_call(kind: type[Exception]) -> None:
    fault = fault_of(error_of(kind, "x"), resource=TOPIC, role=ROLE)
    assert (fault.is_transient, fault.is_general) == (True, True)


def test_emulator_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    error = error_of(google.ServiceUnavailable, "Failed to connect: Connection refused")
    sentence = fault_of(error, resource=TOPIC, role=ROLE).sentence
    assert "PUBSUB_EMULATOR_HOST=127.0.0.1:1 (connection refused): start it" in sentence
