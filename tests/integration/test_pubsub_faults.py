"""Each thing that can be wrong with Pub/Sub stops ``setup`` and ``doctor`` with one line.

The credentials are read by Google's own library, the tokens come over HTTP, and Pub/Sub is reached
over TLS: a gate before the emulator, which answers as Google does where the emulator cannot.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from loadtest.pubsub_gate import Forward, PubSubGate, RefusalError
from tests.support.command import Ran, run
from tests.support.google_account import (
    REVOKED,
    SECRET,
    TOKEN,
    Tls,
    make_tls,
    token_service,
    write_federated_account,
    write_service_account,
)
from tests.support.ports import free_port

UNKNOWN_PROJECT = "Requested project not found or user does not have access to it (project=p)."
LOGIN = "run `gcloud auth application-default login`, or give the process a service account."
ALL = ("CreateTopic", "GetTopic", "GetSubscription", "TestIamPermissions")


@dataclass(slots=True)
class Google:
    """Where Google is, for a command, and as whom it comes."""

    folder: Path
    gate: PubSubGate
    tls: Tls
    project: str = field(default_factory=lambda: f"project-{uuid.uuid4().hex[:12]}")
    more: dict[str, str] = field(default_factory=dict)
    """Environment of the command, beside the usual."""

    @property
    def account(self) -> Path:
        """The file of the account's key."""
        return self.folder / "account.json"

    def refuse(self, status: grpc.StatusCode, detail: str) -> None:
        """Answer all calls so."""

        async def act(_request: bytes, _forward: Forward) -> bytes:
            raise RefusalError(status, detail)

        self.gate.acts |= dict.fromkeys(ALL, act)

    async def sluice(self, *words: str) -> Ran:
        """Run a command against it."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        env.pop("PUBSUB_EMULATOR_HOST", None)
        env |= {
            "SLUICE_DATA_DIR": str(self.folder / "data"),
            "SLUICE_QUEUE_URL": f"pubsub://{self.project}",
            "SLUICE_PUBSUB_ENDPOINT": self.gate.host,
            "SLUICE_PORT": "1",
            "SLUICE_WORKER_URL": "http://127.0.0.1:1",
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.account),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.folder / "roots.pem"),
            **self.more,
        }
        return await run(sys.executable, "-m", "sluice.cli", *words, env=env)


@pytest.fixture(scope="module")
def tls() -> Tls:
    """One for all tests here: making a key takes long."""
    return make_tls()


@pytest.fixture
async def google(pubsub_emulator: str, tls: Tls, tmp_path: Path) -> AsyncIterator[Google]:
    """A Google at which all is well, for a service account's key."""
    (tmp_path / "roots.pem").write_bytes(tls.certificate)
    async with PubSubGate(pubsub_emulator, credentials=tls.server) as gate:
        google = Google(tmp_path, gate, tls)
        nobody = f"http://127.0.0.1:{free_port()}/token"
        write_service_account(google.account, key=tls.key, token_url=nobody)
        yield google


async def both(google: Google) -> tuple[Ran, Ran]:
    """Run ``setup`` and ``doctor`` beside each other."""
    async with asyncio.TaskGroup() as tasks:
        setup = tasks.create_task(google.sluice("setup", "--wait", "1s"))
        doctor = tasks.create_task(google.sluice("doctor", "--json"))
    return setup.result(), doctor.result()


def checks(doctor: Ran) -> dict[str, dict[str, Any]]:
    """Return a doctor's findings on Pub/Sub by name."""
    return {
        check["name"]: check
        for check in doctor.json["checks"]
        if check["name"] == "queue" or check["name"].split()[0] in {"topic", "subscription"}
    }


def no_key_file(google: Google) -> None:
    google.account.unlink()


def broken_key(google: Google) -> None:
    write_service_account(google.account, key=SECRET.encode(), token_url="http://127.0.0.1:1")


def away_token_service(google: Google) -> None:
    write_federated_account(google.account, token_url=f"http://127.0.0.1:{free_port()}/token")


def revoked_key(google: Google) -> None:
    google.refuse(grpc.StatusCode.UNAUTHENTICATED, "invalid authentication credentials")


def wrong_project(google: Google) -> None:
    google.refuse(grpc.StatusCode.NOT_FOUND, UNKNOWN_PROJECT)


