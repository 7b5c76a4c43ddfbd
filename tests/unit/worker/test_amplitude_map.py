"""Each rule of the reference's "Our mapping", and each override of a tenant."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice import __version__
from sluice.core.amplitude import AmplitudeConfig
from sluice.core.depth import depth_of
from sluice.core.event import Candidate, stamp
from tests.support import json_texts
from worker.core.amplitude_map import EventMapper, Filtered, Mapped, SourceEvent, bucket_of

EVENT_ID = "019700aa-0000-7000-8000-000000000001"
ADDED = "env=prod"
READ = msgspec.json.Decoder(float_hook=Decimal)
"""Reads also numbers that no float can hold: they are the client's own and go on."""


def row(
    payload: str = "{}",
    *,
    event_type: str = "page_viewed",
    user_id: str = "u-1",
    occurred_at: str = "2026-04-25T13:30:00.000001",
) -> SourceEvent:
    """Return an event as it stands in an envelope."""
    candidate = Candidate(user_id, event_type, occurred_at, payload.encode())
    received_at = "2026-04-25T13:30:01.000000"
    event = stamp(
        candidate, tenant="acme", source="track", received_at=received_at, new_id=EVENT_ID
    )
    return msgspec.json.decode(msgspec.json.encode(event), type=SourceEvent)


def config(**values: Any) -> AmplitudeConfig:
    return AmplitudeConfig(api_key="key", **values)


def mapped(event: SourceEvent, **values: Any) -> Mapped:
    found = EventMapper(config(**values)).map(event)
    assert isinstance(found, Mapped), found
    return found


def body(event: SourceEvent, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = READ.decode(mapped(event, **values).body)
    return found


def refusal(event: SourceEvent, **values: Any) -> tuple[str, bool]:
    found = EventMapper(config(**values)).map(event)
    assert isinstance(found, Filtered), found
    assert found.detail
    return found.reason, found.is_choice


def nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


def test_event_has_exactly_the_fields_of_the_mapping() -> None:
    assert body(row('{"page":"/"}')) == {
        "user_id": "u-1",
        "event_type": "page_viewed",
        "time": 1777123800000,
        "insert_id": EVENT_ID,
        "library": f"sluice/{__version__}",
        "session_id": -1,
        "event_properties": {"page": "/"},
    }


@pytest.mark.parametrize(
    ("occurred_at", "time"),
    [
        ("1970-01-01T00:00:00", 0),
        ("2026-04-25T13:30:00", 1777123800000),
        ("2026-04-25T13:30:00.1", 1777123800100),
        ("2026-04-25T13:30:00.0019", 1777123800001),
        ("2026-04-25T13:30:00.999999999", 1777123800999),
        ("2261-12-31T23:59:59.999999", 9214646399999),
    ],
)
def test_time_is_milliseconds_rounded_down(occurred_at: str, time: int) -> None:
    assert body(row(occurred_at=occurred_at))["time"] == time


def test_payload_keeps_the_clients_own_text_when_nothing_is_cut() -> None:
    text = '{ "n" : 12.50, "big":18446744073709551616, "s":"\\u00e9", "n":1E+2 }'
    assert text.encode() in mapped(row(text)).body


@pytest.mark.parametrize("text", ['{"a":\n1.10}', '\n{"a":1.10}\r\n'])
def test_payload_is_unwrapped_when_it_travels_as_a_string(text: str) -> None:
    found = mapped(row(text)).body
    assert text.strip().encode() in found
    assert msgspec.json.decode(found)["event_properties"] == {"a": 1.1}


@pytest.mark.parametrize("text", ["5", "null", "[1,2]", '"words"', '"{no json"', "true"])
def test_payload_becomes_a_value_when_it_is_no_object(text: str) -> None:
    event = msgspec.structs.replace(row(), payload=msgspec.Raw(text.encode()))
    found = EventMapper(config()).map(event)
    if text == '"{no json"':
        assert isinstance(found, Filtered)
        assert found.reason == "unreadable_event"
        return
    assert isinstance(found, Mapped)
    assert f'{{"value":{text}}}'.encode() in found.body


@pytest.mark.parametrize(
    ("text", "session_id"),
    [
        ('{"session_id":1777123800000}', 1777123800000),
        ('{"session\\u005fid":7}', 7),
        ('{"session_id":0}', -1),
        ('{"session_id":-5}', -1),
        ('{"session_id":1.5}', -1),
        ('{"session_id":1e3}', -1),
        ('{"session_id":"7"}', -1),
        ('{"session_id":true}', -1),
        ('{"session_id":99999999999999999999}', -1),
        ('{"in":{"session_id":7}}', -1),
    ],
)
def test_session_is_the_payloads_when_it_is_a_whole_number_above_zero(
    text: str, session_id: int
) -> None:
    assert body(row(text))["session_id"] == session_id


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ('{"plan":"pro","n":1.50}', {"$set": {"plan": "pro", "n": 1.5}}),
        ('{"plan":"pro","old":null}', {"$set": {"plan": "pro"}, "$unset": {"old": "-"}}),
        ('{"a":null,"b":null}', {"$unset": {"a": "-", "b": "-"}}),
        ('{"a":{"b":null}}', {"$set": {"a": {"b": None}}}),
        ('{"a":"null"}', {"$set": {"a": "null"}}),
        ('{"a":1,"a":null}', {"$unset": {"a": "-"}}),
    ],
)
def test_identify_sets_values_and_unsets_nulls(text: str, operations: dict[str, Any]) -> None:
    found = body(row(text, event_type="context_identified"), properties=(ADDED,))
    assert found["event_type"] == "$identify"
    assert found["user_properties"] == operations
    assert "event_properties" not in found


