"""From what became of sent events to who waits, for how long and under which hold. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.core.holds import EVERYBODY, Hold, Pauses, catching_up, project_hold, user_hold
from worker.core.lane import Item, Settled

UserHolds = dict[str, Hold]
"""Holds of one tenant by user; ``EVERYBODY`` is the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What decisions take from outside."""

    now: float
    """Unix seconds."""
    jitter: float
    """A random number from [0, 1)."""
    pauses: Pauses


def holds_of(settled: Settled, before: Mapping[str, Hold], moment: Moment) -> UserHolds:
    """Return the holds that what was learned makes, given those there were."""
    at = {"now": moment.now, "jitter": moment.jitter}
    holds: UserHolds = {}
    for user, detail in settled.throttled.items():
        holds[user] = user_hold(
            "throttled_user", detail, before.get(user), pauses=moment.pauses, **at
        )
    for user, detail in settled.over_quota.items():
        holds[user] = user_hold("daily_quota", detail, before.get(user), pauses=moment.pauses, **at)
    if settled.held is not None:
        project = before.get(EVERYBODY)
        holds[EVERYBODY] = project_hold(settled.held, project, pauses=moment.pauses, **at)
    return holds


def covered(items: Sequence[Item], holds: Mapping[str, Hold], moment: Moment) -> UserHolds:
    """Return what must change in one tenant's holds, so that each event waits under one.

    A hold may have ended while its user's next events were on their way to the lot; these are due
    at once.
    """
    changed: UserHolds = {}
    project = holds.get(EVERYBODY)
    for item in items:
        if item.user_id in holds or item.user_id in changed:
            continue
        if project is not None:
            changed[EVERYBODY] = replace(project, has_rows=True)
        else:
            changed[item.user_id] = catching_up(moment.now)
    return changed


def by_hold(items: Iterable[Item], holds: Mapping[str, Hold]) -> dict[Hold, list[Item]]:
    """Return parked events by the hold that they wait under; each has one."""
    found: dict[Hold, list[Item]] = {}
    for item in items:
        hold = holds.get(item.user_id) or holds[EVERYBODY]
        found.setdefault(hold, []).append(item)
    return found
