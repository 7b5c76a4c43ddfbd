"""Behavioral cohorts: the list, exports as jobs, uploads and memberships.

A job runs until it was asked about a number of times (``polls``), or for ten minutes. Both dialects
are spoken: the service's (by request, 202 while it runs) and that of the given workflow documents
(by cohort, always 200, with ``status``).
"""

import csv
import hashlib
import io
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec

from tests.simulators.amplitude.answers import Answer, json_answer, refused
from tests.simulators.amplitude.deletions import amplitude_id
from tests.simulators.amplitude.rest import DAY_S, day_of, failed
from tests.simulators.amplitude.store import Store

MAX_RUNNING: Final = 4
MAX_COHORTS: Final = 1000
MAX_JOBS: Final = 1000
MAX_UPLOAD_IDS: Final = 100_000
REQUESTS_IN_TEN_MINUTES: Final = 60
DOWNLOADS_A_MONTH: Final = 500
TEN_MINUTES_S: Final = 600.0
KEPT_S: Final = 7 * DAY_S
INVALID_SAMPLE: Final = 10
CSV: Final = "text/csv"
RUNNING: Final = "JOB INPROGRESS"
COMPLETED: Final = "JOB COMPLETED"
FAILED: Final = "JOB FAILED"


@dataclass(slots=True, kw_only=True)
class Cohort:
    """A set of users: those who are named, and those who did something."""

    id: str
    name: str = ""
    user_ids: list[str] = field(default_factory=list)
    event_type: str | None = None
    is_hidden: bool = False
    fails: bool = False
    polls: int = 2
    app_id: int = 1
    owner: str = "owner@example.com"
    published: bool = True
    created_at: float = 0.0
    requested: deque[float] = field(default_factory=deque)

    def members(self, store: Store) -> list[str]:
        """Return its users, those who are named first."""
        found = dict.fromkeys(self.user_ids)
        if self.event_type is not None:
            for place, kind in enumerate(store.types):
                user = store.users[place]
                if kind == self.event_type and user is not None:
                    found[user] = None
        return list(found)

    def shown(self, store: Store) -> dict[str, Any]:
        """Return it as the list does."""
        return {
            "appId": self.app_id,
            "archived": False,
            "definition": {},
            "description": "",
            "finished": True,
            "id": self.id,
            "name": self.name or self.id,
            "owners": [self.owner],
            "viewers": [],
            "published": self.published,
            "size": len(self.members(store)),
            "type": "UNIQUES",
            "lastMod": int(self.created_at),
            "createdAt": int(self.created_at),
            "lastComputed": int(self.created_at),
            "hidden": self.is_hidden,
            "metadata": [],
        }


@dataclass(slots=True, kw_only=True)
class Job:
    """One export."""

    request_id: str
    cohort: Cohort
    requested_at: float
    properties: Sequence[str] | None
    """Of the users: named ones, or all there are (empty); None is without."""
    polls: int = 0

    def is_running(self, now: float) -> bool:
        """Say whether it goes on."""
        return self.polls <= self.cohort.polls and now - self.requested_at < TEN_MINUTES_S


class UploadWanted(msgspec.Struct):
    """The body of an upload."""

    name: str
    app_id: int
    id_type: Literal["BY_AMP_ID", "BY_USER_ID"]
    ids: Annotated[list[str | int], msgspec.Meta(max_length=MAX_UPLOAD_IDS)]
    owner: str
    published: bool = True
    existing_cohort_id: str | None = None


class Membership(msgspec.Struct):
    """One change of members."""

    ids: Annotated[list[str], msgspec.Meta(max_length=MAX_UPLOAD_IDS)]
    id_type: Literal["BY_ID", "BY_NAME"]
    operation: Literal["ADD", "REMOVE"]


class MembershipWanted(msgspec.Struct):
    """The body of changes of members."""

    cohort_id: str
    memberships: list[Membership]
    skip_invalid_ids: bool = True


