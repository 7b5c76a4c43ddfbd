"""Which rows are left out because their person was erased."""

import msgspec
import pytest

from sluice.core.erasures import digest_of, fingerprint, said_by_shopify
from tests.support.worker_rig import make_event
from worker.core.erasures import Erased
from worker.core.rows import read_facts, without

NORA = "nora@example.com"
CUT_OFF = "2026-05-01T12:00:00.000000"
BEFORE = "2026-05-01T11:59:59.999999"


def erased(*values: tuple[str, str], tenant: str = "acme") -> Erased:
    known = Erased()
    for what, value in values or (("user", NORA),):
        known.add(tenant, what, digest_of(tenant, what, value), CUT_OFF)  # type: ignore[arg-type]
    return known


def row(user_id: str = NORA, at: str = BEFORE, **more: object) -> bytes:
    event = msgspec.structs.replace(
        make_event(user_id=user_id), received_at=at, **{"tenant": "acme", **more}
    )
    return msgspec.json.encode(event)


def test_event_of_an_erased_person_is_left_out_if_it_came_before_the_cut_off() -> None:
    known = erased()
    assert known.covers(row())
    assert not known.covers(row(at=CUT_OFF))
    assert not known.covers(row(at="2026-05-02T00:00:00.000000"))


@pytest.mark.parametrize(
    "other",
    ["nora@example.co", "Nora@example.com", " nora@example.com", "nora@exаmple.com", ""],  # noqa: RUF001
)
def test_event_of_somebody_with_nearly_the_same_id_stays(other: str) -> None:
    assert not erased().covers(row(other))


def test_event_of_the_same_id_at_another_tenant_stays() -> None:
    assert not erased().covers(row(tenant="other"))
    assert digest_of("a", "user", "b") != digest_of("a", "email", "b")
    assert digest_of("a", "user", NORA) != fingerprint(NORA)


def test_error_record_of_an_erased_person_is_left_out_by_its_own_time() -> None:
    known = erased()
    record = b'{"tenant":"acme","user_id":"%b","ts":"%b"}'
    assert known.covers(record % (NORA.encode(), BEFORE.encode()))
    assert not known.covers(record % (NORA.encode(), CUT_OFF.encode()))
    assert not known.covers(b'{"tenant":"acme","user_id":null,"ts":"%b"}' % BEFORE.encode())


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b'{"tenant":1}', b"\xff"])
def test_row_that_cannot_be_read_is_not_left_out(bad: bytes) -> None:
    assert not erased().covers(bad)


def test_row_whose_time_cannot_be_read_came_some_time_before() -> None:
    assert erased().covers(row(at="nonsense"))


def test_only_tenants_and_hours_of_an_erasure_are_looked_at() -> None:
    known = erased()
    assert known.concerns({("other", "2026-05-01T11"), ("acme", "2026-05-01T12")})
    assert not known.concerns({("other", "2026-05-01T11"), ("acme", "2026-05-01T13")})
    assert not known.covers_row("acme", CUT_OFF, row())
    assert known.covers_row("acme", BEFORE, row())
    assert known.covers_user("acme", NORA, BEFORE)
    assert not known.covers_user("other", NORA, BEFORE)


def test_latest_cut_off_of_a_person_counts() -> None:
    known = erased()
    digest = digest_of("acme", "user", NORA)
    assert not known.add("acme", "user", digest, BEFORE)
    assert known.add("acme", "user", digest, "2026-06-01T00:00:00.000000")
    assert known.covers(row(at=CUT_OFF))


@pytest.mark.parametrize(
    ("what", "value", "payload"),
    [
        ("email", NORA, b'{"email":" nora@example.com "}'),
        ("email", NORA, b'{"customer":{"email":"nora@example.com"}}'),
        ("customer", "7001", b'{"customer_id":7001}'),
        ("customer", "7001", b'{"customer":{"id":"7001"}}'),
        ("order", "9223372036854775807", b'{"order_id":9223372036854775807}'),
        ("order", "5", b'{"order_edit":{"order_id":5}}'),
        ("shop", "a.myshopify.com", b'{"shopify":{"shop_domain":"A.myshopify.com"}}'),
        ("shop", "", b"{}"),
        ("shop", "", b'{"email":7}'),
    ],
)
def test_what_a_payload_of_shopify_says_counts_for_shopify_alone(
    what: str, value: str, payload: bytes
) -> None:
    known = erased((what, value))
    raw = msgspec.Raw(payload)
    assert known.covers(row("x", source="shopify", payload=raw))
    assert not known.covers(row("x", source="batch", payload=raw))
    text = msgspec.Raw(msgspec.json.encode(payload.decode()))
    assert known.covers(row("x", source="shopify", payload=text))


def test_event_of_shopify_filed_under_a_customers_or_orders_id_is_theirs() -> None:
    for said, user_id in ((("customer", "7001"), "7001"), (("order", "5"), "order:5")):
        known = erased(said)
        assert known.covers(row(user_id, source="shopify"))
        assert not known.covers(row(f"{user_id}0", source="shopify"))
        assert not known.covers(row(user_id, source="batch"))


def test_own_id_of_a_body_is_the_orders_or_the_customers_by_its_type() -> None:
    assert ("order", "5") in set(said_by_shopify("order_paid", b'{"id":5}'))
    assert ("customer", "5") in set(said_by_shopify("customer_updated", b'{"id":5}'))
    assert set(said_by_shopify("order_refunded", b'{"id":5}')) == {("shop", "")}


def test_left_out_rows_leave_no_trace_in_what_is_known_of_an_envelope() -> None:
    events = [
        make_event(user_id=user, client_id=f"c{n}", event_type="context_identified")
        for n, user in enumerate((NORA, "ivo", NORA))
    ]
    facts = read_facts(b"".join(msgspec.json.encode(one) + b"\n" for one in events))
    changed = without(facts, {0, 2})
    assert [key.event_id for key in changed.named] == [events[1].event_id]
    assert (list(changed.positions), list(changed.identified)) == ([1], [1])
    assert changed.hours == facts.hours
