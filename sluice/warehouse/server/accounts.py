"""The two accounts of the embedded warehouse and the files that tell others how to log in.

``sluice`` may do anything to the tables; ``reader`` may only read, under limits, and is what a
person gives to Grafana or DBeaver. Passwords are random, made once, and kept in the address files
(``warehouse.url``, ``warehouse.reader.url``, mode 0600), so that a restart changes nothing.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

SERVICE: Final = "sluice"
READER: Final = "reader"


@dataclass(frozen=True, slots=True)
class Accounts:
    """User names and the digests of their passwords."""

    digests: dict[str, bytes]

    def is_valid(self, user: str, password: str) -> bool:
        """Return whether the password is right; takes as long for a user who does not exist."""
        expected = self.digests.get(user, bytes(32))
        return hmac.compare_digest(_digest(password), expected)


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of both accounts."""

    service: str
    reader: str

    def accounts(self) -> Accounts:
        """Return what logins are checked against."""
        return Accounts({SERVICE: _digest(self.service), READER: _digest(self.reader)})


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogateescape")).digest()


def reader_file(service_file: Path) -> Path:
    """Return where the reader's address stands: beside the service's."""
    return service_file.with_name(f"{service_file.stem}.reader{service_file.suffix}")


def load_passwords(service_file: Path) -> Passwords:
    """Return the passwords of an earlier start, or new ones."""
    return Passwords(
        service=_password_in(service_file) or secrets.token_urlsafe(24),
        reader=_password_in(reader_file(service_file)) or secrets.token_urlsafe(24),
    )


def write_addresses(service_file: Path, passwords: Passwords, *, port: int, database: str) -> None:
    """Write both address files, each at once or not at all, readable by their owner only."""
    for path, user, password in (
        (service_file, SERVICE, passwords.service),
        (reader_file(service_file), READER, passwords.reader),
    ):
        _write_private(path, f"http://{user}:{password}@127.0.0.1:{port}/{database}\n")


def _password_in(path: Path) -> str:
    try:
        return urlsplit(path.read_text().strip()).password or ""
    except (OSError, ValueError):
        return ""


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
