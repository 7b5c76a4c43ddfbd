"""Settings: one line for a wrong value, and never a secret in it."""

import os
from pathlib import Path

import pytest

from sluice.core.errors import ConfigError
from sluice.settings import SETTINGS, load_settings

WRONG = {
    "PORT": ("70000", "use a whole number from 0 to 65535"),
    "WORKER_PORT": ("http", "use a whole number from 0 to 65535"),
    "QUEUE_URL": ("pubsub", "use local:PATH"),
    "PUBSUB_ENDPOINT": ("https://pubsub.googleapis.com", "use host:port, for example europe-west1"),
    "WAREHOUSE_URL": ("tcp://u:hidden-secret@h", "use http(s)://user:password@host:port/database"),
    "WORKER_URL": ("localhost:8082", "use http(s)://host:port"),
    "AMPLITUDE_URL": ("http://127.0.0.1:99999", "use http(s)://host:port"),
    "JWT_SECRET": ("hidden-secret", "at least 32 bytes"),
    "JWKS_URL": ("ftp://user:hidden-secret@host/keys", "//***@host/keys"),
    "MAX_CONNECTIONS": ("\uff18\uff10", "use a whole number from 1 up"),
    "BODY_TIMEOUT_S": ("1_0", "use a number above 0, at most 120"),
    "QUEUE_MAX_BYTES": ("1", "use bytes as a whole number from 1048576 up, for example 1073741824"),
    "PUBLISH_TIMEOUT_S": ("10", "use a number above 0, at most 9"),
    "BATCH_MAX_AGE_S": ("nan", "use a number above 0, at most 60"),
    "BATCH_MAX_ROWS": ("many", "use a whole number from 1 up"),
    "LOG_FORMAT": ("xml", "use one of auto, json, text"),
    "LOG_LEVEL": ("trace", "use one of debug, info, warning, error"),
}


@pytest.mark.parametrize(("name", "value", "words"), [(n, v, w) for n, (v, w) in WRONG.items()])
def test_wrong_value_is_one_line_that_names_variable_and_remedy(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SLUICE_{name}", value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith(f"SLUICE_{name} is ")
    assert words in line
    assert "\n" not in line
    assert "hidden-secret" not in line


def test_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_PORT", "9000")
    assert load_settings(port=9001).port == 9001
    assert load_settings(port=None).port == 9000


@pytest.mark.parametrize("port", ["abc", "99999"])
def test_wrong_option_is_named_as_it_was_typed(port: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(port=port)
    assert str(caught.value) == (
        f"SLUICE_PORT (--port) is '{port}': use a whole number from 0 to 65535."
    )


def test_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setenv("SLUICE_JWT_SECRET_FILE", str(file))
    secret = load_settings().jwt_secret.get_secret_value()
    assert secret == "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("name", ["JWT_SECRET", "WAREHOUSE_URL"])
def test_line_end_around_a_secret_does_not_count(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "https://u:0123456789abcdef0123456789abcdef@h:8443/d"
    monkeypatch.setenv(f"SLUICE_{name}", f"{value}\n")
    assert getattr(load_settings(), name.lower()).get_secret_value() == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "it cannot be read: No such file or directory."),
        (b"\n", "the file is empty."),
        (b"\xff\xfe", "it holds no UTF-8 text."),
        (b"hidden-secret" * 6_000, "it has more than 65536 bytes."),
        (b"hidden-secret", "SLUICE_JWT_SECRET is (hidden): use at least 32 bytes"),
    ],
)
def test_wrong_file_of_a_secret_is_one_line_that_hides_it(
    content: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SLUICE_JWT_SECRET_FILE", str(file))
    with pytest.raises(ConfigError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith("SLUICE_JWT_SECRET")
    assert words in line
    assert "hidden-secret" not in line


def test_pipe_is_no_file_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("SLUICE_JWT_SECRET_FILE", str(tmp_path / "pipe"))
    with pytest.raises(ConfigError, match=r"it cannot be read: it is no file\."):
        load_settings()


def test_secret_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WAREHOUSE_URL", "https://u:hidden-secret@h/d")
    monkeypatch.setenv("SLUICE_WAREHOUSE_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value) == (
        "SLUICE_WAREHOUSE_URL and SLUICE_WAREHOUSE_URL_FILE are both set: keep one of them."
    )


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_PORT", "")
    assert load_settings().port == SETTINGS["port"].default


def test_every_setting_says_what_it_means() -> None:
    silent = [name for name, field in SETTINGS.items() if not field.description]
    assert silent == []


def test_secret_is_hidden_where_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WAREHOUSE_URL", "https://u:hidden-secret@h/d")
    settings = load_settings()
    assert "hidden-secret" not in f"{settings} {settings!r} {settings.warehouse_url}"


def test_settings_know_which_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HOST", "::1")
    monkeypatch.setenv("SLUICE_WORKER_PORT", "")
    assert load_settings(port=1).given == {"host", "port"}
