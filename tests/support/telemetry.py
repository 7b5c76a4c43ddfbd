"""What a process says of itself, and what the kernel says of it."""

from pathlib import Path
from typing import Final, Self

from prometheus_client.parser import text_string_to_metric_families

MIB: Final = 1024 * 1024


def sum_of(metrics: str, name: str, **labels: str) -> float:
    """Return the sum of all samples of that name whose labels hold the given ones."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def server_errors(metrics: str) -> float:
    """Return how many requests a gateway has answered with 5xx, health aside."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "sluice_http_request_duration_seconds_count"
        and sample.labels["status"].startswith("5")
        and sample.labels["route"] != "health"
    )


class PeakMemory:
    """Measures how far a process's peak of resident memory rises inside the ``with`` block."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self.growth_bytes = 0

    def __enter__(self) -> Self:
        """Forget earlier peaks (proc(5), clear_refs, value 5)."""
        (self._proc / "clear_refs").write_text("5")
        self._before = self._peak_bytes()
        return self

    def __exit__(self, *exc: object) -> None:
        """Note the growth."""
        self.growth_bytes = self._peak_bytes() - self._before

    def _peak_bytes(self) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        message = f"{self._proc}/status has no VmHWM"
        raise RuntimeError(message)
