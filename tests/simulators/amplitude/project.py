"""One project: its key, its limits and settings, its script of faults, and what it took."""

import hmac
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from tests.simulators.amplitude.answers import (
    INVALID_FIELDS,
    MISSING_FIELD,
    PROJECT_QUOTA,
    SILENCED,
    TOO_MANY,
    Answer,
    refused,
    taken,
)
from tests.simulators.amplitude.cohorts import Cohorts
from tests.simulators.amplitude.deletions import Deletions
from tests.simulators.amplitude.exports import LOAD_S
from tests.simulators.amplitude.faults import BadField, Fault
from tests.simulators.amplitude.rest import Costs
from tests.simulators.amplitude.rules import Checked
from tests.simulators.amplitude.store import FullError, Store
from tests.simulators.amplitude.throttle import DAILY_QUOTA, EPS_THRESHOLD, WINDOW_S, Limits

BATCH_EPS_THRESHOLD: Final = 1000
LINK_ABOVE_BYTES: Final = 262_144
"""From this size on a cohort's file is a link to storage."""


@dataclass(slots=True, kw_only=True)
class Options:
    """What can be set and is not state."""

    secret_key: str = "secret"
    latency_ms: float = 0.0
    eps_threshold: int | None = EPS_THRESHOLD
    batch_eps_threshold: int | None = BATCH_EPS_THRESHOLD
    window_s: float = WINDOW_S
    daily_quota: int | None = DAILY_QUOTA
    all_indexes: bool = False
    strict_type: bool = False
    dialect: Literal["real", "given"] = "real"
    denied_status: int = 401
    link_above_bytes: int = LINK_ABOVE_BYTES
    export_delay_s: float | None = LOAD_S
    """After the end of an hour until exports hold it; None: they hold everything at once."""


@dataclass(slots=True, kw_only=True)
class Project:
    """All that is known of one API key."""

    api_key: str
    options: Options = field(default_factory=Options)
    store: Store = field(default_factory=Store)
    users: Limits = field(default_factory=Limits)
    devices: Limits = field(default_factory=Limits)
    faults: list[Fault] = field(default_factory=list)
    bad_field: BadField | None = None
    silenced: set[str] = field(default_factory=set)
    is_revoked: bool = False
    quota_ended_until: float = 0.0
    clock_offset_s: float = 0.0
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By path, and by status or fault."""
    cohorts: Cohorts = field(default_factory=Cohorts)
    deletions: Deletions = field(default_factory=Deletions)
    costs: Costs = field(default_factory=Costs)
    in_flight: Counter[str] = field(default_factory=Counter)
    """Requests of the dashboard's half that are on their way."""

    def copy_for(self, api_key: str) -> "Project":
        """Return a project as a new key has it: this one's options and clock, nothing taken."""
        return Project(
            api_key=api_key,
            options=replace(self.options),
            clock_offset_s=self.clock_offset_s,
        )

    def is_opened_by(self, secret: str) -> bool:
        """Say whether this is the secret key of a project that has one."""
        given, own = secret.encode(), self.options.secret_key.encode()
        return hmac.compare_digest(given, own) and not self.is_revoked

    def judge(self, checked: Checked, *, is_batch: bool, now: float) -> Answer | None:
        """Return what refuses events that are well-formed; None when they may be taken."""
        return (
            self._ordered_bad(checked, names_all=is_batch or self.options.all_indexes)
            or self._silenced(checked, is_batch=is_batch)
            or self._quota_ended(now)
            or self._throttled(checked, is_batch=is_batch, now=now)
        )

    def take(self, checked: Checked, *, body_bytes: int, is_batch: bool, now: float) -> Answer:
        """Store events that ``judge`` lets pass, and return the answer that says so."""
        try:
            self.store.take(checked, now)
        except FullError:
            return refused(503, "The simulator holds as many events as it may")
        options = self.options
        for limits, counts in self._counted(checked):
            limits.count(
                counts,
                threshold=self._threshold(is_batch=is_batch),
                is_counted=options.daily_quota is not None,
                now=now,
            )
        return taken(len(checked), body_bytes, int(now * 1000))

    def _threshold(self, *, is_batch: bool) -> int | None:
        return self.options.batch_eps_threshold if is_batch else self.options.eps_threshold

    def _counted(self, checked: Checked) -> list[tuple[Limits, Counter[str]]]:
        users = Counter([event.user_id for event in checked.events])
        devices = Counter([event.device_id for event in checked.events])
        return [(self.users, _named(users)), (self.devices, _named(devices))]

    def _ordered_bad(self, checked: Checked, *, names_all: bool) -> Answer | None:
        if self.bad_field is None:
            return None
        found = list(self.bad_field.indexes(checked))
        if not found:
            return None
        named = {self.bad_field.name: found if names_all else found[:1]}
        if self.bad_field.name == "event_type":
            return refused(400, MISSING_FIELD, events_with_missing_fields=named)
        return refused(400, INVALID_FIELDS, events_with_invalid_fields=named)

    def _silenced(self, checked: Checked, *, is_batch: bool) -> Answer | None:
        if not self.silenced:
            return None
        indexes = _indexes(checked, lambda user, device: device in self.silenced)
        if not indexes:
            return None
        devices = {checked.events[index].device_id for index in indexes}
        return refused(
            400,
            SILENCED,
            eps_threshold=self._threshold(is_batch=is_batch) or 0,
            silenced_devices=sorted(filter(None, devices)),
            silenced_events=indexes,
            throttled_devices={},
        )

    def _quota_ended(self, now: float) -> Answer | None:
        return refused(429, PROJECT_QUOTA) if self.quota_ended_until > now else None

    def _throttled(self, checked: Checked, *, is_batch: bool, now: float) -> Answer | None:
        threshold = self._threshold(is_batch=is_batch)
        (users, user_counts), (devices, device_counts) = self._counted(checked)

        def fast(limits: Limits, counts: Counter[str]) -> dict[str, int]:
            return limits.too_fast(
                counts, threshold=threshold, window_s=self.options.window_s, now=now
            )

        quota = self.options.daily_quota
        fast_users, fast_devices = fast(users, user_counts), fast(devices, device_counts)
        many_users = users.too_many(user_counts, quota=quota, now=now)
        many_devices = devices.too_many(device_counts, quota=quota, now=now)
        if not (fast_users or fast_devices or many_users or many_devices):
            return None
        held_users: Collection[str] = fast_users.keys() | many_users.keys()
        held_devices: Collection[str] = fast_devices.keys() | many_devices.keys()
        members: dict[str, object] = {
            "eps_threshold": threshold or 0,
            "throttled_users": fast_users,
            "throttled_devices": fast_devices,
            "throttled_events": _indexes(
                checked, lambda user, device: user in held_users or device in held_devices
            ),
        }
        if many_users or many_devices:
            members["exceeded_daily_quota_users"] = many_users
            members["exceeded_daily_quota_devices"] = many_devices
        return refused(429, TOO_MANY, **members)


def _named(counts: Counter[str | None]) -> Counter[str]:
    return Counter({one: count for one, count in counts.items() if one is not None})


def _indexes(checked: Checked, is_held: Callable[[str | None, str | None], bool]) -> list[int]:
    return [
        index
        for index, event in enumerate(checked.events)
        if is_held(event.user_id, event.device_id)
    ]
