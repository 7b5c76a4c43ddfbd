"""What ``sluice replay`` says to a wrong argument."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.cli.command_line import build_app
from sluice.core.amplitude import SIMULATED_KEY
from sluice.core.errors import ConfigError
from sluice.tenants import TenantsFile

WORDS = ["replay", "--tenant", "shop", "--destination", "amplitude", "--since", "7d"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tenant", "nobody"], "--tenant is 'nobody': there is no such tenant in"),
        (
            ["--tenant", "keyless"],
            "which forwards nothing to Amplitude: `sluice tenant set keyless",
        ),
        (["--tenant", "simulated"], "whose key is the simulator's: set SLUICE_AMPLITUDE_URL"),
        (["--destination", "warehouse"], "--destination is 'warehouse': use amplitude."),
        (
            ["--since", "yesterday"],
            "--since is 'yesterday': use 2026-03-01T10:00Z, a date, 90m, 7d",
        ),
        (["--until", "9d"], "nothing lies between them."),
        (["--give-up-after", "soon"], "--give-up-after is 'soon'"),
    ],
)
def test_wrong_argument_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    tenants = TenantsFile(tmp_path / "tenants.toml")
    tenants.add_tenant("shop")
    tenants.set_value("shop", "amplitude.api_key", "a-key")
    tenants.add_tenant("keyless")
    tenants.add_tenant("simulated")
    tenants.set_value("simulated", "amplitude.api_key", SIMULATED_KEY)
    given = [*WORDS, "--data-dir", str(tmp_path), *words]
    result = CliRunner().invoke(build_app(given), given)
    assert isinstance(result.exception, ConfigError)
    assert sentence in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "replays").exists()
