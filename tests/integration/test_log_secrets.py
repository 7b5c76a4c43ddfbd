"""What a log shows of an error that nobody expected."""

import sys

import pytest

from tests.support.command import run
from tests.support.stack import environment

FAIL = """
import structlog
from sluice.settings import load_settings
from sluice.logs import configure_logging

def fail(token):
    raise RuntimeError("out of cheese")

configure_logging(load_settings())
try:
    fail("s3" + "cret")
except RuntimeError:
    structlog.get_logger("sluice.test").exception("Test failed")
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_log_of_an_error_shows_where_it_was_and_no_value(log_format: str) -> None:
    ran = await run(sys.executable, "-c", FAIL, env=environment({"LOG_FORMAT": log_format}))
    assert ran.status == 0, ran
    assert "Test failed" in ran.stderr
    assert "out of cheese" in ran.stderr
    assert "in fail" in ran.stderr
    assert "s3cret" not in ran.stderr
