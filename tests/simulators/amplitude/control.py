"""What ``POST /_sim`` may say, as types, and what it changes.

A member that is not given changes nothing. Without ``api_key`` a change holds for every project
there is and, as far as settings and clock go, for those to come.
"""

import random
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from tests.simulators.amplitude.cohorts import MAX_COHORTS, Cohort
from tests.simulators.amplitude.exports import places_of
from tests.simulators.amplitude.faults import (
    GOOD_ANSWERS,
    KINDS,
    MAX_FAULTS,
    MAX_SECONDS,
    BadField,
    Fault,
)
from tests.simulators.amplitude.project import Project
from tests.simulators.amplitude.rules import CHECKS
from tests.simulators.amplitude.service import BATCH, V2, Service
from tests.simulators.amplitude.throttle import Limits

Ids = Annotated[list[str], msgspec.Meta(max_length=100_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]
FOREVER: Final = float("inf")
UPLOADS: Final = (V2, BATCH)


class RefusedError(Exception):
    """A change that makes no sense, with the reason."""


class Part(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is not known is refused, so that a misspelt fault is not silently none."""


class FaultGiven(Part):
    """One line of the script (``faults.Fault``)."""

    fault: str
    times: Count | None = None
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    seed: int = 0
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    seconds: Seconds = 60.0
    status: Annotated[int, msgspec.Meta(ge=300, le=599)] = 502
    retry_after_s: int | None = None
    stored: bool | None = None
    paths: Ids = msgspec.field(default_factory=lambda: list(UPLOADS))
    user_ids: Ids = msgspec.field(default_factory=list)
    event_types: Ids = msgspec.field(default_factory=list)


class BadFieldGiven(Part):
    """Events that are refused with an index map."""

    field: str
    user_ids: Ids = msgspec.field(default_factory=list)
    event_types: Ids = msgspec.field(default_factory=list)
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: int = 0


class ThrottleGiven(Part):
    """Ids that are too fast, whatever they send, until released or for a while."""

    user_ids: Ids = msgspec.field(default_factory=list)
    device_ids: Ids = msgspec.field(default_factory=list)
    for_s: float | None = None
    eps: int = 31


class OverQuotaGiven(Part):
    """Ids over their daily quota, with the count that is shown."""

    user_ids: dict[str, int] = msgspec.field(default_factory=dict)
    device_ids: dict[str, int] = msgspec.field(default_factory=dict)
    for_s: float = 86_400.0


class IdsGiven(Part):
    """Users and devices by id."""

    user_ids: Ids = msgspec.field(default_factory=list)
    device_ids: Ids = msgspec.field(default_factory=list)


class CohortGiven(Part):
    """A cohort (``cohorts.Cohort``); one of the same id is replaced."""

    id: str
    name: str = ""
    user_ids: Annotated[list[str], msgspec.Meta(max_length=2_000_000)] = msgspec.field(
        default_factory=list
    )
    event_type: str | None = None
    hidden: bool = False
    fails: bool = False
    polls: Annotated[int, msgspec.Meta(ge=0)] = 2


class ClockGiven(Part):
    """Moves the simulated clock; it runs on from there."""

    advance_s: float | None = None
    set: float | datetime | None = None


Threshold = Annotated[int, msgspec.Meta(ge=1)] | None


class Change(Part):
    """One ``POST /_sim``."""

    api_key: str | None = None
    keys: Annotated[list[str], msgspec.Meta(max_length=10_000)] = msgspec.field(
        default_factory=list
    )
    any_key: bool | UnsetType = UNSET
    reset: bool = False
    revoked: bool | UnsetType = UNSET
    # settings
    secret_key: str | UnsetType = UNSET
    latency_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] | UnsetType = UNSET
    eps_threshold: Threshold | UnsetType = UNSET
    batch_eps_threshold: Threshold | UnsetType = UNSET
    window_s: Annotated[float, msgspec.Meta(gt=0)] | UnsetType = UNSET
    daily_quota: Threshold | UnsetType = UNSET
    all_indexes: bool | UnsetType = UNSET
    strict_type: bool | UnsetType = UNSET
    dialect: Literal["real", "given"] | UnsetType = UNSET
    denied_status: Literal[401, 403] | UnsetType = UNSET
    link_above_bytes: Annotated[int, msgspec.Meta(ge=0)] | UnsetType = UNSET
    export_delay_s: Annotated[float, msgspec.Meta(ge=0)] | UnsetType | None = UNSET
    # state
    remove: Ids = msgspec.field(default_factory=list)
    double: Ids = msgspec.field(default_factory=list)
    clock: ClockGiven | None = None
    throttle: ThrottleGiven | None = None
    over_quota: OverQuotaGiven | None = None
    release: IdsGiven | bool | None = None
    silence: Ids = msgspec.field(default_factory=list)
    unsilence: Ids = msgspec.field(default_factory=list)
    quota_ended_for_s: float | UnsetType = UNSET
    quota_ended_until: float | datetime | UnsetType = UNSET
    cohorts: Annotated[list[CohortGiven], msgspec.Meta(max_length=MAX_COHORTS)] = msgspec.field(
        default_factory=list
    )
    # faults
    clear_faults: bool = False
    faults: Annotated[list[FaultGiven], msgspec.Meta(max_length=MAX_FAULTS)] = msgspec.field(
        default_factory=list
    )
    bad_field: BadFieldGiven | UnsetType | None = UNSET
    fault: str | UnsetType = UNSET
    times: Count | UnsetType = UNSET
    rate: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    after: int | UnsetType = UNSET
    seconds: Seconds | UnsetType = UNSET
    status: int | UnsetType = UNSET
    retry_after_s: int | UnsetType = UNSET
    stored: bool | UnsetType = UNSET
    paths: Ids | UnsetType = UNSET
    user_ids: Ids | UnsetType = UNSET
    event_types: Ids | UnsetType = UNSET


SETTINGS: Final = (
    "secret_key", "latency_ms", "eps_threshold", "batch_eps_threshold", "window_s", "daily_quota",
    "all_indexes", "strict_type", "dialect", "denied_status", "link_above_bytes",
    "export_delay_s",
)  # fmt: skip
CHANGE: Final = msgspec.json.Decoder(Change)


def change(service: Service, body: bytes) -> None:
    """Do what one ``POST /_sim`` says.

    Raises:
        RefusedError: It says nothing that can be done; nothing was changed.
        TooManyProjectsError: There is no room for a key.
    """
    try:
        given = CHANGE.decode(body)
        faults = [_fault(one) for one in _faults(given)]
    except (msgspec.DecodeError, ValueError) as error:
        raise RefusedError(str(error)) from error
    bad_field = _bad_field(given.bad_field)
    for api_key in given.keys:
        service.add(api_key)
    if given.any_key is not UNSET:
        service.is_any_key_known = given.any_key
    if given.api_key is not None:
        _change_project(service, service.add(given.api_key), given, faults, bad_field)
        return
    if given.reset:
        service.projects = {one: service.pattern.copy_for(one) for one in service.projects}
        service.faults.clear()
        service.requests.clear()
    if given.clear_faults:
        service.faults.clear()
    _admit(service.faults, faults)
    for project in (service.pattern, *service.projects.values()):
        _change_project(service, project, given, [], bad_field)


def _faults(given: Change) -> Iterable[FaultGiven]:
    yield from given.faults
    if given.fault is not UNSET:
        names = FaultGiven.__struct_fields__
        short = {name: value for name in names if (value := getattr(given, name)) is not UNSET}
        yield msgspec.convert(short, FaultGiven)


def _fault(given: FaultGiven) -> Fault:
    kind = given.fault
    if kind not in KINDS and not (kind.isdecimal() and 300 <= int(kind) <= 599):
        raise ValueError(f"no such fault: {kind}; a status from 300 to 599, or {sorted(KINDS)}")
    is_stored = kind in GOOD_ANSWERS or kind == "slow" if given.stored is None else given.stored
    return Fault(
        kind=kind,
        is_stored=is_stored,
        seconds=given.seconds,
        status=given.status,
        retry_after_s=given.retry_after_s,
        times=given.times,
        rate=given.rate,
        after=given.after,
        paths=tuple(given.paths),
        user_ids=frozenset(given.user_ids),
        event_types=frozenset(given.event_types),
        dice=random.Random(given.seed),  # noqa: S311 - dice that can be thrown again
    )


def _bad_field(given: BadFieldGiven | UnsetType | None) -> BadField | UnsetType | None:
    if given is None or isinstance(given, UnsetType):
        return given
    if given.field not in CHECKS:
        raise RefusedError(f"no such field: {given.field}")
    return BadField(
        name=given.field,
        user_ids=frozenset(given.user_ids),
        event_types=frozenset(given.event_types),
        share=given.share,
        seed=given.seed,
    )


def _admit(script: list[Fault], faults: list[Fault]) -> None:
    if len(script) + len(faults) > MAX_FAULTS:
        raise RefusedError(f"more than {MAX_FAULTS} faults wait; clear_faults first")
    script.extend(faults)


def _change_project(
    service: Service,
    project: Project,
    given: Change,
    faults: list[Fault],
    bad_field: BadField | UnsetType | None,
) -> None:
    if given.reset and given.api_key is not None:
        project = service.projects[project.api_key] = service.pattern.copy_for(project.api_key)
    for name in SETTINGS:
        value = getattr(given, name)
        if value is not UNSET:
            setattr(project.options, name, value)
    if given.revoked is not UNSET:
        project.is_revoked = given.revoked
    if given.clear_faults:
        project.faults.clear()
    _admit(project.faults, faults)
    if not isinstance(bad_field, UnsetType):
        project.bad_field = bad_field
    if given.clock is not None:
        _move_clock(service, project, given.clock)
    _change_state(project, given, service.now(project))


def _change_state(project: Project, given: Change, now: float) -> None:
    project.silenced.update(given.silence)
    project.silenced.difference_update(given.unsilence)
    if given.quota_ended_for_s is not UNSET:
        project.quota_ended_until = now + given.quota_ended_for_s
    if given.quota_ended_until is not UNSET:
        project.quota_ended_until = _seconds(given.quota_ended_until)
    for place in places_of(project.store, given.remove):
        project.store.remove(place)
    for place in places_of(project.store, given.double):
        project.store.double(place)
    _hold(project, given, now)
    for cohort in given.cohorts:
        if len(project.cohorts.by_id) >= MAX_COHORTS:
            raise RefusedError(f"more than {MAX_COHORTS} cohorts")
        project.cohorts.by_id[cohort.id] = _cohort(cohort, now)


def _cohort(given: CohortGiven, now: float) -> Cohort:
    return Cohort(
        id=given.id,
        name=given.name,
        user_ids=given.user_ids,
        event_type=given.event_type,
        is_hidden=given.hidden,
        fails=given.fails,
        polls=given.polls,
        created_at=now,
    )


def _hold(project: Project, given: Change, now: float) -> None:
    release = given.release
    if release is True:
        project.users.release(None)
        project.devices.release(None)
    elif isinstance(release, IdsGiven):
        project.users.release(release.user_ids)
        project.devices.release(release.device_ids)
    for limits, name in ((project.users, "user_ids"), (project.devices, "device_ids")):
        if given.throttle is not None:
            _throttle(limits, getattr(given.throttle, name), given.throttle, now)
        if given.over_quota is not None:
            until = now + given.over_quota.for_s
            counts: dict[str, int] = getattr(given.over_quota, name)
            limits.over_quota.update({one: (until, count) for one, count in counts.items()})


def _throttle(limits: Limits, ids: list[str], given: ThrottleGiven, now: float) -> None:
    until = FOREVER if given.for_s is None else now + given.for_s
    limits.throttled.update(dict.fromkeys(ids, (until, given.eps)))


def _move_clock(service: Service, project: Project, given: ClockGiven) -> None:
    if given.set is not None:
        project.clock_offset_s = _seconds(given.set) - service.clock()
    project.clock_offset_s += given.advance_s or 0.0


def _seconds(given: float | datetime) -> float:
    return given.timestamp() if isinstance(given, datetime) else given


def counters(service: Service) -> dict[str, Any]:
    """Return what ``GET /_sim`` shows."""
    return {
        "now": service.now(None),
        "requests": _by_path(service.requests),
        "faults_waiting": len(service.faults),
        "projects": {
            api_key: {
                "now": service.now(project),
                "revoked": project.is_revoked,
                "received": project.store.received,
                "stored": len(project.store) - len(project.store.gone),
                "duplicates": project.store.duplicates,
                "identifies": project.store.identifies,
                "users": len(project.store.user_properties),
                "faults_waiting": len(project.faults),
                "requests": _by_path(project.requests),
            }
            for api_key, project in service.projects.items()
        },
    }


def _by_path(requests: dict[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    shown: dict[str, dict[str, int]] = {}
    for (path, label), count in sorted(requests.items()):
        shown.setdefault(path, {})[label] = count
    return shown
