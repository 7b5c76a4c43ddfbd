"""What ``--simulate-amplitude`` refuses, before anything is started."""

from pathlib import Path

import pytest

from sluice.cli.simulated import Simulated
from sluice.core.amplitude import SIMULATED_KEY, AmplitudeConfig
from sluice.core.errors import ConfigError
from sluice.settings import Settings
from worker.amplitude_client import ONLY_SIMULATED, AmplitudeClient
from worker.core.amplitude_answers import Held, judge


def test_installed_package_says_where_the_simulator_is() -> None:
    with pytest.raises(ConfigError, match="the simulator is in the source tree only"):
        Simulated.of(Settings(), Path("/nowhere"))


def test_lines_show_what_to_paste() -> None:
    simulated = Simulated(8090, Path("/nowhere"))
    assert "  curl http://127.0.0.1:8090/_sim\n" in simulated.lines
    assert f"taken?api_key={SIMULATED_KEY}" in simulated.lines


def test_workflows_may_follow_the_links_of_the_simulator() -> None:
    simulated = Simulated(8090, Path("/nowhere"), 8091)
    settings = Settings(workflow_private_hosts="db.example:1")
    assert simulated.environment(settings) == {
        "SLUICE_AMPLITUDE_URL": "http://127.0.0.1:8090",
        "SLUICE_WORKFLOW_PRIVATE_HOSTS": "db.example:1,127.0.0.1:8091",
    }


async def test_made_up_key_is_never_sent_to_amplitude_itself() -> None:
    config = AmplitudeConfig(api_key=SIMULATED_KEY)
    async with AmplitudeClient() as client:
        answer = await client.post(config, "/2/httpapi", [b"{}"], timeout_s=1)
    assert answer is ONLY_SIMULATED
    verdict = judge(answer, ["user"])
    assert isinstance(verdict, Held)
    assert verdict.reason == "bad_credentials"