@pytest.mark.parametrize("text", ["{}", "{ }", "{\n}"])
def test_identify_is_filtered_when_there_is_nothing_to_set(text: str) -> None:
    assert refusal(row(text, event_type="context_identified")) == ("nothing_to_set", False)


def test_identify_fits_the_levels_together_with_its_operation() -> None:
    found = mapped(row(nested(40), event_type="context_identified"))
    properties = bytes(
        msgspec.json.decode(found.body, type=dict[str, msgspec.Raw])["user_properties"]
    )
    assert (depth_of(properties), found.cuts) == (40, 1)


@pytest.mark.parametrize(
    ("text", "revenue"),
    [
        ('{"total":139.12,"currency":"GBP"}', ("139.12", "GBP", "purchase")),
        ('{"total":"99.90","currency":"eur"}', ("99.90", "EUR", "purchase")),
        ('{"total":" 5 ","currency":"euro"}', ("5", None, "purchase")),
        ('{"total":1e3}', ("1000", None, "purchase")),
        ('{"total":0}', ("0", None, "purchase")),
        ('{"total":-27.50,"currency":"GBP"}', ("-27.50", "GBP", "refund")),
        ('{"total":"0.1000000000000000055511151231257827"}',
         ("0.1000000000000000055511151231257827", None, "purchase")),
    ],
)  # fmt: skip
def test_revenue_is_exact_when_an_order_has_an_amount(
    text: str, revenue: tuple[str, str | None, str]
) -> None:
    found = mapped(row(text, event_type="order_placed")).body
    raw = msgspec.json.decode(found, type=dict[str, msgspec.Raw])
    fields = msgspec.json.decode(found)
    assert bytes(raw["revenue"]).decode() == revenue[0]
    assert (fields.get("currency"), fields["revenueType"]) == revenue[1:]
    assert not {"price", "quantity"} & raw.keys()


@pytest.mark.parametrize(
    "text",
    [
        "{}", '{"total":null}', '{"total":"NaN"}', '{"total":"Infinity"}', '{"total":true}',
        '{"total":"1,5"}', '{"total":""}', '{"total":{"amount":1}}', '{"total":1e400}',
        '{"total":1e-400}', '{"total":"٣"}', '{"in":{"total":1}}',
        '{"total":' + "9" * 41 + "}",
    ],
)  # fmt: skip
def test_order_has_no_revenue_when_its_amount_is_none(text: str) -> None:
    found = body(row(text, event_type="order_placed"))
    assert not {"revenue", "currency", "revenueType"} & found.keys()


@pytest.mark.parametrize(
    ("event_type", "pair", "amount"),
    [
        ("order_refunded", "order_refunded=total", "5.00"),
        ("Refund issued", "Refund issued=total", "5.00"),
        ("order_cancelled", "order_cancelled=-total", "5.00"),
        ("order_cancelled", "order_cancelled=-total", "-5.00"),
        ("order_cancelled", "order_cancelled=total", "-5.00"),
    ],
)
def test_refund_is_negative_whatever_sign_its_amount_has(
    event_type: str, pair: str, amount: str
) -> None:
    found = body(row(f'{{"total":{amount}}}', event_type=event_type), revenue=(pair,))
    assert (found["revenue"], found["revenueType"]) == (-5.0, "refund")


def test_other_events_have_no_revenue() -> None:
    assert "revenue" not in body(row('{"total":5}', event_type="order_paid"))
    assert "revenue" not in body(row('{"total":5}', event_type="order_placed"), revenue=())


