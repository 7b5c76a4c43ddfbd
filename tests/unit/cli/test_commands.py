"""The command line: every command is there, is lazy, and explains itself."""

import logging

import pytest
from typer.testing import CliRunner

from sluice.cli import COMMANDS, main
from sluice.cli.checks import check_variables
from sluice.cli.command_line import build_app
from sluice.cli.doctor import line_of
from sluice.cli.parts import chosen_names
from sluice.cli.supervisor import in_words, variables_for
from sluice.core.errors import ConfigError

RUN = CliRunner()
WORKFLOW = ("run", "runs", "show", "stop", "files", "configs", "configure", "lint", "list")
TENANT = ("add", "list", "rotate-key", "add-key", "revoke-key", "set")


@pytest.mark.parametrize(
    "words",
    [[name] for name in COMMANDS]
    + [["tenant", n] for n in TENANT]
    + [["webhook", "doctor"], ["webhook", "send"]]
    + [["workflow", n] for n in WORKFLOW],
)
def test_command_explains_itself(words: list[str]) -> None:
    result = RUN.invoke(build_app(words), [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "--help" in result.output


def test_help_names_every_command() -> None:
    result = RUN.invoke(build_app(["--help"]), ["--help"])
    assert all(name in result.output for name in COMMANDS)


@pytest.mark.parametrize("words", [["nonsense"], ["run", "--nonsense"], ["send"], ["tenant", "x"]])
def test_wrong_command_line_ends_with_2(words: list[str]) -> None:
    assert RUN.invoke(build_app(words), words).exit_code == 2


def test_list_of_destinations_is_checked() -> None:
    assert chosen_names("", ("a", "b")) == ["a", "b"]
    assert chosen_names("b, a", ("a", "b")) == ["b", "a"]
    with pytest.raises(ConfigError, match="--only is 'c': known destinations are a, b"):
        chosen_names("c", ("a", "b"))


@pytest.mark.parametrize(
    ("status", "words"), [(-9, "died (signal 9)"), (1, "died (status 1)"), (0, "stopped")]
)
def test_end_of_a_part_is_said_in_words(status: int, words: str) -> None:
    assert in_words(status) == words


def test_doctor_suggests_the_variable_that_was_meant() -> None:
    finding = check_variables({"SLUICE_PROT": "1", "SLUICE_URL": "x", "PATH": "y"})
    assert line_of(finding) == (
        "warn  settings: SLUICE_PROT is not known -> did you mean SLUICE_PORT?"
    )
    assert check_variables({"SLUICE_PORT": "1"}).state == "ok"


def test_interrupted_command_says_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_environment: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sluice.cli.doctor.check_variables", interrupt)
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "sluice: stopped\n"
    assert logging.root.manager.disable == logging.NOTSET


def test_warehouse_is_given_no_secret_of_others() -> None:
    """Its environment may come to be read by whoever may query it."""
    environment = {
        "PATH": "/bin",
        "SLUICE_DATA_DIR": "d",
        "SLUICE_JWT_SECRET": "s",
        "CLOUD_TOKEN": "t",
    }
    assert variables_for("warehouse", environment) == {"PATH": "/bin", "SLUICE_DATA_DIR": "d"}
    assert variables_for("gateway", environment) == environment