class Cohorts:
    """The cohorts and exports of one project."""

    def __init__(self) -> None:
        """Start with none."""
        self.by_id: dict[str, Cohort] = {}
        self.jobs: dict[str, Job] = {}
        self._requests = 0
        self._downloads: dict[str, int] = {}

    def list(self, store: Store) -> Answer:
        """Return those that can be seen."""
        shown = [one.shown(store) for one in self.by_id.values() if not one.is_hidden]
        return json_answer(200, {"cohorts": shown})

    def request(
        self, api_key: str, cohort_id: str, properties: Sequence[str] | None, *, ok: int, now: float
    ) -> Answer:
        """Start an export; ``ok`` is the status that says so."""
        cohort = self.by_id.get(cohort_id)
        if cohort is None or cohort.is_hidden:
            return failed(404, "No such cohort")
        while cohort.requested and cohort.requested[0] <= now - TEN_MINUTES_S:
            cohort.requested.popleft()
        if len(cohort.requested) >= REQUESTS_IN_TEN_MINUTES:
            return refused(429, "Exceeded limit: 60 requests of a cohort in 10 minutes")
        if sum(job.is_running(now) for job in self.jobs.values()) >= MAX_RUNNING:
            return refused(429, f"Exceeded limit: {MAX_RUNNING} exports are running")
        cohort.requested.append(now)
        self._requests += 1
        request_id = hashlib.blake2b(f"{api_key}:{self._requests}".encode(), digest_size=6)
        job = Job(
            request_id=request_id.hexdigest(),
            cohort=cohort,
            requested_at=now,
            properties=properties,
        )
        if len(self.jobs) >= MAX_JOBS:
            del self.jobs[next(iter(self.jobs))]
        self.jobs[job.request_id] = job
        return json_answer(ok, {"request_id": job.request_id, "cohort_id": cohort.id})

    def status(self, request_id: str, now: float) -> Answer:
        """Return where an export stands, as the service says it."""
        job = self.jobs.get(request_id)
        if job is None:
            return failed(404, "No such request")
        _, text = self._poll(job, now)
        members = {"request_id": request_id, "cohort_id": job.cohort.id, "async_status": text}
        return json_answer(202 if text == RUNNING else 200, members)

    def given_status(self, cohort_id: str, now: float) -> Answer:
        """Return where the last export of a cohort stands, as the given documents expect it."""
        job = self.last_of(cohort_id)
        if job is None:
            return failed(404, "No export of this cohort was requested")
        word, text = self._poll(job, now)
        return json_answer(
            200,
            {
                "request_id": job.request_id,
                "cohort_id": cohort_id,
                "status": word,
                "async_status": text,
            },
        )

    def last_of(self, cohort_id: str) -> Job | None:
        """Return the export of a cohort that was asked for last."""
        jobs = [job for job in self.jobs.values() if job.cohort.id == cohort_id]
        return jobs[-1] if jobs else None

    def file(self, name: str, now: float) -> Job | Answer:
        """Return the finished export by its own id or its cohort's, or what refuses it."""
        job = self.jobs.get(name) or self.last_of(name)
        if job is None or job.is_running(now) or job.cohort.fails:
            return failed(404, "There is no such file")
        if now - job.requested_at > KEPT_S:
            return failed(410, "The file is no longer kept")
        month = f"{day_of(now):%Y-%m}"
        if self._downloads.get(month, 0) >= DOWNLOADS_A_MONTH:
            return refused(429, f"Exceeded limit: {DOWNLOADS_A_MONTH} downloads a month")
        self._downloads = {month: self._downloads.get(month, 0) + 1}
        return job

    def upload(self, body: bytes, store: Store, now: float) -> Answer:
        """Make a cohort of a list of ids, or replace one's."""
        try:
            wanted = msgspec.json.decode(body, type=UploadWanted)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return failed(400, str(error))
        known: dict[str, str] = {}
        for user in store.known_users():
            known[user if wanted.id_type == "BY_USER_ID" else str(amplitude_id(user))] = user
        given = [str(one) for one in wanted.ids]
        matched = [known[one] for one in given if one in known]
        cohort_id = wanted.existing_cohort_id or f"uploaded{len(self.by_id) + 1}"
        if wanted.existing_cohort_id is not None and cohort_id not in self.by_id:
            return failed(404, "No such cohort")
        if len(self.by_id) >= MAX_COHORTS:
            return failed(400, "Too many cohorts")
        self.by_id[cohort_id] = Cohort(
            id=cohort_id,
            name=wanted.name,
            user_ids=matched,
            app_id=wanted.app_id,
            owner=wanted.owner,
            published=wanted.published,
            created_at=now,
        )
        metadata = {
            "matched": len(matched),
            "totals": len(given),
            "invalid_ids_sample": [one for one in given if one not in known][:INVALID_SAMPLE],
        }
        return json_answer(200, {"cohortId": cohort_id, "metadata": [metadata]})

    def change_members(self, body: bytes, store: Store) -> Answer:
        """Add users to a cohort, or remove them."""
        try:
            wanted = msgspec.json.decode(body, type=MembershipWanted)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return failed(400, str(error))
        cohort = self.by_id.get(wanted.cohort_id)
        if cohort is None:
            return failed(404, "No such cohort")
        known = store.known_users()
        invalid = {one for change in wanted.memberships for one in change.ids if one not in known}
        if invalid and not wanted.skip_invalid_ids:
            return failed(400, "Some ids are not known")
        results = []
        for change in wanted.memberships:
            good = [one for one in change.ids if one in known]
            if change.operation == "ADD":
                cohort.user_ids = list(dict.fromkeys([*cohort.user_ids, *good]))
            else:
                gone = set(good)
                cohort.user_ids = [one for one in cohort.user_ids if one not in gone]
            results.append(
                {
                    "skipped_ids": [one for one in change.ids if one in invalid],
                    "operation": change.operation,
                }
            )
        return json_answer(200, {"cohort_id": cohort.id, "memberships_result": results})

    def _poll(self, job: Job, now: float) -> tuple[str, str]:
        """Count one question; return the words of both dialects."""
        job.polls += 1
        if job.is_running(now):
            return ("queued" if job.polls == 1 else "computing"), RUNNING
        return ("failed", FAILED) if job.cohort.fails else ("complete", COMPLETED)


def csv_of(job: Job, store: Store) -> bytes:
    """Return the file of an export: a header row, then a row for each user."""
    members = job.cohort.members(store)
    names: list[str] = list(job.properties or ())
    if job.properties is not None and not names:
        found = {name for user in members for name in store.user_properties.get(user, {})}
        names = sorted(found)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["amplitude_id", "user_id", *names])
    for user in members:
        held = store.user_properties.get(user, {})
        rows.writerow([amplitude_id(user), user, *(held.get(name, "") for name in names)])
    return text.getvalue().encode()
