"""What a failed call to Pub/Sub means, in a sentence for the operator that says what to do."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.api_core import exceptions as google
from google.auth import exceptions as auth

from sluice.queue.pubsub_connect import emulator_host
from sluice.queue.pubsub_wire import project_of

TRANSIENT: Final = (
    google.ServiceUnavailable,
    google.DeadlineExceeded,
    google.TooManyRequests,
    google.Aborted,
    google.InternalServerError,
    google.Unknown,
    google.Cancelled,
    google.RetryError,
)
"""Worth another try soon: nobody has to do anything."""
FAILURES: Final = (google.GoogleAPIError, auth.GoogleAuthError)
"""All that a call may raise."""

MAX_REASON_CHARS: Final = 200
LOGIN: Final = "run `gcloud auth application-default login`, or give the process a service account"
_NO_TOKEN: Final = "Getting metadata from plugin failed"  # noqa: S105 - gRPC's words, not a secret
"""How gRPC says, as UNAVAILABLE, that there was no token to send along."""
_NOT_FOUND: Final = "Your default credentials were not found"
_AWAY: Final = re.compile(
    r"Max retries exceeded|timed? ?out|Connection|Failed to resolve|temporarily_unavailable"
    r"|internal_failure|server_error|Failed to retrieve http://metadata",
    re.IGNORECASE,
)
_REFUSED: Final = re.compile(r"\b(invalid_\w+|unauthorized_client|deleted_client|access_denied)\b")
_NO_PROJECT: Final = re.compile(
    r"project not found|Permission denied on resource project|CONSUMER_INVALID", re.IGNORECASE
)
_NO_API: Final = re.compile(r"has not been used in project|SERVICE_DISABLED|API .*disabled")
_NO_SCOPE: Final = re.compile(r"insufficient authentication scopes", re.IGNORECASE)


class NotGrantedError(google.GoogleAPIError):
    """The service said of a resource that this process may not use it, or that there is none."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a call failed."""

    sentence: str
    is_transient: bool = False
    is_general: bool = False
    """Every other call would fail for the same reason, whatever it is about."""


def fault_of(error: Exception, *, resource: str, role: str) -> Fault:
    """Return what an error means.

    Args:
        error: One of ``FAILURES``.
        resource: Full name of the topic or subscription that was used.
        role: The role on it that the call needs.
    """
    if isinstance(error, google.RetryError) and isinstance(error.cause, FAILURES):
        error = error.cause
    text = str(getattr(error, "message", "") or error)
    if isinstance(error, google.Unauthenticated | auth.GoogleAuthError) or _NO_TOKEN in text:
        return _credentials_fault(error, text)
    if isinstance(error, TRANSIENT):
        return _away_fault(resource, error, text)
    if isinstance(error, google.NotFound | google.PermissionDenied):
        for pattern, sentence in _GENERAL:
            if pattern.search(text):
                return Fault(sentence(project_of(resource)), is_general=True)
    if isinstance(error, google.NotFound):
        return Fault(f"{resource} does not exist: run `sluice setup`.")
    if isinstance(error, NotGrantedError):
        return Fault(
            f"{resource} does not exist or may not be used: run `sluice setup`, and grant {role}"
            " on it to this process."
        )
    if isinstance(error, google.PermissionDenied):
        return Fault(f"{resource} may not be used: grant {role} on it to this process.")
    return Fault(f"Pub/Sub refused a call for {resource}: {_reason(error, text)}.")


def _no_project(project: str) -> str:
    return (
        f"Google Cloud has no project {project}, or does not show it to this process: correct"
        " SLUICE_QUEUE_URL=pubsub://PROJECT (the project's id, not its name or number)."
    )


def _no_api(project: str) -> str:
    return (
        f"The Pub/Sub API is switched off in project {project}: run `gcloud services enable"
        f" pubsub.googleapis.com --project {project}`."
    )


def _no_scope(_project: str) -> str:
    return (
        "The machine's credentials are not for Pub/Sub: give the machine the access scope"
        " cloud-platform; roles decide what it may do."
    )


_GENERAL: Final[tuple[tuple[re.Pattern[str], Callable[[str], str]], ...]] = (
    (_NO_PROJECT, _no_project),
    (_NO_API, _no_api),
    (_NO_SCOPE, _no_scope),
)


def _credentials_fault(error: Exception, text: str) -> Fault:
    refused = _REFUSED.search(text)
    if isinstance(error, auth.TransportError) or (_AWAY.search(text) and not refused):
        return Fault(
            "Google's token service does not answer, so that there are no credentials: check this"
            " machine's network, DNS and proxy.",
            is_transient=True,
            is_general=True,
        )
    why = f" ({refused[1]})" if refused else ""
    if isinstance(error, auth.DefaultCredentialsError) and error.args:
        # Says which file, and nothing of what is in it; that is in the arguments behind.
        told = _one_line(str(error.args[0]))
        why = "" if told.startswith(_NOT_FOUND) else f" ({told})"
    return Fault(f"Google's credentials are missing or expired{why}: {LOGIN}.", is_general=True)


def _away_fault(resource: str, error: Exception, text: str) -> Fault:
    emulator = emulator_host()
    reason = _reason(error, text)
    if emulator:
        sentence = (
            f"The Pub/Sub emulator does not answer at PUBSUB_EMULATOR_HOST={emulator} ({reason}):"
            " start it there, or unset the variable to use Google's own service."
        )
    elif reason in _REMEDIES:
        sentence = f"Pub/Sub does not answer for {resource}: {reason}; {_REMEDIES[reason]}."
    else:
        sentence = f"Pub/Sub does not answer for {resource}: {reason}."
    return Fault(sentence, is_transient=True, is_general=True)


_REASONS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile("CERTIFICATE_VERIFY_FAILED|Hostname Verification"), "its certificate is not valid"),
    (re.compile("handshake failed", re.IGNORECASE), "what answers there does not speak TLS"),
    (re.compile("errors resolving|Domain name|DNS resolution"), "its name is not known"),
    (re.compile("Connection refused"), "connection refused"),
    (re.compile("Connection reset|Socket closed|Broken pipe"), "connection lost"),
    (re.compile("Deadline Exceeded|Timeout of", re.IGNORECASE), "no answer in time"),
)
"""What gRPC says in many words, with addresses and times in them, in few that stay the same."""
_REMEDIES: Final = {
    "its certificate is not valid": "check SLUICE_PUBSUB_ENDPOINT and any proxy on the way",
    "what answers there does not speak TLS": "check SLUICE_PUBSUB_ENDPOINT and any proxy",
    "its name is not known": "check SLUICE_PUBSUB_ENDPOINT and this machine's DNS",
    "connection refused": "check SLUICE_PUBSUB_ENDPOINT and this machine's firewall",
    "no answer in time": "check this machine's network; it mends itself when Google answers",
}


def _reason(error: Exception, text: str) -> str:
    for pattern, words in _REASONS:
        if pattern.search(text):
            return words
    return _one_line(text) or type(error).__name__


def _one_line(text: str) -> str:
    lines = text.splitlines()
    return lines[0].rstrip(". ")[:MAX_REASON_CHARS] if lines else ""
