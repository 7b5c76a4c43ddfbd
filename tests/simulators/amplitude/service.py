"""The whole service without its sockets: projects by key, and what one upload is answered."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from tests.simulators.amplitude.answers import (
    INVALID_JSON,
    MISSING_BODY,
    MISSING_FIELD,
    TOO_LARGE,
    Answer,
    refused,
    taken,
    unknown_key,
)
from tests.simulators.amplitude.faults import Fault, next_fault
from tests.simulators.amplitude.project import Project
from tests.simulators.amplitude.rules import Checked, examine
from tests.simulators.amplitude.wire import (
    Event,
    Loose,
    NotAnObjectError,
    Upload,
    decode,
    decode_loosely,
)

V2: Final = "/2/httpapi"
BATCH: Final = "/batch"
IDENTIFY: Final = "/identify"
MAX_BODY_BYTES: Final = {V2: 1_000_000, BATCH: 20_000_000}
MAX_PROJECTS: Final = 10_000


class TooManyProjectsError(Exception):
    """There is no room for another key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What becomes of a request: the answer, and the fault that stands in its way."""

    answer: Answer
    fault: Fault | None
    project: Project | None


@dataclass(slots=True, kw_only=True)
class Service:
    """All state that there is."""

    clock: Callable[[], float] = time.time
    pattern: Project = field(default_factory=lambda: Project(api_key=""))
    """What new projects are copied from."""
    projects: dict[str, Project] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    """Those of every project, and of requests without a known key."""
    is_any_key_known: bool = False
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)

    def now(self, project: Project | None) -> float:
        """Return the time that a project believes it is."""
        return self.clock() + (project or self.pattern).clock_offset_s

    def add(self, api_key: str) -> Project:
        """Return the project of a key, a new one if there was none.

        Raises:
            TooManyProjectsError: There is no room.
        """
        project = self.projects.get(api_key)
        if project is None:
            if len(self.projects) >= MAX_PROJECTS:
                raise TooManyProjectsError
            project = self.projects[api_key] = self.pattern.copy_for(api_key)
        return project

    def find(self, api_key: object) -> Project | None:
        """Return the project that a key opens."""
        if not isinstance(api_key, str):
            return None
        if self.is_any_key_known and api_key and len(self.projects) < MAX_PROJECTS:
            self.add(api_key)
        return self.projects.get(api_key)

    def upload(self, path: str, body: bytes, content_type: str) -> Outcome:
        """Take or refuse one upload, by the path it came to."""
        upload = read_upload(path, body)
        api_key = None if isinstance(upload, Answer) else upload.api_key
        project = self.find(api_key)
        events: Sequence[Event] = upload.events if isinstance(upload, Upload) else ()
        fault = self.next_fault(project, path, events)
        if fault is not None and not fault.is_stored:
            answer = taken(len(events), len(body), int(self.now(project) * 1000))
            return Outcome(answer=answer, fault=fault, project=project)
        if isinstance(upload, Answer):
            answer = upload
        elif api_key is None or api_key == "":
            answer = refused(400, MISSING_FIELD, missing_field="api_key")
        elif project is None or project.is_revoked:
            answer = unknown_key(api_key)
        elif project.options.strict_type and not content_type.startswith("application/json"):
            answer = refused(400, INVALID_JSON)
        else:
            answer = self._settle(project, upload, path, body)
        return Outcome(answer=answer, fault=fault, project=project)

    def next_fault(
        self, project: Project | None, path: str, events: Sequence[Event]
    ) -> Fault | None:
        """Return the fault that this request meets."""
        fault = next_fault(self.faults, path, events) if self.faults else None
        if fault is None and project is not None and project.faults:
            fault = next_fault(project.faults, path, events)
        return fault

    def count(self, project: Project | None, path: str, label: str) -> None:
        """Note a request and how it ended."""
        self.requests[path, label] += 1
        if project is not None:
            project.requests[path, label] += 1

    def _settle(self, project: Project, upload: Upload | Loose, path: str, body: bytes) -> Answer:
        is_batch = path == BATCH
        now = self.now(project)
        try:
            checked = examine(
                upload,
                lambda: decode_loosely(body),
                is_batch=is_batch,
                all_indexes=project.options.all_indexes,
            )
        except NotAnObjectError:
            return refused(400, INVALID_JSON)
        if not isinstance(checked, Checked):
            return checked
        refusal = project.judge(checked, is_batch=is_batch, now=now)
        return refusal or project.take(checked, body_bytes=len(body), is_batch=is_batch, now=now)


def read_upload(path: str, body: bytes) -> Upload | Loose | Answer:
    """Return the request in a body, or what refuses it before any key is looked at."""
    if len(body) > MAX_BODY_BYTES[path]:
        return refused(413, TOO_LARGE)
    if not body:
        return refused(400, MISSING_BODY)
    try:
        return decode(body)
    except NotAnObjectError:
        return refused(400, INVALID_JSON)


def status_answer(status: int, retry_after_s: int | None) -> Answer:
    """Return what a fault of this status says."""
    try:
        text = HTTPStatus(status).phrase
    except ValueError:
        text = "Unknown error"
    answer = refused(status, text)
    if retry_after_s is None:
        return answer
    return Answer(status, answer.body, headers={"Retry-After": str(retry_after_s)})