def other_certificate(google: Google) -> None:
    (google.folder / "roots.pem").write_bytes(make_tls().certificate)


def nobody_there(google: Google) -> None:
    google.more["SLUICE_PUBSUB_ENDPOINT"] = f"127.0.0.1:{free_port()}"


def wrong_emulator(google: Google) -> None:
    google.more["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:1"


GENERAL: list[tuple[Callable[[Google], None], str]] = [
    (no_key_file, f"account.json was not found): {LOGIN}"),
    (broken_key, f"account.json): {LOGIN}"),
    (away_token_service, "Google's token service does not answer"),
    (revoked_key, f"Google's credentials are missing or expired: {LOGIN}"),
    (wrong_project, "correct SLUICE_QUEUE_URL=pubsub://PROJECT"),
    (other_certificate, "its certificate is not valid; check SLUICE_PUBSUB_ENDPOINT"),
    (nobody_there, "connection refused; check SLUICE_PUBSUB_ENDPOINT"),
    (wrong_emulator, "does not answer at PUBSUB_EMULATOR_HOST=127.0.0.1:1 (connection refused)"),
]


@pytest.mark.parametrize(("spoil", "words"), GENERAL, ids=[spoil.__name__ for spoil, _ in GENERAL])
async def test_setup_stops_with_one_line_that_says_what_to_do(
    google: Google, spoil: Callable[[Google], None], words: str
) -> None:
    spoil(google)
    setup = await google.sluice("setup")
    assert setup.status == 1
    assert words in setup.error
    assert SECRET not in setup.stderr + setup.stdout


@pytest.mark.parametrize("spoil", [wrong_project, revoked_key, wrong_emulator])
async def test_doctor_says_once_what_spoils_every_call(
    google: Google, spoil: Callable[[Google], None]
) -> None:
    spoil(google)
    doctor = await google.sluice("doctor", "--json")
    assert (doctor.status, doctor.stderr) == (1, "")
    assert list(checks(doctor)) == ["queue"]
    assert dict(GENERAL)[spoil] in checks(doctor)["queue"]["detail"]


async def test_expired_grant_is_told_as_what_it_is_and_not_as_an_outage(google: Google) -> None:
    with token_service(REVOKED) as url:
        write_federated_account(google.account, token_url=url)
        setup, doctor = await both(google)
    words = f"Google's credentials are missing or expired (invalid_grant): {LOGIN}"
    assert setup.error == f"sluice: {words}"
    assert checks(doctor)["queue"]["detail"] == words
    assert doctor.stderr == ""


async def test_federated_account_works_with_a_token_that_the_service_gave(google: Google) -> None:
    with token_service(TOKEN) as url:
        write_federated_account(google.account, token_url=url)
        doctor = await google.sluice("doctor", "--json")
    assert checks(doctor)["queue"]["state"] == "ok"
    assert "sluice setup" in checks(doctor)["topic sluice-events"]["detail"]
    assert SECRET not in doctor.stdout


async def test_key_of_a_service_account_needs_no_token_service(google: Google) -> None:
    setup, _ = await both(google)
    assert "the warehouse was not there" in setup.error  # the queue's part is done
    doctor = await google.sluice("doctor", "--json")
    assert {check["state"] for check in checks(doctor).values()} == {"ok"}
    assert checks(doctor)["queue"]["detail"].endswith(f" answers at {google.gate.host}")


async def test_missing_role_is_named_with_the_topic(google: Google) -> None:
    google.refuse(grpc.StatusCode.PERMISSION_DENIED, "User not authorized to perform this action.")

    async def grants_nothing(_request: bytes, _forward: Forward) -> bytes:
        return b""

    google.gate.acts["TestIamPermissions"] = grants_nothing
    setup, doctor = await both(google)
    topic = f"projects/{google.project}/topics/sluice-events"
    may_not = f"may not be made or changed: grant roles/pubsub.editor on projects/{google.project}"
    first = f"projects/{google.project}/topics/sluice-dead-letters"
    assert setup.error == f"sluice: {first} {may_not} to who runs setup."
    found = checks(doctor)["topic sluice-events"]
    assert found["state"] == "fail"
    assert found["detail"] == (
        f"{topic} does not exist or may not be used: run `sluice setup`, and grant"
        " roles/pubsub.publisher on it to this process."
    )
