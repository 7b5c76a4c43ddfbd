"""``python -m loadtest.footprint``: what Sluice takes before anything comes. ``--write`` keeps it.

* Import: processor time of ``import gateway.app`` in a new process, above that of an empty one, its
  bytecode compiled before. Where nothing else runs that is also how long it takes.
* Start: from the command until ``ready``, of ``sluice run`` on a new data directory, then again on
  the same one.
* Memory: resident, of each process of ``sluice run`` once it has nothing to do. ``unique`` is what
  the system gets back when that process alone ends; pages that several share count once in ``all``.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from loadtest.bench import PERFORMANCE
from loadtest.broker_rig import parts_environment, wait_until_quiet
from loadtest.processes import children, running
from loadtest.report import keep, measured_on, say, table

ROUNDS: Final = 5
IMPORT: Final = "import gateway.app"
GOALS: Final = {"import": "0.4 s", "start": "5 s", "all": "600 MB"}
_KB: Final = 1_024


def processor_s(code: str) -> float:
    """Return the processor time of a new interpreter that runs some code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)  # noqa: S603 - our own code
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def import_s(rounds: int) -> tuple[float, float]:
    """Return the median and the least processor time of the gateway's imports."""
    processor_s(IMPORT)  # compiles
    took = [processor_s(IMPORT) - processor_s("pass") for _ in range(rounds)]
    return statistics.median(took), min(took)


def memory_mb(pid: int) -> dict[str, float]:
    """Return a process's resident, proportional and unique memory in MB."""
    found = {"resident": 0.0, "share": 0.0, "unique": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == "Rss":
            found["resident"] += int(words[0]) / _KB
        elif name == "Pss":
            found["share"] += int(words[0]) / _KB
        elif name in {"Private_Clean", "Private_Dirty"}:
            found["unique"] += int(words[0]) / _KB
    return found


def start(data_dir: Path, log: Path) -> tuple[float, Mapping[str, Mapping[str, float]]]:
    """Run ``sluice run`` until it is idle; return seconds to ``ready``, and memory by part."""
    env = parts_environment(data_dir)
    began = time.perf_counter()
    with running(["sluice.cli", "run"], env=env, log=log) as process:
        ready_s = time.perf_counter() - began
        pids = {"supervisor": process.pid} | children(process.pid)
        wait_until_quiet([process.pid])
        return ready_s, {name: memory_mb(pid) for name, pid in pids.items()}


def measure(rounds: int) -> str:
    """Return the section of the page."""
    lines = []
    say("import")
    middle, least = import_s(rounds)
    lines.append(
        ["import of the gateway", f"{middle:.2f} s (least {least:.2f} s)", GOALS["import"]]
    )
    first, again = [], []
    memory: list[Mapping[str, Mapping[str, float]]] = []
    for number in range(rounds):
        say(f"start {number + 1} of {rounds}")
        with tempfile.TemporaryDirectory(prefix="sluice-footprint-") as name:
            folder = Path(name)
            first.append(start(folder / "data", folder / "log")[0])
            ready_s, parts = start(folder / "data", folder / "log")
            again.append(ready_s)
            memory.append(parts)
    for what, times in (("first start", first), ("later start", again)):
        spread = f"{min(times):.1f} to {max(times):.1f}"
        lines.append(
            [f"{what}, to `ready`", f"{statistics.median(times):.1f} s ({spread})", GOALS["start"]]
        )
    for part in memory[0]:
        resident = statistics.median(parts[part]["resident"] for parts in memory)
        unique = statistics.median(parts[part]["unique"] for parts in memory)
        lines.append([f"{part}, idle", f"{resident:.0f} MB resident, {unique:.0f} unique", ""])
    whole = statistics.median(sum(one["share"] for one in parts.values()) for parts in memory)
    lines.append(["`sluice run`, idle, in all", f"{whole:.0f} MB", GOALS["all"]])
    return f"{measured_on()}\n{table(['what', 'figure', 'goal'], lines)}"


def main() -> int:
    """Measure, print the table, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md")
    options = parser.parse_args()
    text = measure(options.rounds)
    print(text)
    if options.write:
        keep(PERFORMANCE, text, mark="footprint")
    return 0


if __name__ == "__main__":
    sys.exit(main())
