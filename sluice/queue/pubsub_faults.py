"""What a failed call to Pub/Sub means, in a sentence for the operator that says what to do."""

from dataclasses import dataclass
from typing import Final

from google.api_core import exceptions as google
from google.auth import exceptions as auth

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


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a call failed."""

    sentence: str
    is_transient: bool = False


def fault_of(error: Exception, *, resource: str, role: str) -> Fault:
    """Return what an error means.

    Args:
        error: One of ``FAILURES``.
        resource: Full name of the topic or subscription that was used.
        role: The role on it that the call needs.
    """
    if isinstance(error, TRANSIENT):
        return Fault(
            f"Pub/Sub does not answer for {resource}: {_reason(error)}.", is_transient=True
        )
    if isinstance(error, google.NotFound):
        return Fault(f"{resource} does not exist: run `sluice setup`.")
    if isinstance(error, google.PermissionDenied):
        return Fault(f"{resource} may not be used: grant {role} on it to this process.")
    if isinstance(error, google.Unauthenticated | auth.GoogleAuthError):
        return Fault(
            "Google's credentials are missing or expired: run `gcloud auth application-default"
            " login`, or give the process a service account.",
        )
    return Fault(f"Pub/Sub refused a call for {resource}: {_reason(error)}.")


def _reason(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).splitlines()[:1]
    return (text[0] if text else type(error).__name__).rstrip(". ")[:200]
