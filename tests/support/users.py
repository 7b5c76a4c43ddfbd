"""Something that the processes of one test run share: the first starts it, the last stops it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Users:
    """How many use it now."""

    path: Path
    """Where the first says what the others have to know."""
    count: int


@contextmanager
def users_of(folder: Path, name: str) -> Iterator[Users]:
    """Count the users of a thing alone; a changed count is kept at the end of the block."""
    with (folder / f"{name}.users").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        users = Users(folder / f"{name}.json", int(file.read() or 0))
        yield users
        file.truncate(0)
        file.write(str(users.count))
