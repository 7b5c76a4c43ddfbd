"""``sluice run`` as an operator meets it: start, crash, stop, and what is in its way."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.support.command import run, sluice
from tests.support.poll import poll_until
from tests.support.stack import Stack, running_stack, start_stack

STOP_WITHIN_S = 10


PARTS = {"gateway", "worker", "warehouse"}


def children(stack: Stack) -> dict[str, int]:
    found: dict[str, int] = {}
    pids = Path(f"/proc/{stack.pid}/task/{stack.pid}/children").read_text().split()
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        found.update({word: int(pid) for word in words if word in PARTS})
    return found


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])


async def test_run_starts_a_killed_part_again_and_stops_in_order(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data") as owned:
        stack = owned.stack
        before = children(stack)
        assert set(before) == PARTS
        os.kill(before["worker"], signal.SIGKILL)
        await poll_until(
            lambda: children(stack).get("worker", before["worker"]) != before["worker"],
            within_s=30,
            what="the worker runs again",
        )
        after = children(stack)
        assert '"event":"worker died (signal 9); starting again in 0.2 s"' in stack.log
        assert (after["gateway"], after["warehouse"]) == (before["gateway"], before["warehouse"])

        second = await sluice("run", settings={"DATA_DIR": str(stack.data_dir), "PORT": "0"})
        assert second.status == 2
        assert f"another `sluice run` (process {stack.pid}) uses SLUICE_DATA_DIR" in second.error

        asked = time.monotonic()
        assert owned.stop() == 0
        assert time.monotonic() - asked < STOP_WITHIN_S
        assert not [pid for pid in after.values() if is_alive(pid)]
        assert "was killed" not in stack.log, "each part ends by itself when it is asked"


async def test_parts_end_when_their_supervisor_is_killed_and_the_ports_are_free_again(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    first = start_stack(data_dir, {})
    stack = first.stack
    parts = children(stack)
    first.process.kill()
    first.process.wait()
    await poll_until(
        lambda: not [pid for pid in parts.values() if is_alive(pid)],
        within_s=30,
        what="all parts have ended",
    )
    again = start_stack(
        data_dir, {"PORT": str(stack.port), "WAREHOUSE_PORT": str(stack.warehouse_port)}
    )
    assert again.stop() == 0


async def test_run_names_port_and_option_when_the_port_is_taken(tmp_path: Path) -> None:
    with listening() as port:
        result = await sluice(
            "run", "--port", str(port), settings={"DATA_DIR": str(tmp_path / "fresh")}
        )
    assert result.status == 2
    assert result.error == (
        f"sluice: SLUICE_PORT (--port) is {port}: 127.0.0.1:{port} is taken: stop what listens"
        " there, or choose another port."
    )
    assert result.stdout == "", "no key is shown for a start that did not happen"
    assert not (tmp_path / "fresh").exists(), "nothing is made for it either"


async def test_run_names_the_variable_when_a_part_s_port_is_taken(tmp_path: Path) -> None:
    with listening() as port:
        result = await sluice(
            "run", settings={"DATA_DIR": str(tmp_path), "PORT": "0", "WAREHOUSE_PORT": str(port)}
        )
    assert result.status == 2
    assert result.error.startswith(f"sluice: SLUICE_WAREHOUSE_PORT is {port}: ")


async def test_part_on_its_own_names_the_variable_when_its_port_is_taken(tmp_path: Path) -> None:
    with listening() as port:
        result = await sluice("gateway", settings={"DATA_DIR": str(tmp_path), "PORT": str(port)})
    assert result.status == 2
    assert "SLUICE_PORT" in result.stderr
    assert str(port) in result.stderr
    assert "Traceback" not in result.stderr


async def test_wrong_setting_stops_the_start_with_one_line(tmp_path: Path) -> None:
    for command in ("run", "gateway", "setup"):
        result = await sluice(
            command, settings={"DATA_DIR": str(tmp_path), "BATCH_MAX_ROWS": "many"}
        )
        assert result.status == 2
        assert result.error.startswith("sluice: SLUICE_BATCH_MAX_ROWS is 'many': ")


async def test_first_start_prints_what_to_paste(stack: Stack) -> None:
    lines = stack.output.splitlines()
    [key] = [line.strip() for line in lines if line.strip().startswith("sk_live_")]
    assert lines[-1] == "ready"
    assert lines.count("ready") == 1
    text = "\n".join(lines)
    start = text.index("  curl -i ")
    pasted = text[start : text.index("\n\n", start)].replace("\\\n", " ")
    assert key in pasted
    answer = await run("sh", "-c", pasted)
    assert "202 Accepted" in answer.stdout
    assert '{"queued":true}' in answer.stdout

    start = text.index('  curl "')
    pasted = text[start : text.index("\n\n", start)].replace("\\\n", " ")
    answer = await run("sh", "-c", pasted)
    assert msgspec.json.decode(answer.stdout)["window"] == "24h"

    [pasted] = [line for line in lines if "SELECT count() FROM events" in line]
    answer = await run("sh", "-c", pasted)
    assert answer.stdout.strip().isdigit(), answer


def test_secrets_are_readable_by_their_owner_only(stack: Stack) -> None:
    assert stack.data_dir.joinpath("tenants.toml").stat().st_mode & 0o077 == 0
    assert stack.data_dir.joinpath("jwt.secret").stat().st_mode & 0o077 == 0
    [key] = [line.strip() for line in stack.output.splitlines() if "  sk_live_" in line]
    kept = [path for path in stack.data_dir.iterdir() if path.is_file() and path.name != "run.out"]
    assert not [path for path in kept if key.encode() in path.read_bytes()]
