"""What was asked here of runs and the warehouse does not show yet.

A start and a stop are durable in the queue before they are answered; the warehouse shows them a
moment later. Until then they stand here, so that whoever started or stopped a run sees it at once.
What is forgotten, past the bounds or when this process ends, is seen when the warehouse shows it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from sluice.workflows.core.runs import CANCELED, ENDED, LIVE, Run

MAX_RUNS: Final = 5_000
MAX_BYTES: Final = 32 * 1024 * 1024
RUN_BYTES: Final = 2_000
"""What a run takes beside its inputs."""


class _Entry(msgspec.Struct):
    run: Run
    """As it is to be shown."""
    is_pending: bool
    """It is not durable yet: nobody sees it, but it counts."""
    is_stopped: bool

    @property
    def size(self) -> int:
        return RUN_BYTES + len(self.run.inputs)


class RecentRuns:
    """The runs of all tenants that were started or stopped here a moment ago."""

    def __init__(self, *, max_runs: int = MAX_RUNS, max_bytes: int = MAX_BYTES) -> None:
        self._max_runs = max_runs
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._by_tenant: dict[str, dict[str, _Entry]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many runs are remembered."""
        return len(self._entries)

    def ids(self, tenant: str) -> list[str]:
        """Return the runs of a tenant that the warehouse must be asked about."""
        return list(self._by_tenant.get(tenant, ()))

    def reserve(self, run: Run) -> None:
        """Count a run that is on its way to the queue."""
        self._put(_Entry(run, is_pending=True, is_stopped=False))

    def confirm(self, run_id: str) -> None:
        """Show a run that is durable now."""
        entry = self._entries.get(run_id)
        if entry is not None:
            entry.is_pending = False

    def forget(self, run_id: str) -> None:
        """Drop a run that did not become durable."""
        entry = self._entries.pop(run_id, None)
        if entry is None:
            return
        self._bytes -= entry.size
        of_tenant = self._by_tenant[entry.run.tenant]
        del of_tenant[run_id]
        if not of_tenant:
            del self._by_tenant[entry.run.tenant]

    def stop(self, run: Run) -> None:
        """Show a run as it is after a stop that is durable now."""
        self._put(_Entry(run, is_pending=False, is_stopped=True))

    def find(self, tenant: str, is_it: Callable[[Run], bool]) -> Run | None:
        """Return a run of a tenant that is shown, and that the warehouse may have too."""
        for entry in self._by_tenant.get(tenant, {}).values():
            if not entry.is_pending and is_it(entry.run):
                return entry.run
        return None

    def live(self, tenant: str, config_id: str) -> set[str]:
        """Return the runs of a configuration that go on, those on their way to the queue too."""
        return {
            entry.run.run_id
            for entry in self._by_tenant.get(tenant, {}).values()
            if entry.run.config_id == config_id and entry.run.state in LIVE
        }

    def settle(self, tenant: str, asked: Sequence[str], stored: Mapping[str, Run]) -> list[Run]:
        """Drop what the warehouse shows by now; return the rest as it is to be shown.

        Args:
            tenant: Whose runs.
            asked: The runs that the warehouse was asked about: of others nothing is known.
            stored: Those of them that it has.
        """
        shown: list[Run] = []
        for run_id in asked:
            entry = self._by_tenant.get(tenant, {}).get(run_id)
            if entry is None or entry.is_pending:
                continue
            run = stored.get(run_id)
            if run is not None and (not entry.is_stopped or _is_heard(run, entry.run)):
                self.forget(run_id)
                continue
            shown.append(entry.run)
        return shown

    def _put(self, entry: _Entry) -> None:
        self.forget(entry.run.run_id)
        self._entries[entry.run.run_id] = entry
        self._by_tenant.setdefault(entry.run.tenant, {})[entry.run.run_id] = entry
        self._bytes += entry.size
        while len(self._entries) > self._max_runs or self._bytes > self._max_bytes:
            self.forget(next(iter(self._entries)))


def _is_heard(stored: Run, shown: Run) -> bool:
    """Whether the warehouse shows a stop; what was shown as ended does not go on again."""
    return stored.state in ENDED or (stored.state == "stopping" and shown.state == "stopping")


def stopped(run: Run, asked_at: str) -> Run:
    """Return a live run as it is shown once a person asked to stop it."""
    if run.state != "scheduled":
        return msgspec.structs.replace(run, state="stopping")
    return msgspec.structs.replace(
        run,
        state="canceled",
        ended_at=asked_at,
        error_attribution=CANCELED.attribution,
        error_type=CANCELED.type,
        error_message=CANCELED.message,
    )


def merge(stored: Sequence[Run], recent: Sequence[Run], limit: int) -> list[Run]:
    """Return the newest runs of both, which share none; both are cut at ``limit``."""
    both = sorted([*stored, *recent], key=lambda run: (run.created_at, run.run_id), reverse=True)
    return both[:limit]
