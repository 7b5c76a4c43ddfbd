"""What goes in comes out of ClickHouse, byte for byte.

Hypothesis makes the texts; they travel together, because one example at a time would wait for the
warehouse hundreds of times.
"""

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.json_texts import NUMBERS, payloads
from tests.support.segops import Segops, assert_counted

EXAMPLES = 250
IN_ONE_BATCH = 200

NAMED = (
    "{}",
    "{ }",
    "{\n}",
    '{\r\n"a"\r\n:\r\n1\r\n}',
    '{"a":1,"a":2}',
    '{"a":{"b":[{"c":null}]}}',
    r'{"s":"\u0041\/\ud83d\ude00"}',
    '{"nul":"\\u0000"}',
    '{"tab":"a\\tb","raw":"\u007f"}',
    '{"NaN":"NaN","Infinity":"-Infinity"}',
    '{"' + "k" * 10_000 + '":"' + "v" * 100_000 + '"}',
    '{"n":[' + " , ".join(NUMBERS) + "]}",
    '{"a":' * 31 + "{}" + "}" * 31,
)


def draw_many(strategy: st.SearchStrategy[str], count: int) -> list[str]:
    """Return that many examples, the same ones each time."""
    drawn: list[str] = []

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(text: str) -> None:
        drawn.append(text)

    draw()
    return drawn


async def send_all(api: Segops, texts: dict[str, str], *, spaced: bool) -> None:
    """Send one event for each user and payload text, in batches written by hand."""
    space = " \n" if spaced else ""
    events = [
        f'{{"payload":{space}{text}{space},"user_id":{space}"{user}","event_type":"x"{space}}}'
        for user, text in texts.items()
    ]
    for start in range(0, len(events), IN_ONE_BATCH):
        part = events[start : start + IN_ONE_BATCH]
        body = f'{space}{{"events":[{f",{space}".join(part)}]}}{space}'.encode()
        assert_counted(await api.batch(body), queued=len(part), skipped=0)


async def test_payload_comes_out_byte_for_byte_as_it_went_in(api: Segops) -> None:
    texts = dict.fromkeys([*NAMED, *draw_many(payloads(), EXAMPLES)])
    sent = {f"u-{n}": text for n, text in enumerate(texts)}
    middle = len(sent) // 2
    await send_all(api, dict(list(sent.items())[:middle]), spaced=False)
    await send_all(api, dict(list(sent.items())[middle:]), spaced=True)
    stored = {row.user_id: row.payload for row in await api.rows_when(len(sent))}
    changed = {text: stored.get(user) for user, text in sent.items() if stored.get(user) != text}
    assert changed == {}


async def test_single_event_keeps_its_payload_byte_for_byte(api: Segops) -> None:
    sent = {f"u-{n}": text for n, text in enumerate(NAMED)}
    for user, text in sent.items():
        body = f'{{"user_id":"{user}","event_type":"x","payload":{text}}}'.encode()
        assert (await api.track(body)).status == 202, text
    stored = {row.user_id: row.payload for row in await api.rows_when(len(sent))}
    assert stored == sent


async def test_ids_and_names_come_out_as_they_went_in(api: Segops) -> None:
    printable = st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Co", "Zl", "Zp", "Zs"]),
        min_size=1,
        max_size=40,
    )
    users = draw_many(printable, 150)
    names = draw_many(printable, 150)
    sent = {(user, name) for user, name in zip(users, names, strict=False) if name.isprintable()}
    events = [{"user_id": user, "anonymous_id": user, "event_type": name} for user, name in sent]
    for encode in (orjson.dumps, _escaped):
        assert_counted(await api.batch(encode({"events": events})), queued=len(sent), skipped=0)
    rows = await api.rows_when(2 * len(sent))
    assert {(row.user_id, row.event_type) for row in rows} == sent
    assert all(row.anonymous_id == row.user_id for row in rows)


def _escaped(value: object) -> bytes:
    text = orjson.dumps(value).decode()
    units = (char.encode("utf-16-be").hex() for char in text)
    return "".join(
        char if char < "\x7f" else "".join(f"\\u{unit[i : i + 4]}" for i in range(0, len(unit), 4))
        for char, unit in zip(text, units, strict=True)
    ).encode()
