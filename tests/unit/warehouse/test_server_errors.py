"""What is made of the engine's error texts."""

import pytest

from sluice.warehouse.server.errors import StatementError, parse_engine_error, too_busy


@pytest.mark.parametrize(
    ("text", "code", "name", "message", "status"),
    [
        (
            "Code: 60. DB::Exception: Table sluice.nope does not exist. (UNKNOWN_TABLE)",
            60,
            "UNKNOWN_TABLE",
            "Table sluice.nope does not exist",
            404,
        ),
        (
            "Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format Nope. "
            "(UNKNOWN_FORMAT) (version 26.9.2.1). (UNKNOWN_FORMAT)",
            73,
            "UNKNOWN_FORMAT",
            "Unknown format Nope",
            404,
        ),
        (
            "Streaming insert finish failed: Code: 27. DB::Exception: Cannot parse (at row 2)\n"
            ": While executing X. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.9.2.1)",
            27,
            "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
            "Cannot parse (at row 2)\n: While executing X",
            400,
        ),
        ("something else", 1000, "", "something else", 500),
    ],
)
def test_engine_error_gives_code_name_and_status_when_it_is_wrapped(
    text: str, code: int, name: str, message: str, status: int
) -> None:
    error = parse_engine_error(text)
    assert (error.code, error.name, error.message, error.status) == (code, name, message, status)


def test_error_text_is_clickhouses_when_it_is_answered() -> None:
    error = StatementError(62, "SYNTAX_ERROR", "Syntax error")
    assert (
        error.text("1.2") == "Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR) (version 1.2)\n"
    )


def test_full_lane_is_unavailable_when_a_client_may_try_again() -> None:
    assert (too_busy("people", 32).code, too_busy("people", 32).status) == (202, 503)
