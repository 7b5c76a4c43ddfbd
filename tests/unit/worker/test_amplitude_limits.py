"""How a payload is cut to what Amplitude takes."""

import msgspec
import pytest

from sluice.core.depth import depth_of
from worker.core.amplitude_limits import cut, surely_fits


def nested(levels: int, inner: str = "{}") -> str:
    return '{"a":' * (levels - 1) + inner + "}" * (levels - 1)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"' + "x" * 1024 + '"}',
        '{"a":"' + "é" * 1024 + '"}',
        '{"a":"' + r"\u0041" * 1024 + '"}',
        '{"a":"' + r"\"" * 1024 + '","b":"c\\\\"}',
        nested(40),
        '{"a":"' + "{" * 100 + '"}',
        '{"lines":[' + ",".join(['{"sku":"85123A","price":2.50}'] * 100) + "]}",
        "{" + ",".join(f'"{number}":"a:b:c"' for number in range(1024)) + "}",
        '{"' + "k" * 2000 + '":1}',
    ],
    ids=[
        "long", "two bytes", "escapes", "quotes", "deep", "braces in text", "lines", "members",
        "long name",
    ],
)  # fmt: skip
def test_text_stays_as_it_is_when_it_fits(text: str) -> None:
    assert cut(text.encode()) == (text.encode(), 0)


@pytest.mark.parametrize("letter", ["x", "é", "😀", r"\"", r"\u0041", r"\\"])
def test_string_is_cut_to_1024_characters(letter: str) -> None:
    text, cuts = cut(f'{{"n":1.50,"a":["{letter * 1025}"]}}'.encode())
    assert cuts == 1
    assert text.startswith(b'{"n":1.50,"a":["')
    assert len(msgspec.json.decode(text)["a"][0]) == 1024


def test_subtree_becomes_text_when_it_lies_too_deep() -> None:
    text, cuts = cut(nested(41, '{"b":1.50}').encode())
    assert (cuts, depth_of(text)) == (1, 40)
    assert b'"{\\"b\\":1.50}"' in text
    text, cuts = cut(nested(41, '{"b":"' + "x" * 2000 + '"}').encode())
    assert cuts == 1
    assert max(map(len, text.split(b'"'))) <= 1024


def test_arrays_count_as_levels() -> None:
    text, cuts = cut(b"[" * 41 + b"]" * 41)
    assert (text, cuts) == (b"[" * 40 + b'"[]"' + b"]" * 40, 1)


def test_object_keeps_its_first_members_when_it_has_too_many() -> None:
    many = "{" + ",".join(f'"{number}":{number}.50' for number in range(3000)) + "}"
    text, cuts = cut(f'{{"in":{many}}}'.encode())
    kept = msgspec.json.decode(text)["in"]
    assert (cuts, list(kept)) == (1, [str(number) for number in range(1024)])
    assert b'"1023":1023.50' in text


def test_each_value_that_is_cut_is_counted() -> None:
    long = "x" * 1025
    text, cuts = cut(f'{{"a":"{long}","b":["{long}",{{"c":"{long}"}}],"d":1}}'.encode())
    assert cuts == 3
    assert msgspec.json.decode(text)["d"] == 1


def test_lines_of_an_order_need_no_second_look() -> None:
    lines = ",".join(['{"sku":"85123A","price":2.50}'] * 100)
    assert surely_fits(f'{{"lines":[{lines}]}}'.encode())
