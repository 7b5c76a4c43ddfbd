"""The ``amplitude.*`` properties of a tenant in the tenants file."""

import dataclasses

import pytest

from sluice.core.amplitude import AmplitudeConfig, split_pair
from sluice.core.amplitude_properties import AMPLITUDE
from sluice.core.errors import ConfigError
from sluice.core.property_values import parse_value
from sluice.core.tenant_file import PROPERTIES, parse_directory

SECRET = "not to be shown"
FILE = """
[tenants.shop.amplitude]
api_key = "key"
secret_key = "other"
region = "eu"
min_id_length = 5
event_types = ["order_*", "context_identified"]
drop = ["*_debug"]
sample_percent = 10
rename = ["order_placed=Order Completed"]
revenue = ["order_placed=total", "order_cancelled=-total"]
drop_properties = ["email"]
properties = ["env=prod", "note="]
"""


def test_file_gives_every_property_of_forwarding() -> None:
    assert parse_directory(FILE).by_slug["shop"].amplitude == AmplitudeConfig(
        api_key="key",
        secret_key="other",
        region="eu",
        min_id_length=5,
        event_types=("order_*", "context_identified"),
        drop=("*_debug",),
        sample_percent=10,
        rename=("order_placed=Order Completed",),
        revenue=("order_placed=total", "order_cancelled=-total"),
        drop_properties=("email",),
        properties=("env=prod", "note="),
    )


@pytest.mark.parametrize(
    "text",
    [
        '[tenants.shop]\namplitude.api_key = "key"',
        '[tenants.shop]\namplitude = {api_key = "key"}',
        '[tenants.shop.amplitude]\napi_key = "key"',
    ],
    ids=["dotted", "inline", "table"],
)
def test_file_gives_the_defaults_beside_a_key(text: str) -> None:
    assert parse_directory(text).by_slug["shop"].amplitude == AmplitudeConfig(api_key="key")


def test_properties_are_the_fields_of_the_configuration() -> None:
    assert set(AMPLITUDE) == {field.name for field in dataclasses.fields(AmplitudeConfig)}
    assert {f"amplitude.{name}" for name in AMPLITUDE} < set(PROPERTIES)


@pytest.mark.parametrize(
    "text",
    [
        "[tenants.shop]",
        "[tenants.shop.amplitude]",
        '[tenants.shop.amplitude]\nregion = "eu"\nsecret_key = "s"',
        '[tenants.shop.amplitude]\napi_key = ""\ndrop = ["a"]',
    ],
)
def test_tenant_is_not_forwarded_without_a_key(text: str) -> None:
    assert parse_directory(text).by_slug["shop"].amplitude is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f'api_key = "{SECRET}"', "amplitude.api_key is not at most 200 visible characters"),
        (f'secret_key = ["{SECRET}"]', "amplitude.secret_key is not at most 200"),
        ('region = "EU"', "amplitude.region is not us or eu"),
        ("region = []", "amplitude.region is not us or eu"),
        ("min_id_length = 0", "a whole number from 1 to 255"),
        ("sample_percent = 101", "a whole number from 0 to 100"),
        ("sample_percent = 0.5", "a whole number from 0 to 100"),
        ('drop = "a"', "amplitude.drop is not a list of strings"),
        ('drop = [""]', "an event type with or without *"),
        ('rename = ["a"]', "rename[0] is 'a': use an event type, ="),
        ('rename = ["=b"]', "use an event type, ="),
        ('rename = ["a=$identify"]', "starts with neither $"),
        ('rename = ["a=[Amplitude] Revenue"]', "starts with neither $"),
        ('rename = ["context_identified=a"]', "not context_identified"),
        ('rename = ["a=b", " a =c"]', "rename has two values for one name"),
        ('revenue = ["order_placed"]', "the amount's member"),
        ('revenue = ["order_placed=-"]', "the amount's member"),
        ('revenue = ["a=b", "a=c"]', "revenue has two values for one name"),
        (r'drop = ["a\u001bb"]', "an event type with or without *"),
        (r'properties = ["env=a\nb"]', "a name, = and a text"),
        ('properties = ["env"]', "a name, = and a text"),
        (f'properties = ["env={"x" * 1025}"]', "at most 1024 characters"),
        ("enabled = true", "unknown 'enabled'"),
        (f"drop = {['a'] * 201}", "has 201 values: 200 are taken"),
    ],
)
def test_file_is_refused_with_the_place_and_reason(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_directory(f"[tenants.shop.amplitude]\n{line}\n")
    assert words in str(caught.value)
    assert "tenants.shop.amplitude" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_name_with_a_dot_in_it_is_not_taken_for_a_property() -> None:
    with pytest.raises(ConfigError, match=r"unknown 'amplitude\.api_key'"):
        parse_directory('[tenants.shop]\n"amplitude.api_key" = "key"')


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("api_key", "", ""),
        ("api_key", "abc", "abc"),
        ("region", "eu", "eu"),
        ("sample_percent", "10", 10),
        ("rename", "a=A, b=B=B", ("a=A", "b=B=B")),
        ("event_types", "", ()),
        ("revenue", "", ()),
    ],
)
def test_command_reads_a_property_from_its_text(name: str, text: str, value: object) -> None:
    assert parse_value(PROPERTIES[f"amplitude.{name}"], text) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("region", "asia", "amplitude.region is 'asia': use us or eu."),
        ("api_key", SECRET, "amplitude.api_key is (hidden): use at most 200 visible characters."),
    ],
)
def test_command_refuses_a_text_without_showing_a_secret(name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value(PROPERTIES[f"amplitude.{name}"], text)
    assert str(caught.value) == words


def test_secrets_are_not_shown_with_the_tenant() -> None:
    shown = repr(parse_directory(FILE).by_slug["shop"])
    assert ("'key'" in shown, "'other'" in shown, "order_*" in shown) == (False, False, True)


@pytest.mark.parametrize(
    ("text", "pair"),
    [("a=b", ("a", "b")), (" a = b c ", ("a", "b c")), ("a=b=c", ("a", "b=c")), ("a", ("a", ""))],
)
def test_pair_is_split_at_its_first_sign(text: str, pair: tuple[str, str]) -> None:
    assert split_pair(text) == pair
