"""User Privacy: deletion jobs, one for each day, done 30 days after they were asked for.

A job can change (``staging``) until 3 days before its day, then it is ``submitted``, then ``done``:
the users' events of before are gone. Events sent later bring a user back.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import msgspec

from tests.simulators.amplitude.answers import Answer, json_answer, refused
from tests.simulators.amplitude.rest import day_of, read_day, start_of
from tests.simulators.amplitude.store import Store

PATH: Final = "/api/2/deletions/users"
MAX_IDS: Final = 100
DONE_AFTER: Final = timedelta(days=30)
FIXED_BEFORE: Final = timedelta(days=3)
LONGEST_RANGE: Final = timedelta(days=184)
PAUSE_S: Final = 1.0
MAX_AT_ONCE: Final = 8
DAY_FORM: Final = "%Y-%m-%d"


class Wanted(msgspec.Struct):
    """The body of a request."""

    amplitude_ids: list[int] = msgspec.field(default_factory=list)
    user_ids: list[str] = msgspec.field(default_factory=list)
    requester: str = ""
    ignore_invalid_id: bool = False
    ignore_invalid_ids: bool = False
    delete_from_org: bool = False
    include_mapped_user_ids: bool = False

    @property
    def ignores_invalid(self) -> bool:
        """Whether unknown ids are named rather than refused."""
        return self.ignore_invalid_id or self.ignore_invalid_ids or self.delete_from_org


@dataclass(frozen=True, slots=True)
class Entry:
    """One user of a job."""

    user_id: str
    requester: str
    requested_on: date


@dataclass(slots=True)
class Job:
    """Everybody who is deleted on one day."""

    day: date
    entries: dict[int, Entry] = field(default_factory=dict)
    """By Amplitude's id."""
    is_applied: bool = False

    def status(self, today: date) -> str:
        """Return where it stands."""
        if today >= self.day:
            return "done"
        return "staging" if today < self.day - FIXED_BEFORE else "submitted"

    def shown(self, today: date, *, with_user_ids: bool) -> dict[str, Any]:
        """Return it as the API does."""
        status = self.status(today)
        members: dict[str, Any] = {
            "day": self.day.isoformat(),
            "status": status,
            "amplitude_ids": [
                {
                    "amplitude_id": amplitude_id,
                    "requested_on_day": entry.requested_on.isoformat(),
                    "requester": entry.requester,
                    **({"user_id": entry.user_id} if with_user_ids else {}),
                }
                for amplitude_id, entry in self.entries.items()
            ],
        }
        if status == "done":
            members["active_scrub_done_date"] = self.day.isoformat()
        return members


def amplitude_id(user_id: str) -> int:
    """Return the number under which Amplitude knows a user."""
    return int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=6).digest(), "big")


class Deletions:
    """The jobs of one project."""

    def __init__(self) -> None:
        """Start with none."""
        self.jobs: dict[date, Job] = {}
        self._last = float("-inf")

    def request(self, body: bytes, store: Store, now: float) -> Answer:
        """Mark users for deletion; nobody is marked unless all can be."""
        if now - self._last < PAUSE_S:
            return refused(429, "Exceeded rate limit: at most 1 request a second")
        self._last = now
        try:
            wanted = msgspec.json.decode(body, type=Wanted)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return refused(400, f"Invalid request: {error}")
        given: Sequence[str | int] = [*wanted.amplitude_ids, *wanted.user_ids]
        if not 1 <= len(given) <= MAX_IDS:
            return refused(400, f"Between 1 and {MAX_IDS} ids are needed")
        known: dict[str | int, str] = {}
        for user in store.known_users():
            known[user] = known[amplitude_id(user)] = user
        invalid = [one for one in given if one not in known]
        if invalid and not wanted.ignores_invalid:
            return refused(400, "Invalid ids", invalid_ids=invalid)
        job = self._mark([known[one] for one in given if one in known], wanted.requester, now)
        shown = job.shown(day_of(now), with_user_ids=wanted.include_mapped_user_ids)
        return json_answer(200, {**shown, "invalid_ids": invalid} if invalid else shown)

    def list(self, query: Mapping[str, str], now: float) -> Answer:
        """Return the jobs of a range of days."""
        start, end = (read_day(query.get(name), DAY_FORM) for name in ("start_day", "end_day"))
        if start is None or end is None or end < start:
            return refused(400, "start_day and end_day must be days (YYYY-MM-DD)")
        if end - start > LONGEST_RANGE:
            return refused(400, "At most six months can be listed")
        jobs = [job for day, job in sorted(self.jobs.items()) if start <= day <= end]
        today = day_of(now)
        return json_answer(200, [job.shown(today, with_user_ids=False) for job in jobs])

    def take_out(self, given_id: str, given_day: str, now: float) -> Answer:
        """Take one user out of a job that can still change."""
        day = read_day(given_day, DAY_FORM)
        job = self.jobs.get(day) if day is not None else None
        number = int(given_id) if given_id.isdecimal() else -1
        if job is None or number not in job.entries:
            return refused(404, "No such deletion")
        today = day_of(now)
        if job.status(today) != "staging":
            return refused(400, "The job was submitted")
        entry = job.entries.pop(number)
        return json_answer(
            200,
            {
                "amplitude_id": number,
                "requested_on_day": entry.requested_on.isoformat(),
                "requester": entry.requester,
            },
        )

    def settle(self, store: Store, now: float) -> None:
        """Delete those whose day has come."""
        today = day_of(now)
        for job in self.jobs.values():
            if not job.is_applied and job.status(today) == "done":
                job.is_applied = True
                users = [entry.user_id for entry in job.entries.values()]
                store.delete_users(users, before=start_of(job.day))

    def _mark(self, users: Sequence[str], requester: str, now: float) -> Job:
        today = day_of(now)
        job = self.jobs.setdefault(today + DONE_AFTER, Job(today + DONE_AFTER))
        for user in users:
            job.entries.setdefault(amplitude_id(user), Entry(user, requester, today))
        return job