@pytest.mark.parametrize(
    "user_id",
    [
        "anonymous", "NIL", "None", "null", "N/A", "na", "undefined", " Unknown ", "", "  ", '""',
        "00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "LMY47D", "0", "-1",
    ],
)  # fmt: skip
def test_event_is_filtered_when_amplitude_refuses_the_user_id(user_id: str) -> None:
    assert refusal(row(user_id=user_id)) == ("invalid_user_id", False)


def test_user_id_is_never_cut() -> None:
    assert body(row(user_id="u" * 1024))["user_id"] == "u" * 1024
    assert refusal(row(user_id="u" * 1025)) == ("user_id_too_long", False)


def test_user_id_is_a_string_when_it_looks_like_a_number() -> None:
    assert body(row(user_id="12345"))["user_id"] == "12345"


@pytest.mark.parametrize(
    "event_type", ["[Amplitude] Revenue", "[Amplitude] Anything", "$identify", "$groupidentify"]
)
def test_event_is_filtered_when_its_type_is_amplitudes_own(event_type: str) -> None:
    assert refusal(row(event_type=event_type)) == ("reserved_event_type", False)
    assert body(row(event_type=event_type), rename=(f"{event_type}=own",))["event_type"] == "own"


@pytest.mark.parametrize(
    ("event_type", "reason"),
    [
        ("order_placed", None),
        ("order_cancelled", "dropped"),
        ("page_viewed", "not_selected"),
        ("context_identified", "not_selected"),
        ("my_order_placed", "not_selected"),
        ("$order", "not_selected"),
    ],
)
def test_event_types_are_chosen_by_patterns(event_type: str, reason: str | None) -> None:
    mapper = EventMapper(config(event_types=("order_*", "signup"), drop=("*_cancelled",)))
    found = mapper.map(row('{"a":1}', event_type=event_type))
    assert (found.reason if isinstance(found, Filtered) else None) == reason
    assert isinstance(found, Mapped) or found.is_choice


def test_identify_is_dropped_by_a_pattern_like_any_event() -> None:
    event = row('{"a":1}', event_type="context_identified")
    assert refusal(event, drop=("context_*",)) == ("dropped", True)


@pytest.mark.parametrize("sign", ["?", "[a]", "."])
def test_pattern_takes_only_the_star_as_special(sign: str) -> None:
    assert refusal(row(event_type="xa"), event_types=(f"x{sign}",)) == ("not_selected", True)
    assert body(row(event_type=f"x{sign}y"), event_types=(f"x{sign}*",))


def test_pattern_of_many_stars_is_matched_in_no_time() -> None:
    assert refusal(row(event_type="a" * 200), event_types=("*a" * 60 + "*b",))[0] == "not_selected"


def test_event_type_is_renamed_but_found_by_its_own_name() -> None:
    values = {"rename": ("order_placed=Order Completed",), "event_types": ("order_placed",)}
    found = body(row('{"total":5}', event_type="order_placed"), **values)
    assert (found["event_type"], found["revenue"]) == ("Order Completed", 5)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ('{"mail":"a","n":1.50}', '{"n":1.50}'),
        ('{"m\\u0061il":"a","n":1.50}', '{"n":1.50}'),
        ('{"mail":"a"}', "{}"),
        ('{ "n" : 1.50, "in":{"mail":"a"} }', '{ "n" : 1.50, "in":{"mail":"a"} }'),
    ],
)
def test_members_are_left_out_and_the_others_keep_their_text(text: str, rest: str) -> None:
    found = mapped(row(text), drop_properties=("mail", "phone")).body
    assert f'"event_properties":{rest}}}'.encode() in found


def test_members_that_are_left_out_are_read_for_nothing() -> None:
    left_out = {"drop_properties": ("total", "session_id", "plan")}
    found = body(row('{"total":5,"session_id":7}', event_type="order_placed"), **left_out)
    assert ("revenue" in found, found["session_id"]) == (False, -1)
    event = row('{"plan":null}', event_type="context_identified")
    assert refusal(event, **left_out) == ("nothing_to_set", False)


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        ("{}", '{"env":"prod","shop":"a\\"b"}'),
        ("{ }", '{"env":"prod","shop":"a\\"b"}'),
        ('{ "n":1.50 }', '{"env":"prod","shop":"a\\"b", "n":1.50 }'),
        ('{"n":"\\u00e9"}', '{"env":"prod","shop":"a\\"b","n":"\\u00e9"}'),
        ('{"env":"test","n":1.50}', '{"env":"test","shop":"a\\"b","n":1.50}'),
        ('{"e\\u006ev":5}', '{"env":5,"shop":"a\\"b"}'),
        ('{"n":"env"}', '{"env":"prod","shop":"a\\"b","n":"env"}'),
    ],
)
def test_added_properties_give_way_to_the_clients_own(text: str, merged: str) -> None:
    found = mapped(row(text), properties=(ADDED, 'shop=a"b')).body
    assert f'"event_properties":{merged}}}'.encode() in found


