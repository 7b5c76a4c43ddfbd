"""Which error types an operation can answer, in the groups that several operations share."""

from typing import Final

from sluice.core.errors import ErrorType

INGEST_AUTH: Final = (
    ErrorType.AUTH_MISSING,
    ErrorType.AUTH_MALFORMED,
    ErrorType.API_KEY_UNKNOWN,
    ErrorType.TOKEN_INVALID,
    ErrorType.TOKEN_EXPIRED,
    ErrorType.KEY_TYPE_NOT_ALLOWED,
    ErrorType.SCOPE_DENIED,
    ErrorType.TENANT_DISABLED,
    ErrorType.ORIGIN_NOT_ALLOWED,
)
SESSION: Final = (
    ErrorType.AUTH_MISSING,
    ErrorType.AUTH_MALFORMED,
    ErrorType.API_KEY_UNKNOWN,
    ErrorType.KEY_TYPE_NOT_ALLOWED,
    ErrorType.TENANT_DISABLED,
    ErrorType.ORIGIN_NOT_ALLOWED,
    ErrorType.SIGNATURE_REQUIRED,
    ErrorType.SIGNATURE_INVALID,
    ErrorType.SIGNATURE_EXPIRED,
    ErrorType.SESSION_INVALID,
    ErrorType.RATE_LIMITED,
)
READ_AUTH: Final = (
    ErrorType.AUTH_MISSING,
    ErrorType.AUTH_MALFORMED,
    ErrorType.TOKEN_INVALID,
    ErrorType.TOKEN_EXPIRED,
    ErrorType.SCOPE_DENIED,
    ErrorType.TENANT_UNKNOWN,
    ErrorType.TENANT_DISABLED,
)
ANY_BODY: Final = (
    ErrorType.BODY_EMPTY,
    ErrorType.BODY_INCOMPLETE,
    ErrorType.BODY_UNDECODABLE,
    ErrorType.BODY_TIMEOUT,
    ErrorType.BODY_TOO_LARGE,
    ErrorType.JSON_INVALID,
    ErrorType.BODY_NOT_OBJECT,
    ErrorType.CONTENT_TYPE_UNSUPPORTED,
    ErrorType.CONTENT_ENCODING_UNSUPPORTED,
)
BODY: Final = (
    *ANY_BODY,
    ErrorType.IDEMPOTENCY_KEY_INVALID,
    ErrorType.JSON_TOO_DEEP,
    ErrorType.RATE_LIMITED,
)
EVENT: Final = (
    ErrorType.USER_ID_MISSING,
    ErrorType.USER_ID_INVALID,
    ErrorType.EVENT_TYPE_MISSING,
    ErrorType.EVENT_TYPE_INVALID,
    ErrorType.OCCURRED_AT_INVALID,
    ErrorType.OCCURRED_AT_OUT_OF_RANGE,
    ErrorType.PAYLOAD_INVALID,
    ErrorType.PAYLOAD_TOO_DEEP,
    ErrorType.EVENT_ID_INVALID,
    ErrorType.EVENT_TOO_LARGE,
)
SKIPPING: Final = (ErrorType.EVENT_NOT_OBJECT, *EVENT)
"""Why one event of a batch may be skipped."""
SHAPE: Final = (
    ErrorType.EVENTS_MISSING,
    ErrorType.EVENTS_INVALID,
    ErrorType.EVENTS_EMPTY,
    ErrorType.BATCH_TOO_LARGE,
)
STORING: Final = (ErrorType.OVERLOADED, ErrorType.SPOOL_FULL, ErrorType.PUBLISH_TIMEOUT)
SHOPIFY: Final = (
    ErrorType.NOT_FOUND,
    ErrorType.TENANT_DISABLED,
    ErrorType.SHOPIFY_SIGNATURE_MISSING,
    ErrorType.SHOPIFY_SIGNATURE_INVALID,
    ErrorType.SHOPIFY_NOT_CONFIGURED,
    ErrorType.SHOPIFY_SHOP_MISMATCH,
    ErrorType.BODY_INCOMPLETE,
    ErrorType.BODY_TIMEOUT,
    ErrorType.BODY_TOO_LARGE,
)
NOT_QUEUED: Final = (
    ErrorType.SHOPIFY_TOPIC_MISSING,
    ErrorType.SHOPIFY_TOPIC_NOT_KEPT,
    ErrorType.SHOPIFY_NO_USER,
    ErrorType.SHOPIFY_PRIVACY_REQUEST_INVALID,
    ErrorType.SHOPIFY_BODY_NOT_JSON,
    ErrorType.SHOPIFY_BODY_NOT_OBJECT,
    ErrorType.SHOPIFY_BODY_TOO_LARGE,
)
"""Why a good delivery of Shopify's is not queued; the status is 200, as no retry would help."""
RUN_CALLER: Final = (
    *READ_AUTH,
    ErrorType.TENANT_DENIED,
    ErrorType.RUN_PARAMETER_INVALID,
    ErrorType.RATE_LIMITED,
    ErrorType.WAREHOUSE_UNAVAILABLE,
)
RUN_COMMAND: Final = (ErrorType.SPOOL_FULL, ErrorType.PUBLISH_TIMEOUT)
RUN_START: Final = (
    ErrorType.BODY_EMPTY,
    ErrorType.BODY_INCOMPLETE,
    ErrorType.BODY_UNDECODABLE,
    ErrorType.BODY_TIMEOUT,
    ErrorType.BODY_TOO_LARGE,
    ErrorType.JSON_INVALID,
    ErrorType.BODY_NOT_OBJECT,
    ErrorType.CONTENT_TYPE_UNSUPPORTED,
    ErrorType.CONTENT_ENCODING_UNSUPPORTED,
    ErrorType.IDEMPOTENCY_KEY_INVALID,
    ErrorType.IDEMPOTENCY_KEY_REUSED,
    ErrorType.RUN_REQUEST_INVALID,
    ErrorType.RUN_INPUTS_INVALID,
    ErrorType.RUNS_AT_LIMIT,
    ErrorType.WORKFLOW_UNKNOWN,
    ErrorType.WORKFLOW_DISABLED,
    ErrorType.WORKFLOW_BROKEN,
)
ALWAYS: Final = (ErrorType.REQUEST_INVALID, ErrorType.INTERNAL)
STOPPING: Final = (ErrorType.SHUTTING_DOWN,)
