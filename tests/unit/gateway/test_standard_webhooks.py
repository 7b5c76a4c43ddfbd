"""Standard Webhooks: signatures, the mapping of docs/migrate.md, and answers."""

from base64 import b64encode
from dataclasses import replace

import orjson
import pytest

from gateway.core.auth import Denied
from gateway.core.source import Arrival, Caller, Refused, Taken
from gateway.sources.standard_webhooks import MAX_SIGNATURES, SOURCE, sign
from sluice.core.errors import ErrorType, Rejected
from sluice.core.tenant import Directory, Tenant
from tests.unit.gateway.arrivals import NOW, TENANT, arrival, only, parsed

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + b64encode(b"k" * 24).decode())
DIRECTORY = Directory({"acme": Tenant(slug="acme", webhook_secrets=SECRETS)})
BODY = (
    b'{"type":"invoice.paid","timestamp":"2026-04-25T14:32:00Z","data":{"user_id":"u-1","n":0.10}}'
)
STAMP = str(int(NOW))


def signature(body: bytes = BODY, *, secret: str = SECRETS[0], timestamp: str = STAMP) -> str:
    return "v1," + b64encode(sign(secret, "msg_1", timestamp, body)).decode()


def delivery(
    body: bytes | None = BODY,
    *,
    given: str | None = None,
    timestamp: str = STAMP,
    prefix: str = "webhook",
    tail: str = "acme",
) -> Arrival:
    headers = {
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": timestamp,
        f"{prefix}-signature": given or signature(body or BODY, timestamp=timestamp),
    }
    return arrival("/api/ingestion/webhook/{tenant}", body, headers, tail=tail)


def refused(given: Arrival, directory: Directory = DIRECTORY) -> ErrorType:
    denied = SOURCE.authenticate(given, directory)
    assert isinstance(denied, Denied), denied
    return denied.rejected.error_type


