"""Ports that stand in for taken ones."""

from sluice.cli.ports import Ports, moved_lines
from sluice.environment import SecretText
from sluice.settings import Settings

ELSEWHERE = Ports(gateway=8080, worker=8082, warehouse=45741)


def test_operator_is_told_when_a_part_listens_elsewhere() -> None:
    assert moved_lines(Settings(), ELSEWHERE) == [
        "port 8123 is taken; the warehouse listens on 45741 this time;"
        " set SLUICE_WAREHOUSE_PORT to choose"
    ]


def test_nothing_is_said_when_no_port_was_wanted_or_the_warehouse_is_not_ours() -> None:
    assert moved_lines(Settings(warehouse_port=0), ELSEWHERE) == []
    remote = Settings(warehouse_url=SecretText("http://ch:8123/sluice"))
    assert moved_lines(remote, ELSEWHERE) == []
