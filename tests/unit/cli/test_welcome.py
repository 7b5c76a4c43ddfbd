"""What a first start prints."""

from pathlib import Path

import pytest

from sluice.cli.welcome import (
    base_url,
    command_words,
    data_dir_option,
    warehouse_lines,
    welcome_lines,
)

GATEWAY = "http://127.0.0.1:8080"
WORKER = "http://127.0.0.1:40123"
PYTHON = "/home/ada/sluice/.venv/bin/python"
FOLDER = "/home/ada/sluice"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (".venv/bin/sluice", ".venv/bin/sluice"),
        ("/home/ada/sluice/.venv/bin/sluice", ".venv/bin/sluice"),
        ("/usr/local/bin/sluice", "/usr/local/bin/sluice"),
        ("/home/ada/sluice/sluice/cli/__main__.py", ".venv/bin/sluice"),
        ("/opt/my tools/sluice", "'/opt/my tools/sluice'"),
    ],
)
def test_command_is_named_as_a_person_can_paste_it(argument: str, words: str) -> None:
    assert command_words(argument, PYTHON, FOLDER) == words


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104 - nothing is bound
        ("::", "http://[::1]:8080"),
        ("::1", "http://[::1]:8080"),
        ("events.example", "http://events.example:8080"),
    ],
)
def test_address_is_one_that_a_client_can_use(host: str, url: str) -> None:
    assert base_url(host, 8080) == url


def test_data_dir_is_named_when_it_is_not_the_default() -> None:
    assert data_dir_option(Path("sluice-data"), {}) == ""
    assert data_dir_option(Path("/var/my data"), {}) == " --data-dir '/var/my data'"
    assert data_dir_option(Path("x"), {"SLUICE_DATA_DIR": "x"}) == " --data-dir x"


def test_first_start_shows_the_key_in_the_line_to_paste() -> None:
    text = welcome_lines(GATEWAY, WORKER, ".venv/bin/sluice", "", "sk_live_x")
    assert "ApiKey sk_live_x" in text
    assert "$(.venv/bin/sluice token demo)" in text
    assert "http://127.0.0.1:8080/docs" in text
    assert "open http://127.0.0.1:8080/ and sign in" in text


def test_start_shows_where_the_worker_is_wherever_it_had_to_move() -> None:
    text = welcome_lines(GATEWAY, WORKER, "sluice", "", None)
    assert f"worker's status is {WORKER}/status" in text


def test_later_start_says_how_to_get_a_new_key() -> None:
    text = welcome_lines(GATEWAY, WORKER, "sluice", " --data-dir d", None)
    assert "sluice tenant rotate-key demo --data-dir d" in text
    assert "sk_live_" not in text


def test_address_of_the_warehouse_is_pasted_from_its_file() -> None:
    text = warehouse_lines("http://127.0.0.1:8123", Path("my data/warehouse.reader.url"))
    assert "http://127.0.0.1:8123" in text
    assert "curl \"$(cat 'my data/warehouse.reader.url')\" --data " in text
