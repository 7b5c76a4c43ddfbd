"""What a process imports before it does anything: each start pays for it, in time and memory."""

import sys

import pytest

from tests.support.command import run
from tests.support.stack import environment

HEAVY = {
    "chdb", "clickhouse_connect", "cryptography", "google", "grpc", "jsonpath_rfc9535",
    "jsonschema_rs", "jwt", "numpy", "opentelemetry", "pydantic", "rich", "ruamel", "structlog",
    "tomlkit", "typer",
}  # fmt: skip
LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.mark.parametrize(
    ("module", "but"),
    [
        ("gateway.app", set()),
        ("sluice.cli", set()),
        ("sluice.settings", {"aiohttp", "prometheus_client"}),
        ("sluice.cli.command_line", {"aiohttp", "prometheus_client"}),
    ],
)
async def test_process_starts_without_heavy_packages_until_they_are_used(
    module: str, but: set[str]
) -> None:
    needed = {"typer", "rich"} if module == "sluice.cli.command_line" else set()
    ran = await run(sys.executable, "-c", f"import {module}; {LOADED}", env=environment({}))
    assert ran.status == 0, ran
    assert not set(ran.stdout.split()) & ((HEAVY | but) - needed)