def test_published_vector_verifies() -> None:
    """The example of the documentation, as the library ``standardwebhooks`` signs it."""
    found = sign(SECRETS[0], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert b64encode(found) == b"g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("prefix", ["webhook", "svix", "Webhook", "SVIX"])
@pytest.mark.parametrize("secret", SECRETS)
def test_delivery_signed_with_any_live_secret_is_taken(prefix: str, secret: str) -> None:
    assert SOURCE.authenticate(delivery(None, prefix=prefix), DIRECTORY) is None
    given = delivery(given=signature(secret=secret), prefix=prefix)
    assert isinstance(SOURCE.authenticate(given, DIRECTORY), Caller)


def test_any_of_several_signatures_will_do_and_other_versions_are_passed_over() -> None:
    good = signature()
    for given in (f"v1,AAAA {good}", f"v1a,AAAA {good} v1,!", f"{good} v2,x", f"nonsense {good}"):
        assert isinstance(SOURCE.authenticate(delivery(given=given), DIRECTORY), Caller)
    many = " ".join(["v1,AAAA"] * MAX_SIGNATURES + [good])
    assert refused(delivery(given=many)) == ErrorType.WEBHOOK_SIGNATURE_INVALID


@pytest.mark.parametrize("at", [0, len(BODY) // 2, len(BODY) - 1])
def test_one_changed_bit_of_the_body_is_refused(at: int) -> None:
    changed = bytearray(BODY)
    changed[at] ^= 1
    given = delivery(bytes(changed), given=signature())
    assert refused(given) == ErrorType.WEBHOOK_SIGNATURE_INVALID


@pytest.mark.parametrize(
    ("shift", "is_taken"), [(-300, True), (300, True), (-301, False), (301, False)]
)
def test_clock_may_be_five_minutes_off(shift: int, is_taken: bool) -> None:
    given = delivery(timestamp=str(int(NOW) + shift))
    if is_taken:
        assert isinstance(SOURCE.authenticate(given, DIRECTORY), Caller)
    else:
        assert refused(given) == ErrorType.WEBHOOK_SIGNATURE_EXPIRED


def test_unsigned_or_odd_headers_are_refused_before_the_body_is_read() -> None:
    path = "/api/ingestion/webhook/{tenant}"
    assert refused(arrival(path, None, tail="acme")) == ErrorType.WEBHOOK_SIGNATURE_MISSING
    assert refused(delivery(None, timestamp="soon")) == ErrorType.WEBHOOK_SIGNATURE_INVALID
    odd = delivery(None)
    headers = dict(odd.headers) | {"webhook-id": "m\udce9"}
    assert refused(replace(odd, headers=headers)) == ErrorType.WEBHOOK_SIGNATURE_INVALID


def test_unknown_tenant_and_tenant_without_secret_are_told_the_same() -> None:
    without = Directory({"acme": TENANT})
    answers = set()
    for given, directory in ((delivery(tail="nobody"), DIRECTORY), (delivery(), without)):
        denied = SOURCE.authenticate(given, directory)
        assert isinstance(denied, Denied)
        assert denied.rejected.error_type == ErrorType.WEBHOOK_NOT_CONFIGURED
        answers.add(SOURCE.refused(Refused(rejected=denied.rejected)))
    assert len(answers) == 1


def test_tenant_that_is_switched_off_takes_nothing() -> None:
    off = Tenant(slug="acme", webhook_secrets=SECRETS, enabled=False)
    assert refused(delivery(), Directory({"acme": off})) == ErrorType.TENANT_DISABLED


def test_delivery_becomes_an_event() -> None:
    candidate = only(SOURCE, delivery())
    assert (candidate.user_id, candidate.event_type) == ("u-1", "invoice.paid")
    assert candidate.occurred_at == "2026-04-25T14:32:00"
    assert candidate.payload == b'{"user_id":"u-1","n":0.10}'
    assert candidate.client_id == "webhook\nmsg_1"


@pytest.mark.parametrize(
    ("data", "user_id"),
    [
        ({"userId": 7, "email": "a@b.example"}, "7"),
        ({"user_id": "", "userId": None, "email": "a@b.example"}, "a@b.example"),
        ({"user_id": {"id": 1}}, "webhook"),
        ({}, "webhook"),
        (None, "webhook"),
    ],
)
def test_user_is_found_in_the_data(data: object, user_id: str) -> None:
    candidate = only(SOURCE, delivery(orjson.dumps({"type": "x", "data": data})))
    assert candidate.user_id == user_id
    assert candidate.occurred_at == "2026-04-25T14:32:00", "the time of the signature"


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        (b"", ErrorType.BODY_EMPTY),
        (b"<xml/>", ErrorType.JSON_INVALID),
        (b"[]", ErrorType.EVENT_NOT_OBJECT),
        (b"[" * 100_000, ErrorType.JSON_TOO_DEEP),
        (b'{"data":{}}', ErrorType.EVENT_TYPE_MISSING),
        (b'{"type":"x","data":[]}', ErrorType.PAYLOAD_INVALID),
    ],
)
def test_signed_delivery_that_can_be_no_event_is_answered_200(
    body: bytes, error_type: ErrorType
) -> None:
    found = parsed(SOURCE, delivery(body))
    (rejected,) = found.rejected
    assert (rejected.error_type, found.total) == (error_type, 1)
    done = Taken(rejected=found.rejected, total=1, body_bytes=1, received_ms=1)
    answer = SOURCE.taken(delivery(body), done)
    assert answer.status == 200
    assert orjson.loads(answer.body)["queued"] is False
    assert orjson.loads(answer.body)["reason"] == error_type


def test_good_delivery_is_answered_200_and_overload_503() -> None:
    done = Taken(rejected=[], total=1, body_bytes=1, received_ms=1)
    assert SOURCE.taken(delivery(), done).body == b'{"queued":true}'
    busy = Refused(rejected=Rejected(ErrorType.OVERLOADED, "Busy."), retry_after_s=4)
    answer = SOURCE.refused(busy)
    assert (answer.status, dict(answer.headers)) == (503, {"Retry-After": "4"})
