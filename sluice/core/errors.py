"""Every error_type there is, what it means, who must act, and the exceptions of Sluice.

An error_type is a stable, machine-readable name; once released it never changes. The table below
is the only place where a status stands beside it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

import msgspec

Stage = Literal["receive", "store", "forward", "run"]
Actor = Literal["client", "operator", "platform"]


class ErrorType(StrEnum):
    """The name of one kind of refusal."""

    AUTH_MISSING = "auth_missing"
    AUTH_MALFORMED = "auth_malformed"
    API_KEY_UNKNOWN = "api_key_unknown"
    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a name, not a secret
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a name, not a secret
    KEY_TYPE_NOT_ALLOWED = "key_type_not_allowed"
    SCOPE_DENIED = "scope_denied"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    SIGNATURE_REQUIRED = "signature_required"
    SIGNATURE_INVALID = "signature_invalid"
    SIGNATURE_EXPIRED = "signature_expired"
    SESSION_INVALID = "session_invalid"
    TENANT_DISABLED = "tenant_disabled"
    TENANT_UNKNOWN = "tenant_unknown"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_INVALID = "request_invalid"
    BODY_EMPTY = "body_empty"
    BODY_INCOMPLETE = "body_incomplete"
    BODY_UNDECODABLE = "body_undecodable"
    JSON_INVALID = "json_invalid"
    JSON_TOO_DEEP = "json_too_deep"
    BODY_NOT_OBJECT = "body_not_object"
    EVENTS_MISSING = "events_missing"
    EVENTS_INVALID = "events_invalid"
    EVENTS_EMPTY = "events_empty"
    BATCH_TOO_LARGE = "batch_too_large"
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid"
    EVENT_NOT_OBJECT = "event_not_object"
    USER_ID_MISSING = "user_id_missing"
    USER_ID_INVALID = "user_id_invalid"
    EVENT_TYPE_MISSING = "event_type_missing"
    EVENT_TYPE_INVALID = "event_type_invalid"
    OCCURRED_AT_INVALID = "occurred_at_invalid"
    OCCURRED_AT_OUT_OF_RANGE = "occurred_at_out_of_range"
    PAYLOAD_INVALID = "payload_invalid"
    PAYLOAD_TOO_DEEP = "payload_too_deep"
    EVENT_ID_INVALID = "event_id_invalid"
    EVENT_TOO_LARGE = "event_too_large"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    CONTENT_TYPE_UNSUPPORTED = "content_type_unsupported"
    CONTENT_ENCODING_UNSUPPORTED = "content_encoding_unsupported"
    WEBHOOK_NOT_CONFIGURED = "webhook_not_configured"
    WEBHOOK_SIGNATURE_MISSING = "webhook_signature_missing"
    WEBHOOK_SIGNATURE_INVALID = "webhook_signature_invalid"
    WEBHOOK_SIGNATURE_EXPIRED = "webhook_signature_expired"
    SHOPIFY_SIGNATURE_MISSING = "shopify_signature_missing"
    SHOPIFY_SIGNATURE_INVALID = "shopify_signature_invalid"
    SHOPIFY_NOT_CONFIGURED = "shopify_not_configured"
    SHOPIFY_SHOP_MISMATCH = "shopify_shop_mismatch"
    SHOPIFY_TOPIC_MISSING = "shopify_topic_missing"
    SHOPIFY_TOPIC_NOT_KEPT = "shopify_topic_not_kept"
    SHOPIFY_NO_USER = "shopify_no_user"
    SHOPIFY_BODY_NOT_JSON = "shopify_body_not_json"
    SHOPIFY_BODY_NOT_OBJECT = "shopify_body_not_object"
    SHOPIFY_BODY_TOO_LARGE = "shopify_body_too_large"
    SHOPIFY_PRIVACY_REQUEST_INVALID = "shopify_privacy_request_invalid"
    PRIVACY_REQUEST_PENDING = "privacy_request_pending"
    WINDOW_INVALID = "window_invalid"
    LIMIT_INVALID = "limit_invalid"
    PARAMETER_INVALID = "parameter_invalid"
    TAILS_AT_LIMIT = "tails_at_limit"
    EVENT_UNKNOWN = "event_unknown"
    RUN_PARAMETER_INVALID = "run_parameter_invalid"
    RUN_REQUEST_INVALID = "run_request_invalid"
    RUN_INPUTS_INVALID = "run_inputs_invalid"
    RUN_UNKNOWN = "run_unknown"
    RUN_ENDED = "run_ended"
    RUN_FILE_UNKNOWN = "run_file_unknown"
    RANGE_UNSATISFIABLE = "range_unsatisfiable"
    RUNS_AT_LIMIT = "runs_at_limit"
    WORKFLOW_UNKNOWN = "workflow_unknown"
    WORKFLOW_DISABLED = "workflow_disabled"
    WORKFLOW_BROKEN = "workflow_broken"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    TENANT_DENIED = "tenant_denied"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SPOOL_FULL = "spool_full"
    SHUTTING_DOWN = "shutting_down"
    PUBLISH_TIMEOUT = "publish_timeout"
    WAREHOUSE_UNAVAILABLE = "warehouse_unavailable"
    INTERNAL = "internal"
    DEAD_LETTER = "dead_letter"
    DESTINATION_REJECTED = "destination_rejected"
    DESTINATION_FILTERED = "destination_filtered"
    DESTINATION_CREDENTIALS = "destination_credentials"


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """What one error_type means to whoever meets it."""

    status: int
    """HTTP status of an answer that carries it; 0 where it never answers a request."""
    stage: Stage
    actor: Actor
    """Who must act."""
    meaning: str
    remedy: str
    is_recorded: bool
    """Whether it leaves an error record where the tenant is known."""


def _client(status: int, meaning: str, remedy: str, *, recorded: bool = True) -> ErrorSpec:
    return ErrorSpec(status, "receive", "client", meaning, remedy, recorded)


def _shopify(status: int, meaning: str, remedy: str) -> ErrorSpec:
    # 200 where no retry can help: eight failures in a row would end the subscription.
    return ErrorSpec(status, "receive", "operator", meaning, remedy, is_recorded=True)


ERRORS: Final[dict[ErrorType, ErrorSpec]] = {
    ErrorType.AUTH_MISSING: _client(
        401, "The request has no Authorization header.", "Send one.", recorded=False
    ),
    ErrorType.AUTH_MALFORMED: _client(
        401,
        "The Authorization header is not a scheme, a space and a credential.",
        "Send `ApiKey sk_…` or `Bearer <token>`, once.",
        recorded=False,
    ),
    ErrorType.API_KEY_UNKNOWN: _client(
        401,
        "No tenant has this API key, or it was revoked.",
        "Use a live key; `sluice tenant rotate-key` makes one.",
        recorded=False,
    ),
    ErrorType.TOKEN_INVALID: _client(
        401,
        "The token's signature, algorithm or claims did not verify.",
        "Get a new token; `sluice token` prints one.",
        recorded=False,
    ),
    ErrorType.TOKEN_EXPIRED: _client(401, "The token expired.", "Get a new one.", recorded=False),
    ErrorType.KEY_TYPE_NOT_ALLOWED: _client(
        403,
        "This kind of key may not do this.",
        "Use a secret key for tracking, or exchange a public one at /api/auth/session/ first.",
    ),
    ErrorType.SCOPE_DENIED: _client(
        403, "The token is valid but not for this.", "Use a token with the right scope."
    ),
    ErrorType.ORIGIN_NOT_ALLOWED: _client(
        403,
        "The page's origin is not on the public key's list.",
        "Ask the operator: `sluice tenant set-key SLUG DIGEST allowed_origins=https://…`.",
    ),
    ErrorType.SIGNATURE_REQUIRED: _client(
        403,
        "The public key takes a user_id only with its signature.",
        "Have your server sign it and send user_id_sig and user_id_ts.",
    ),
    ErrorType.SIGNATURE_INVALID: _client(
        403,
        "user_id_sig does not match user_id and user_id_ts.",
        "Sign `<user_id>|<user_id_ts>` with an identity secret of this public key.",
    ),
    ErrorType.SIGNATURE_EXPIRED: _client(
        403,
        "user_id_ts is more than 300 seconds from the server's time.",
        "Sign anew for each session, and set the signing server's clock.",
    ),
    ErrorType.SESSION_INVALID: _client(
        400,
        "A field of the session request cannot be used.",
        "Send user_id, anonymous_id and user_id_sig as text, user_id_ts as an integer.",
    ),
    ErrorType.TENANT_DISABLED: _client(
        403,
        "The tenant is switched off.",
        "Ask the operator: `sluice tenant set SLUG enabled=true`.",
    ),
    ErrorType.TENANT_UNKNOWN: _client(
        403,
        "The token names no tenant, or one that does not exist.",
        "Get a token for an existing tenant.",
        recorded=False,
    ),
    ErrorType.NOT_FOUND: _client(
        404, "Nothing is served at this path.", "See /docs for the paths.", recorded=False
    ),
    ErrorType.METHOD_NOT_ALLOWED: _client(
        405,
        "The path does not take this method.",
        "Use a method of the Allow header.",
        recorded=False,
    ),
    ErrorType.REQUEST_INVALID: _client(
        400,
        "The request is not valid HTTP.",
        "Send a well-formed HTTP/1.1 request.",
        recorded=False,
    ),
    ErrorType.BODY_EMPTY: _client(400, "The body is empty.", "Send a JSON object."),
    ErrorType.BODY_INCOMPLETE: _client(
        400, "The body ended before its announced length.", "Send the body whole."
    ),
    ErrorType.BODY_UNDECODABLE: _client(
        400,
        "The body is not what Content-Encoding says.",
        "Send one whole gzip, deflate or zstd stream with nothing behind it.",
    ),
    ErrorType.JSON_INVALID: _client(400, "The body is not JSON in UTF-8.", "Send RFC 8259 JSON."),
    ErrorType.JSON_TOO_DEEP: _client(400, "The JSON is nested too deep.", "Flatten it."),
    ErrorType.BODY_NOT_OBJECT: _client(
        400,
        "The body is not a JSON object.",
        'Send one object; for several events send {"events": […]} to track/batch.',
    ),
    ErrorType.EVENTS_MISSING: _client(400, "`events` is missing.", "Send a list of events."),
    ErrorType.EVENTS_INVALID: _client(400, "`events` is not a list.", "Send a list of events."),
    ErrorType.EVENTS_EMPTY: _client(400, "`events` is empty.", "Send at least one event."),
    ErrorType.BATCH_TOO_LARGE: _client(
        400, "The batch has more than 500 events.", "Send at most 500 events per request."
    ),
    ErrorType.IDEMPOTENCY_KEY_INVALID: _client(
        400,
        "The Idempotency-Key header is not 1 to 128 visible ASCII characters.",
        "Send such a key, once.",
    ),
    ErrorType.EVENT_NOT_OBJECT: _client(
        400, "An element of `events` is not an object.", "Send objects."
    ),
    ErrorType.USER_ID_MISSING: _client(400, "user_id is missing.", "Send user_id or anonymous_id."),
    ErrorType.USER_ID_INVALID: _client(
        400,
        "user_id is neither text of 1 to 255 characters nor an integer of 64 bits.",
        "Send a string without control characters, or an integer of 64 bits.",
    ),
    ErrorType.EVENT_TYPE_MISSING: _client(400, "event_type is missing.", "Send event_type."),
    ErrorType.EVENT_TYPE_INVALID: _client(
        400,
        "event_type is not 1 to 200 printable characters.",
        "Send a name such as page_viewed.",
    ),
    ErrorType.OCCURRED_AT_INVALID: _client(
        400,
        "occurred_at is not a time.",
        "Send ISO 8601, or the epoch in seconds, milliseconds, microseconds or nanoseconds.",
    ),
    ErrorType.OCCURRED_AT_OUT_OF_RANGE: _client(
        400, "occurred_at is before 1970 or after 2261.", "Check the client's clock and units."
    ),
    ErrorType.PAYLOAD_INVALID: _client(400, "payload is not an object.", "Send an object."),
    ErrorType.PAYLOAD_TOO_DEEP: _client(
        400, "payload is nested more than 32 levels deep.", "Flatten it."
    ),
    ErrorType.EVENT_ID_INVALID: _client(
        400,
        "event_id is neither text of 1 to 128 characters nor an integer of 64 bits.",
        "Send a string without control characters, or an integer, which is taken as text; leave it"
        " out or empty for none.",
    ),
    ErrorType.EVENT_TOO_LARGE: _client(
        413, "One event has more than 262144 bytes.", "Send less in its payload."
    ),
    ErrorType.BODY_TOO_LARGE: _client(
        413,
        "The body has more than 5242880 bytes (from Shopify: 20971520).",
        "Send smaller batches.",
    ),
    ErrorType.BODY_TIMEOUT: _client(
        408, "The body did not arrive in time.", "Send it faster, or in smaller requests."
    ),
    ErrorType.CONTENT_TYPE_UNSUPPORTED: _client(
        415, "The Content-Type is not JSON.", "Send `Content-Type: application/json`."
    ),
    ErrorType.CONTENT_ENCODING_UNSUPPORTED: _client(
        415, "The Content-Encoding is not known.", "Use gzip, deflate or zstd."
    ),
    ErrorType.WEBHOOK_NOT_CONFIGURED: _client(
        404,
        "No tenant of this name takes Standard Webhooks.",
        "Check the address; the operator sets a secret: `sluice tenant set SLUG"
        " webhook_secrets=whsec_…`.",
    ),
    ErrorType.WEBHOOK_SIGNATURE_MISSING: _client(
        401,
        "The delivery is not signed by Standard Webhooks.",
        "Send webhook-id, webhook-timestamp and webhook-signature.",
    ),
    ErrorType.WEBHOOK_SIGNATURE_INVALID: _client(
        401,
        "The signature matches none of the tenant's secrets.",
        "Set the sender's secret; let no proxy change the body.",
    ),
    ErrorType.WEBHOOK_SIGNATURE_EXPIRED: _client(
        401,
        "webhook-timestamp is more than 300 seconds from the server's time.",
        "Sign each attempt anew, and set the sender's clock.",
    ),
    ErrorType.SHOPIFY_SIGNATURE_MISSING: _shopify(
        401,
        "A Shopify delivery has no X-Shopify-Hmac-SHA256 header.",
        "Deliver by a webhook subscription over HTTPS; Events deliveries are not supported.",
    ),
    ErrorType.SHOPIFY_SIGNATURE_INVALID: _shopify(
        401,
        "None of the tenant's secrets made the signature of the body.",
        "`sluice webhook doctor SLUG` says what the cause is.",
    ),
    ErrorType.SHOPIFY_NOT_CONFIGURED: _shopify(
        401,
        "The tenant has no Shopify secret.",
        "`sluice tenant set SLUG shopify_secrets=…`",
    ),
    ErrorType.SHOPIFY_SHOP_MISMATCH: _shopify(
        401,
        "The delivery is for another shop than those of the tenant.",
        "Add the shop: `sluice tenant set SLUG shopify_shop_domains=…`",
    ),
    ErrorType.SHOPIFY_TOPIC_MISSING: _shopify(
        200, "The delivery names no topic.", "See that no proxy takes X-Shopify-Topic away."
    ),
    ErrorType.SHOPIFY_TOPIC_NOT_KEPT: _shopify(
        200,
        "The topic is not in the mapping, or off for this tenant.",
        'Switch it on: `sluice tenant set SLUG shopify_topics="products/*"`, or end the'
        " subscription.",
    ),
    ErrorType.SHOPIFY_NO_USER: _shopify(
        200,
        "The delivery carries nothing to file it under.",
        "Let the subscription send the customer's fields (include_fields, protected data).",
    ),
    ErrorType.SHOPIFY_BODY_NOT_JSON: _shopify(
        200, "The signed body is not JSON.", "Set the subscription's format to JSON."
    ),
    ErrorType.SHOPIFY_BODY_NOT_OBJECT: _shopify(
        200, "The signed body is JSON but no object.", "Nothing; some samples of Shopify are so."
    ),
    ErrorType.SHOPIFY_BODY_TOO_LARGE: _shopify(
        200,
        "The signed body has more than 5242880 bytes.",
        "Let the subscription send fewer fields (include_fields).",
    ),
    ErrorType.SHOPIFY_PRIVACY_REQUEST_INVALID: _shopify(
        200,
        "A delivery under a privacy topic has a body of another form, or of another shop.",
        "Somebody may send signed bodies again under another topic: change the Shopify secret.",
    ),
    ErrorType.PRIVACY_REQUEST_PENDING: ErrorSpec(
        0,
        "run",
        "operator",
        "A shop asked for erasure or for a person's data, and the run has not succeeded yet.",
        "`sluice workflow runs` shows why; start it again before its date.",
        is_recorded=False,
    ),
    ErrorType.WINDOW_INVALID: _client(
        400, "`window` is neither 24h nor 7d.", "Use 24h or 7d.", recorded=False
    ),
    ErrorType.LIMIT_INVALID: _client(
        400,
        "`limit` is not a whole number from 1 up.",
        "Use 1 to 100; what is above counts as 100.",
        recorded=False,
    ),
    ErrorType.PARAMETER_INVALID: _client(
        400,
        "A parameter of the query has a value that it cannot have.",
        "Send what the message says, or leave it out.",
        recorded=False,
    ),
    ErrorType.TAILS_AT_LIMIT: _client(
        429,
        "As many live tails of this tenant are open as one gateway allows.",
        "Close one, such as another page of the console, and try again after Retry-After.",
        recorded=False,
    ),
    ErrorType.EVENT_UNKNOWN: _client(
        404,
        "The tenant has no event with this id: not accepted, not stored yet, or no longer kept.",
        "Ask again in a few seconds; look in /api/ingestion/errors/ for a refusal.",
        recorded=False,
    ),
    ErrorType.RUN_PARAMETER_INVALID: _client(
        400,
        "A parameter of the runs API is unknown or has a value that is not taken.",
        "The message names the parameter, the value and what is accepted.",
        recorded=False,
    ),
    ErrorType.RUN_REQUEST_INVALID: _client(
        400,
        "The body that starts a run breaks a rule.",
        "The message names the key and what is accepted.",
        recorded=False,
    ),
    ErrorType.RUN_INPUTS_INVALID: _client(
        400,
        "The inputs of a run do not fit the schema of its workflow.",
        "The message names each place, such as /inputs/cohortId; secrets are set by the operator.",
        recorded=False,
    ),
    ErrorType.RUN_UNKNOWN: _client(
        404,
        "The tenant has no run with this id.",
        "List the runs; one that ended long ago is no longer kept.",
        recorded=False,
    ),
    ErrorType.RUN_ENDED: _client(
        409,
        "The run has ended, so it cannot be stopped.",
        "Nothing is to be done.",
        recorded=False,
    ),
    ErrorType.RUN_FILE_UNKNOWN: _client(
        404,
        "The run has no such file.",
        "The outputs of the run name its files, once they are whole.",
        recorded=False,
    ),
    ErrorType.RANGE_UNSATISFIABLE: _client(
        416,
        "The Range header begins behind the end of the file.",
        "Content-Range says how long the file is.",
        recorded=False,
    ),
    ErrorType.RUNS_AT_LIMIT: _client(
        409,
        "As many runs of this configuration go on as its max_concurrent allows.",
        "Wait for the runs that the message names, or stop one.",
        recorded=False,
    ),
    ErrorType.WORKFLOW_UNKNOWN: _client(
        404,
        "The tenant has no configuration with this config_id.",
        "Use one of the tenant's settings; every tenant has cg-ingest, cg-replay, cg-reconcile,"
        " og-cohort, og-erase and og-data-request.",
        recorded=False,
    ),
    ErrorType.WORKFLOW_DISABLED: _client(
        409,
        "The configuration is switched off.",
        "The operator enables it in the tenant's settings.",
        recorded=False,
    ),
    ErrorType.WORKFLOW_BROKEN: ErrorSpec(
        409,
        "receive",
        "operator",
        "The workflow document of the configuration cannot be run.",
        "`sluice workflow lint` says why.",
        is_recorded=False,
    ),
    ErrorType.IDEMPOTENCY_KEY_REUSED: _client(
        409,
        "The same Idempotency-Key came with another body within 24 hours.",
        "Use a new key for a new request.",
        recorded=False,
    ),
    ErrorType.TENANT_DENIED: _client(
        403,
        "The amperity-tenant header names another tenant than the token.",
        "Leave the header out, or use a token of that tenant.",
        recorded=False,
    ),
    ErrorType.RATE_LIMITED: _client(
        429,
        "The key, or this session of it, sent more a second or at once than its tenant allows; of"
        " workflow runs, the tenant asked more than 10 times a second.",
        "Retry after Retry-After, from a session in smaller batches; the operator sets"
        " key_events_per_s and session_events_per_s.",
    ),
    ErrorType.OVERLOADED: ErrorSpec(
        503,
        "receive",
        "operator",
        "More bytes wait to be stored than the bound allows.",
        "Retry after Retry-After; the operator looks at the backlog and the disk.",
        is_recorded=False,
    ),
    ErrorType.SPOOL_FULL: ErrorSpec(
        503,
        "receive",
        "operator",
        "The queue takes no more bytes: it is full, or its disk is full or broken.",
        "Retry after Retry-After; the operator runs `sluice doctor`.",
        is_recorded=False,
    ),
    ErrorType.SHUTTING_DOWN: ErrorSpec(
        503, "receive", "platform", "The server is stopping.", "Retry.", is_recorded=False
    ),
    ErrorType.PUBLISH_TIMEOUT: ErrorSpec(
        503,
        "receive",
        "operator",
        "The event was not durable in time; it may be sent again.",
        "Retry with the same event_id; the operator looks at the disk.",
        is_recorded=False,
    ),
    ErrorType.WAREHOUSE_UNAVAILABLE: ErrorSpec(
        503,
        "store",
        "operator",
        "The warehouse does not answer.",
        "Retry; nothing accepted is lost. The operator runs `sluice doctor`.",
        is_recorded=False,
    ),
    ErrorType.INTERNAL: ErrorSpec(
        500,
        "receive",
        "platform",
        "Something failed in Sluice.",
        "Retry; quote the request id to the operator.",
        is_recorded=True,
    ),
    ErrorType.DEAD_LETTER: ErrorSpec(
        0,
        "store",
        "operator",
        "The warehouse cannot take the event for what it holds; it is kept in dead_letters.",
        "Read its reason in dead_letters, where the row is kept whole, and mend the cause; no"
        " command stores it then: send what you need again as a new event.",
        is_recorded=True,
    ),
    ErrorType.DESTINATION_REJECTED: ErrorSpec(
        0,
        "forward",
        "client",
        "A destination refuses the event for what it holds; it is kept in dead_letters and in the"
        " warehouse.",
        "Mend what the destination's words name; `sluice replay --dead-letters` sends it again.",
        is_recorded=True,
    ),
    ErrorType.DESTINATION_FILTERED: ErrorSpec(
        0,
        "forward",
        "client",
        "A destination's rules do not allow the event, so it was not sent there; it is in the"
        " warehouse.",
        "See the reason, and the table of what Amplitude does not take in docs/amplitude.md.",
        is_recorded=True,
    ),
    ErrorType.DESTINATION_CREDENTIALS: ErrorSpec(
        0,
        "forward",
        "operator",
        "A destination refuses the tenant's API key; its events wait, none is dropped.",
        "Set the right key with `sluice tenant set SLUG amplitude.api_key=…`; what waits is then"
        " sent within a minute.",
        is_recorded=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal as a value: of a whole request, or of one event of a batch.

    ``detail`` is one sentence for the client and never holds the offending value or a secret.
    ``field`` names the request field it is about, where it is about one.
    """

    error_type: ErrorType
    detail: str
    field: str | None = None
    index: int | None = None
    """Position in the batch, from 0."""
    event_id: str | None = None
    """The client's own id, where it was readable and valid."""
    event_type: str | None = None
    user_id: str | None = None


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the ``errors`` table, as it travels through the queue (design, decision 9)."""

    tenant: str
    error_id: str
    """UUID version 7 in text form, made where the error was seen."""
    ts: str
    """UTC, ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
    source: str
    error_type: str
    detail: str
    event_index: int | None = None
    event_id: str | None = None
    event_type: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    occurrences: int = 1


class SluiceError(Exception):
    """The root of what Sluice raises; its text is fit to be shown to an operator."""


class ConfigError(SluiceError):
    """A setting or file is wrong; the text names it, its value unless secret, what is accepted."""


class QueueUnavailableError(SluiceError):
    """The queue cannot take or give messages now (disk full, read-only or corrupt; broker away)."""


class QueueFullError(SluiceError):
    """The queue is at its bound in bytes.

    Args:
        retry_after_s: Seconds until there is likely room, from the measured drain rate.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WarehouseError(SluiceError):
    """ClickHouse refused a statement; ``code`` is its own error number, 0 where it gave none."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class WarehouseUnavailableError(WarehouseError):
    """ClickHouse did not answer, or not in time; the same statement may succeed later."""
