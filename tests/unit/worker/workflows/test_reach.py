"""Which addresses may be reached: pure tables."""

import pytest

from worker.workflows.core.reach import is_public, listed, place_of


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("0.0.0.0", False),  # noqa: S104 - a value
        ("0.1.2.3", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("169.254.169.254", False),
        ("169.254.170.2", False),
        ("172.31.255.255", False),
        ("192.0.0.192", False),
        ("192.0.2.1", False),
        ("192.168.0.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("2001::1", False),
        ("2001:db8::1", False),
        ("2002:7f00:1::", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_address_is_public_only_when_anybody_could_reach_it(address: str, *, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://a.example/x?y=z", ("a.example", 443)),
        ("http://a.example", ("a.example", 80)),
        ("http://A.Example:8080/", ("a.example", 8080)),
        ("http://127.0.0.1:1/", ("127.0.0.1", 1)),
        ("http://[::1]:1/", ("::1", 1)),
        ("http://under_score.example./", ("under_score.example.", 80)),
        ("http://4.example/", ("4.example", 80)),
    ],
)
def test_place_is_host_and_port(url: str, place: tuple[str, int]) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://a.example/", "not http(s)"),
        ("//a.example/", "not http(s)"),
        ("http://u@a.example/", "not http(s)"),
        ("http://u:p@a.example/", "not http(s)"),
        ("http://a.example:0/", "not http(s)"),
        ("http://a.example:70000/", "is none"),
        ("http://[::1/", "is none"),
        ("http://[v1.a]/", "no IPv6 address"),
        ("http://[fe80::1%25eth0]/", "no IPv6 address"),
        ("http:///x", "not a name in ASCII"),
        ("http://bücher.example/", "not ASCII"),
        ("http://①②⑦.0.0.1/", "not ASCII"),
        ("http://a.example/a b", "a blank"),
        ("http://a.example/a\r\nHost: b", "a blank"),
        ("http://a%2eexample/", "not a name in ASCII"),
        ("http://2130706433/", "unusual spelling"),
        ("http://0x7f000001/", "unusual spelling"),
        ("http://0x7f.0.0.1/", "unusual spelling"),
        ("http://0177.0.0.1/", "unusual spelling"),
        ("http://127.1/", "unusual spelling"),
        ("http://127.0.0.1./", "unusual spelling"),
        ("http://127.0.0.01/", "unusual spelling"),
    ],
)
def test_address_that_could_be_read_in_two_ways_is_refused(url: str, words: str) -> None:
    found = place_of(url)
    assert isinstance(found, str)
    assert words in found


def test_list_of_private_hosts_is_read_from_hosts_and_addresses() -> None:
    found = listed(" db.example:1, 127.0.0.1:80,[::1]:8, ,bad host:1", "", "http://Sim.example:9/x")
    assert found == {("db.example", 1), ("127.0.0.1", 80), ("::1", 8), ("sim.example", 9)}
