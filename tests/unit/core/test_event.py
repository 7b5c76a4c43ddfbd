"""Stamping: ids and times that are fixed once (design, decision 1)."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import RFC_4122, UUID, uuid5

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.event import (
    DERIVED,
    NAMESPACE,
    NEW_ID_RANDOM_BYTES,
    Candidate,
    Candidates,
    derive_event_id,
    format_ts,
    is_derived,
    new_event_ids,
    stamp,
    stamp_batch,
    versions_of,
)

RECEIVED_AT = "2026-04-25T14:32:00.123456"
NEW_ID = "019dc50d-f77b-7ff3-964e-6f697d287498"


def make_candidate(
    payload: bytes = b"{}", *, occurred_at: str | None = None, client_id: str | None = None
) -> Candidate:
    return Candidate("u-1", "page_viewed", occurred_at, payload, client_id)


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True), st.text(max_size=130))
def test_derived_id_is_the_version_5_uuid_of_tenant_and_client_id(
    tenant: str, client_id: str
) -> None:
    event_id = derive_event_id(tenant, client_id)
    assert event_id == str(uuid5(NAMESPACE, f"{tenant}\x00{client_id}"))
    assert is_derived(event_id)


@given(
    st.integers(0, 2**48 - 1),
    st.binary(min_size=NEW_ID_RANDOM_BYTES, max_size=NEW_ID_RANDOM_BYTES),
    st.integers(0, 500),
)
def test_new_ids_are_distinct_ascending_uuids_of_version_7(
    now_ms: int, random_bytes: bytes, count: int
) -> None:
    ids = new_event_ids(now_ms, random_bytes, count)
    assert len(set(ids)) == count
    assert ids == sorted(ids)
    for text in ids:
        uuid = UUID(text)
        assert str(uuid) == text
        assert (uuid.version, uuid.variant, uuid.int >> 80) == (7, RFC_4122, now_ms)
        assert not is_derived(text)


@given(st.lists(st.one_of(st.uuids(version=5), st.uuids(version=4)).map(str)))
def test_versions_of_ids_are_those_that_each_says(ids: list[str]) -> None:
    assert [digit == DERIVED for digit in versions_of(ids)] == [is_derived(one) for one in ids]


def test_new_ids_do_not_overflow_when_the_random_part_is_at_its_end() -> None:
    first, second = new_event_ids(1, b"\xff" * NEW_ID_RANDOM_BYTES, 2)
    assert (first[-12:], second[-12:]) == ("fffffffffffe", "ffffffffffff")


def test_event_takes_the_new_id_and_the_receive_time_when_the_client_sent_none() -> None:
    event = stamp(
        make_candidate(), tenant="acme", source="track", received_at=RECEIVED_AT, new_id=NEW_ID
    )
    assert (event.event_id, event.occurred_at) == (NEW_ID, RECEIVED_AT)


def test_event_is_the_same_at_every_try_when_the_client_named_it() -> None:
    candidate = make_candidate(occurred_at="2026-04-25T14:00:00", client_id="order-1")
    first = stamp(candidate, tenant="acme", source="track", received_at=RECEIVED_AT, new_id=NEW_ID)
    assert first.event_id == derive_event_id("acme", "order-1")
    assert first.event_id != derive_event_id("other", "order-1")
    assert first.occurred_at == "2026-04-25T14:00:00"


def test_fields_stand_in_the_order_of_the_columns() -> None:
    event = stamp(
        make_candidate(b'{"a": 0.10}'),
        tenant="acme",
        source="track",
        received_at=RECEIVED_AT,
        new_id=NEW_ID,
    )
    assert msgspec.json.encode(event) == (
        b'{"tenant":"acme","event_id":"019dc50d-f77b-7ff3-964e-6f697d287498","user_id":"u-1",'
        b'"anonymous_id":"","event_type":"page_viewed","occurred_at":"2026-04-25T14:32:00.123456",'
        b'"received_at":"2026-04-25T14:32:00.123456","source":"track","payload":{"a": 0.10}}'
    )


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n"], ids=repr)
def test_payload_travels_as_text_on_one_line_when_it_has_several(break_: str) -> None:
    text = f'{{{break_} "a": "\\n"}}'.encode()
    plain, broken = stamp_batch(
        Candidates([make_candidate(b'{"b":1}'), make_candidate(text)]),
        tenant="acme",
        source="batch",
        received_at=RECEIVED_AT,
        new_ids=[NEW_ID, NEW_ID],
    )
    assert bytes(plain.payload) == b'{"b":1}'
    assert b"\n" not in bytes(broken.payload)
    assert b"\r" not in bytes(broken.payload)
    assert msgspec.json.decode(broken.payload) == text.decode()


def test_batch_is_stamped_as_each_alone() -> None:
    candidates = [make_candidate(), make_candidate(client_id="k:1"), make_candidate(b'{"a":1}')]
    ids = new_event_ids(1, bytes(NEW_ID_RANDOM_BYTES), 3)
    together = stamp_batch(
        Candidates(candidates), tenant="acme", source="batch", received_at=RECEIVED_AT, new_ids=ids
    )
    alone = [
        stamp(candidate, tenant="acme", source="batch", received_at=RECEIVED_AT, new_id=new_id)
        for candidate, new_id in zip(candidates, ids, strict=True)
    ]
    assert [msgspec.json.encode(event) for event in together] == [
        msgspec.json.encode(event) for event in alone
    ]


def test_batch_is_refused_when_ids_are_missing() -> None:
    with pytest.raises(ValueError, match="0 ids for 1 candidates"):
        stamp_batch(
            Candidates([make_candidate()]),
            tenant="acme",
            source="batch",
            received_at=RECEIVED_AT,
            new_ids=[],
        )


def test_time_is_written_in_utc_with_six_digits() -> None:
    zone = timezone(timedelta(hours=2))
    assert format_ts(datetime(2026, 4, 25, 16, 32, tzinfo=zone)) == "2026-04-25T14:32:00.000000"
    assert format_ts(datetime(2026, 4, 25, 14, 32, 0, 7, UTC)) == "2026-04-25T14:32:00.000007"


def test_candidates_of_a_batch_are_those_that_were_added() -> None:
    repaired = msgspec.structs.replace(make_candidate(), normalised=("nan", "surrogate"))
    added = [make_candidate(b'{"a":1}', client_id="k"), repaired, make_candidate()]
    candidates = Candidates(added)
    candidates.extend_columns(
        user_ids=["u-2"],
        event_types=["seen"],
        occurred_ats=[None],
        payloads=[msgspec.Raw(b"{}")],
        client_ids=[None],
        anonymous_ids=["a"],
    )
    added.append(Candidate("u-2", "seen", None, b"{}", None, "a"))
    assert list(candidates) == added
    assert candidates[-1] == added[-1]
    assert candidates[-3] == repaired
    assert list(candidates[1:3]) == added[1:3]
    assert candidates.count_normalised() == {"nan": 1, "surrogate": 1}


def test_candidates_are_on_one_line_only_where_all_that_were_added_are_known_to_be() -> None:
    known = Candidates()

    def extend(*, are_on_one_line: bool) -> bool:
        known.extend_columns(
            user_ids=["u"],
            event_types=["seen"],
            occurred_ats=[None],
            payloads=[msgspec.Raw(b"{}")],
            client_ids=[None],
            anonymous_ids=[""],
            are_on_one_line=are_on_one_line,
        )
        return known.are_on_one_line

    assert extend(are_on_one_line=True)
    assert not extend(are_on_one_line=False)
    assert not extend(are_on_one_line=True)
    assert not Candidates([make_candidate()]).are_on_one_line


def test_new_ids_go_on_counting_when_their_last_digits_are_used_up() -> None:
    random_bytes = bytes(4) + (0x1FFE).to_bytes(6)
    assert [one[-5:] for one in new_event_ids(1, random_bytes, 4)] == [
        "01ffe",
        "01fff",
        "02000",
        "02001",
    ]


def test_id_that_a_session_names_is_its_user_s_own() -> None:
    ids = {derive_event_id("acme", "order-1", owner) for owner in (None, "ann", "bob")}
    assert len(ids) == 3
    assert all(is_derived(event_id) for event_id in ids)
    candidate = make_candidate(client_id="order-1")
    both = Candidates()
    both.append(candidate)
    both.append(make_candidate())
    one = stamp(
        candidate,
        tenant="acme",
        source="batch",
        received_at=RECEIVED_AT,
        new_id=NEW_ID,
        owner="ann",
    )
    together = stamp_batch(
        both,
        tenant="acme",
        source="batch",
        received_at=RECEIVED_AT,
        new_ids=[NEW_ID, NEW_ID],
        owner="ann",
    )
    assert [event.event_id for event in together] == [one.event_id, NEW_ID]
    assert one.event_id == derive_event_id("acme", "order-1", "ann")