def test_sampling_takes_users_whole_and_only_adds_when_it_is_raised() -> None:
    users = [f"user-{number}" for number in range(2000)]
    kept = {
        percent: {
            user
            for user in users
            if isinstance(
                EventMapper(config(sample_percent=percent)).map(row(user_id=user)), Mapped
            )
        }
        for percent in (0, 10, 30, 100)
    }
    assert kept[0] == set()
    assert 140 < len(kept[10]) < 260
    assert kept[10] < kept[30] < kept[100] == set(users)
    assert refusal(row(), sample_percent=0) == ("sampled_out", True)


def test_bucket_of_a_user_never_changes() -> None:
    assert [bucket_of("acme", user) for user in ("u-1", "u-2", "ü")] == [23, 9, 56]


@pytest.mark.parametrize("occurred_at", ["soon", "2026-04-25", "2026-04-25T13:30:00.x00"])
def test_event_is_filtered_when_its_time_cannot_be_read(occurred_at: str) -> None:
    event = msgspec.structs.replace(row(), occurred_at=occurred_at)
    assert refusal(event) == ("unreadable_event", False)


def test_mapper_stays_right_when_a_client_sends_ever_new_event_types() -> None:
    mapper = EventMapper(config(drop=("t7",)))
    for number in range(10_000):
        mapper.map(row(event_type=f"t{number}"))
    assert isinstance(mapper.map(row(event_type="t7")), Filtered)


def _fits(value: object, levels: int) -> bool:
    match value:
        case str():
            return len(value) <= 1024
        case dict():
            return (
                levels > 0
                and len(value) <= 1024
                and all(_fits(each, levels - 1) for each in value.values())
            )
        case list():
            return levels > 0 and all(_fits(each, levels - 1) for each in value)
        case _:
            return True


_LONG = st.one_of(
    st.integers(1020, 1030).map(lambda size: '"' + "x" * size + '"'),
    st.integers(170, 180).map(lambda size: '"' + r"\"\u0041é😀\\a" * size + '"'),
    st.integers(38, 45).map(nested),
    st.integers(38, 45).map(lambda levels: "[" * levels + "1.10" + "]" * levels),
    st.integers(1022, 1027).map(
        lambda count: "{" + ",".join(f'"{number}":{number}.50' for number in range(count)) + "}"
    ),
)


@given(
    text=st.one_of(
        json_texts.payloads(),
        st.tuples(json_texts.payloads(), _LONG).map(
            lambda parts: f'{{"first":{parts[0]},"long":{parts[1]},"n":1.50}}'
        ),
        _LONG.filter(lambda text: text.startswith("{")),
    ),
    event_type=st.sampled_from(["page_viewed", "context_identified", "order_placed"]),
    user_id=st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text),
    properties=st.sampled_from([(), (ADDED,), ("a=b", "first=x")]),
    left_out=st.sampled_from([(), ("n", "a")]),
)
def test_result_is_valid_json_within_the_limits_whatever_is_mapped(
    text: str,
    event_type: str,
    user_id: str,
    properties: tuple[str, ...],
    left_out: tuple[str, ...],
) -> None:
    event = row(text, event_type=event_type, user_id=user_id)
    mapper = EventMapper(config(properties=properties, drop_properties=left_out))
    found = mapper.map(event)
    if isinstance(found, Filtered):
        assert found.reason in {"nothing_to_set", "invalid_user_id"}
        return
    fields = READ.decode(found.body)
    assert (fields["insert_id"], fields["time"]) == (EVENT_ID, 1777123800000)
    assert fields["user_id"] == user_id
    assert all(_fits(fields.get(name), 40) for name in ("event_properties", "user_properties"))
    is_whole = not (found.cuts or properties or left_out)
    if is_whole and event_type != "context_identified":
        assert text.strip().encode() in found.body


@given(number=json_texts.numbers())
def test_number_keeps_its_digits_also_beside_what_is_cut(number: str) -> None:
    long = "x" * 1025
    found = mapped(row(f'{{"n":[{number}],"cut":"{long}"}}'))
    assert found.cuts == 1
    assert f'{{"n":[{number}],"cut":"{long[:-1]}"}}'.encode() in found.body


@given(units=st.integers(-(10**12), 10**12), places=st.integers(0, 6))
def test_revenue_is_the_decimal_of_the_amount(units: int, places: int) -> None:
    amount = Decimal(units).scaleb(-places)
    found = mapped(row(f'{{"total":"{amount:f}"}}', event_type="order_placed")).body
    raw = msgspec.json.decode(found, type=dict[str, msgspec.Raw])
    assert Decimal(bytes(raw["revenue"]).decode()) == amount
