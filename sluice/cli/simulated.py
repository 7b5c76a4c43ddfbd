"""``sluice run --simulate-amplitude``: an Amplitude of one's own, to watch forwarding by.

Nothing goes to Amplitude itself: every part is told the simulator's address, tenants with a key of
their own are refused, and the made-up key is sent to no other place (``worker.amplitude_client``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sluice.cli.ports import LOOPBACK, free_port, simulator_port
from sluice.cli.supervisor import Part, Program, Report
from sluice.cli.welcome import DEMO, base_url
from sluice.core.amplitude import SIMULATED_KEY, SIMULATED_SECRET
from sluice.core.errors import ConfigError
from sluice.settings import Settings
from sluice.tenants import TenantsFile

MODULE: Final = "tests.simulators.amplitude"
SOURCES: Final = Path(__file__).parents[2]
KEY: Final = "amplitude.api_key"
SECRET: Final = "amplitude.secret_key"  # noqa: S105 - the property's name


@dataclass(frozen=True, slots=True)
class Simulated:
    """Where the simulator is."""

    port: int
    sources: Path
    storage_port: int = 0
    """Where links to large files lead; 0: nobody needs to know."""

    @classmethod
    def of(cls, settings: Settings, sources: Path = SOURCES) -> "Simulated":
        """Return the simulator that a run is to have.

        Raises:
            ConfigError: It is not installed, or something was set for the real Amplitude.
        """
        if not (sources / MODULE.replace(".", "/") / "__main__.py").exists():
            message = (
                "--simulate-amplitude: the simulator is in the source tree only; run Sluice from"
                " a checkout of it."
            )
            raise ConfigError(message)
        if settings.amplitude_url:
            message = "--simulate-amplitude and SLUICE_AMPLITUDE_URL exclude each other: unset it."
            raise ConfigError(message)
        for slug, tenant in TenantsFile(settings.tenants_path).directory.by_slug.items():
            if tenant.amplitude is not None and tenant.amplitude.api_key != SIMULATED_KEY:
                message = (
                    f"--simulate-amplitude: tenant {slug!r} has an amplitude.api_key of its own,"
                    " and its events would count as delivered though Amplitude never had them:"
                    " use another --data-dir."
                )
                raise ConfigError(message)
        return cls(simulator_port(), sources, free_port())

    @property
    def url(self) -> str:
        """Its address."""
        return base_url(LOOPBACK, self.port)

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return what the other parts are told: its address, and that workflows may go there."""
        hosts = filter(None, (settings.workflow_private_hosts, f"{LOOPBACK}:{self.storage_port}"))
        return {
            "SLUICE_AMPLITUDE_URL": self.url,
            "SLUICE_WORKFLOW_PRIVATE_HOSTS": ",".join(hosts),
        }

    @property
    def lines(self) -> str:
        """What to paste to watch it."""
        return "\n".join(
            [
                f"Amplitude is simulated on {self.url}; nothing goes to the real one. Watch it:",
                "",
                f"  curl {self.url}/_sim",
                f'  curl "{self.url}/_sim/taken?api_key={SIMULATED_KEY}"',
                "",
            ]
        )

    def part(self, report: Report) -> Part:
        """Return its process, which takes any key."""
        ports = ["--port", str(self.port), "--storage-port", str(self.storage_port)]
        return Part(
            ["--any-key", "--secret-key", SIMULATED_SECRET, "--host", LOOPBACK, *ports],
            {},
            report,
            name="amplitude simulator",
            program=Program(MODULE, "--until-eof", self.sources),
        )


def let_forward(tenants: TenantsFile) -> list[str]:
    """Make the first tenant forward to the simulator; return what to tell."""
    demo = tenants.directory.by_slug.get(DEMO)
    if demo is None:
        return [
            f"no tenant is called {DEMO}: `sluice tenant set SLUG {KEY}={SIMULATED_KEY}` makes one"
            " forward to the simulator"
        ]
    if demo.amplitude is not None:
        return []
    tenants.set_value(DEMO, KEY, SIMULATED_KEY)
    tenants.set_value(DEMO, SECRET, SIMULATED_SECRET)
    return [f"tenant {DEMO} forwards to the simulator now, with the made-up key {SIMULATED_KEY}"]


def forget_simulated(tenants: TenantsFile) -> list[str]:
    """End the forwarding that only the simulator was to see; return what to tell."""
    told: list[str] = []
    for slug, tenant in tenants.directory.by_slug.items():
        if tenant.amplitude is not None and tenant.amplitude.api_key == SIMULATED_KEY:
            if tenant.amplitude.secret_key == SIMULATED_SECRET:
                tenants.set_value(slug, SECRET, "")
            tenants.set_value(slug, KEY, "")
            told.append(f"tenant {slug} forwards no more: its key was the simulator's")
    return told
