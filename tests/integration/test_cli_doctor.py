"""``sluice doctor`` and ``sluice setup``."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from tests.support.stack import Stack, environment


def sluice(env: dict[str, str], *words: str) -> tuple[int, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "sluice.cli", *words, "--json"],
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return result.returncode, orjson.loads(result.stdout)


def test_doctor_finds_nothing_wrong_with_a_running_stack(stack: Stack) -> None:
    status, found = sluice(stack.environment, "doctor")
    names = [check["name"] for check in found["checks"]]
    assert status == 0, found
    assert [check for check in found["checks"] if check["state"] == "fail"] == []
    assert names == [
        "settings",
        "data dir",
        "tenants",
        "read tokens",
        "queue",
        "backlog of warehouse",
        "warehouse",
        "worker",
        "gateway",
    ]


def test_doctor_names_remedy_for_each_thing_that_fails(tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_text("[tenants")
    (tmp_path / "jwt.secret").write_text("short")
    (tmp_path / "queue.sqlite").write_bytes(b"this is no database" * 100)
    env = environment({"DATA_DIR": str(tmp_path), "PORT": "1", "WORKER_URL": "http://127.0.0.1:1"})
    status, found = sluice(env, "doctor")
    failed = {check["name"] for check in found["checks"] if check["state"] == "fail"}
    assert status == 1
    assert failed >= {"tenants", "read tokens", "queue", "warehouse", "worker", "gateway"}
    assert (tmp_path / "queue.sqlite").read_bytes() == b"this is no database" * 100


def test_doctor_says_which_setting_is_wrong(tmp_path: Path) -> None:
    status, found = sluice(environment({"DATA_DIR": str(tmp_path), "PORT": "x"}), "doctor")
    assert status == 1
    assert found["checks"][0]["detail"].startswith("SLUICE_PORT is 'x'")


def test_setup_changes_nothing_when_everything_is_there(stack: Stack) -> None:
    status, said = sluice(stack.environment, "setup")
    assert (status, said) == (0, {"queue_created": False, "migrations_applied": []})
