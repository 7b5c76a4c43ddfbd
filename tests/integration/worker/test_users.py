"""The view ``users``: what context_identified events say of a person (cases 109 to 111)."""

from datetime import timedelta
from itertools import permutations

import msgspec
import pytest

from sluice.core.event import Event
from tests.support.worker_rig import Rig, hours_ago, make_event

START = hours_ago(4)


def identify(
    payload: bytes,
    *,
    minutes: int = 0,
    occurred_at: str | None = None,
    user_id: str = "user-1",
    client_id: str | None = None,
) -> Event:
    return make_event(
        event_type="context_identified",
        user_id=user_id,
        payload=payload,
        occurred_at=occurred_at,
        client_id=client_id,
        received_at=START + timedelta(minutes=minutes),
    )


async def traits(rig: Rig, user_id: str = "user-1") -> str:
    rows = await rig.rows("SELECT user_id, traits FROM users WHERE tenant = 'acme'")
    return str(dict(rows)[user_id])


async def test_case_109_later_occurred_at_wins_when_it_was_sent_first(rig: Rig) -> None:
    destination = rig.destination()
    await rig.deliver(destination, identify(b'{"plan":"pro"}', occurred_at="2026-04-02T00:00:00"))
    await rig.deliver(
        destination, identify(b'{"plan":"free"}', occurred_at="2026-04-01T00:00:00", minutes=1)
    )
    assert await traits(rig) == '{"plan":"pro"}'


async def test_case_110_future_clock_does_not_freeze_a_profile(rig: Rig) -> None:
    destination = rig.destination()
    await rig.deliver(destination, identify(b'{"plan":"pro"}', occurred_at="2200-01-01T00:00:00"))
    await rig.deliver(destination, identify(b'{"plan":"free"}', minutes=1))
    assert await traits(rig) == '{"plan":"free"}'


async def test_case_111_null_removes_a_trait_and_a_later_value_brings_it_back(rig: Rig) -> None:
    destination = rig.destination()
    await rig.deliver(destination, identify(b'{"plan":"pro","kept":1}'))
    await rig.deliver(destination, identify(b'{"plan":null}', minutes=1))
    assert await traits(rig) == '{"kept":1}'
    await rig.deliver(destination, identify(b'{"plan":"free"}', minutes=2))
    assert await traits(rig) == '{"kept":1,"plan":"free"}'


async def test_users_is_the_same_in_whatever_order_events_arrive(rig: Rig) -> None:
    said = [
        (b'{"a":1,"b":{"x":1}}', 0, None),
        (b'{"a":null,"b":{"y":2}}', 1, None),
        (b'{"a":3}', 2, "2026-04-01T00:00:00.5"),
        (b'{"a":4}', 3, "2026-04-01T00:00:00.499999999"),
    ]
    destination = rig.destination()
    for number, order in enumerate(permutations(said)):
        events = [
            identify(payload, minutes=minutes, occurred_at=at, user_id=f"user-{number}")
            for payload, minutes, at in order
        ]
        await rig.deliver(destination, *events)
    rows = await rig.rows("SELECT DISTINCT traits FROM users")
    assert rows == [('{"b":{"y":2}}',)]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"{}", "{}"),
        (b'{"z":1,"a":2}', '{"a":2,"z":1}'),
        (b'{"n":18446744073709551616,"d":0.10}', '{"d":0.10,"n":18446744073709551616}'),
        (b'{"a":1,"a":2}', '{"a":2}'),
        (b'{"":1,"a.b":2,"$x":3,"\\u00e9":"\\u00e9"}', '{"":1,"$x":3,"a.b":2,"é":"\\u00e9"}'),
        (b'{"path/to":"a/b"}', '{"path/to":"a/b"}'),
        (b'{"q\\"uote":"\\\\"}', '{"q\\"uote":"\\\\"}'),
        (b'{"nul\\u0000":"\\u0000"}', '{"nul\\u0000":"\\u0000"}'),
        (b'{\n"a":\r\n[1,\n2]}', '{"a":[1,\n2]}'),
        (b'{"s":"\\ud83d\\ude00"}', '{"s":"\\ud83d\\ude00"}'),
    ],
    ids=[
        "empty",
        "keys are sorted",
        "numbers as sent",
        "last of equal keys",
        "odd keys",
        "slashes",
        "quotes",
        "nul",
        "line feeds",
        "escapes",
    ],
)
async def test_traits_are_the_text_that_was_sent(rig: Rig, payload: bytes, expected: str) -> None:
    await rig.deliver(rig.destination(), identify(payload))
    assert await traits(rig) == expected
    msgspec.json.decode(expected)


async def test_insert_never_fails_because_of_a_payload(rig: Rig) -> None:
    digits = b'{"a":' + b"9" * 1_000 + b"}"
    await rig.deliver(rig.destination(), identify(digits), identify(b'{"good":1}', user_id="two"))
    assert await rig.count("events") == 2
    assert await rig.count("dead_letters") == 0
    assert await traits(rig) == digits.decode()
    assert await traits(rig, "two") == '{"good":1}'


async def test_empty_payload_sets_first_and_last_identified(rig: Rig) -> None:
    destination = rig.destination()
    await rig.deliver(destination, identify(b'{"a":1}', minutes=5))
    await rig.deliver(destination, identify(b"{}"), identify(b"{}", minutes=10))
    rows = await rig.rows(
        "SELECT toUnixTimestamp(first_identified_at), toUnixTimestamp(last_identified_at) "
        "FROM users"
    )
    start = int(START.timestamp())
    assert rows == [(start, start + 600)]


async def test_later_copy_changes_no_trait(rig: Rig) -> None:
    destination = rig.destination()
    await rig.deliver(destination, identify(b'{"a":1}', client_id="k"))
    await rig.deliver(destination, identify(b'{"a":2}', client_id="k", minutes=1))
    assert await traits(rig) == '{"a":1}'
