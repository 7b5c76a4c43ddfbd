"""``sluice doctor`` and ``sluice setup``."""

from pathlib import Path
from urllib.parse import urlsplit

from sluice.cli.checks import check_sessions
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse, warehouse_url
from sluice.warehouse.queries import Query
from tests.support.command import sluice
from tests.support.stack import Stack

DATABASES = Query("databases", "SELECT name FROM system.databases")
NO_DATABASE = b"this is no database" * 100


async def test_doctor_finds_nothing_wrong_with_a_running_stack(stack: Stack) -> None:
    ran = await sluice("doctor", "--json", settings=stack.settings)
    assert ran.status == 0, ran
    assert ran.json["ok"] is True
    assert "another" not in ran.stdout, "what runs here works on this data dir"
    names = [check["name"] for check in ran.json["checks"]]
    # Other tests make deliveries to the same stack fail, and public keys.
    assert [name for name in names if not name.startswith(("shopify of ", "sessions"))] == [
        "settings",
        "data dir",
        "tenants",
        "read tokens",
        "queue",
        "backlog of amplitude",
        "backlog of warehouse",
        "backlog of workflows",
        "warehouse",
        "worker",
        "gateway",
    ]


async def test_doctor_names_a_remedy_for_each_thing_that_fails(tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_text("[tenants")
    (tmp_path / "jwt.secret").write_text("short")
    (tmp_path / "queue.sqlite").write_bytes(NO_DATABASE)
    ran = await sluice(
        "doctor",
        "--json",
        settings={"DATA_DIR": str(tmp_path), "PORT": "1", "WORKER_URL": "http://127.0.0.1:1"},
    )
    assert ran.status == 1
    failed = [check for check in ran.json["checks"] if check["state"] == "fail"]
    assert {check["name"] for check in failed} >= {
        *("tenants", "read tokens", "queue", "warehouse", "worker", "gateway")
    }
    [gateway] = [check for check in failed if check["name"] == "gateway"]
    assert gateway["detail"] == "no answer at http://127.0.0.1:1 (connection refused)"
    assert (tmp_path / "queue.sqlite").read_bytes() == NO_DATABASE, "a doctor changes nothing"


async def test_doctor_says_that_what_answers_works_on_another_data_dir(
    stack: Stack, tmp_path: Path
) -> None:
    own = {**stack.settings, "DATA_DIR": str(tmp_path / "nothing")}
    ran = await sluice("doctor", "--json", settings=own)
    checks = {check["name"]: check for check in ran.json["checks"]}
    other = f", but on another data dir: {tmp_path}/nothing/queue.sqlite does not exist"
    for name in ("worker", "gateway"):
        assert checks[name]["state"] == "warn", checks[name]
        assert checks[name]["detail"].endswith(other)
        assert checks[name]["remedy"] == "name its own with --data-dir"


async def test_doctor_says_what_it_cannot_know_of_a_data_dir_that_no_run_holds(
    stack: Stack, tmp_path: Path
) -> None:
    own = {**stack.settings, "DATA_DIR": str(tmp_path)}
    assert (await sluice("tenant", "add", "shop", settings=own)).status == 0
    ran = await sluice("setup", "--wait", "1s", settings=own)
    assert (tmp_path / "queue.sqlite").exists(), ran
    ran = await sluice("doctor", "--json", settings=own)
    checks = {check["name"]: check for check in ran.json["checks"]}
    for name in ("worker", "gateway"):
        assert checks[name]["state"] != "fail", checks[name]
        assert f"no `sluice run` holds {tmp_path}: it may" in checks[name]["detail"]


async def test_doctor_for_a_worker_asks_only_for_what_a_worker_has(
    stack: Stack, tmp_path: Path
) -> None:
    """In a pod of its own it reaches no gateway and no other worker, and signs nothing."""
    address = urlsplit(stack.settings["WORKER_URL"])
    own = {
        "DATA_DIR": str(tmp_path / "none"),
        "TENANTS_FILE": str(stack.tenants_file),
        "WAREHOUSE_URL": warehouse_url(load_settings(data_dir=Path(stack.settings["DATA_DIR"]))),
        "WORKER_PORT": str(address.port),
        "WORKER_URL": "http://127.0.0.1:1",
        "PORT": "1",
    }
    ran = await sluice("doctor", "--for", "worker", "--json", settings=own)
    checks = {check["name"]: check["state"] for check in ran.json["checks"]}
    assert {"read tokens", "gateway"} & set(checks) == set()
    assert (checks["data dir"], checks["worker"]) == ("ok", "ok")


def test_doctor_says_whether_sessions_hold_at_other_gateways(tmp_path: Path) -> None:
    """What several machines share is Pub/Sub; the secret in a data dir they do not."""
    pubsub = "pubsub://some-project"
    here = load_settings(data_dir=tmp_path)
    there = load_settings(data_dir=tmp_path, queue_url=pubsub)
    given = load_settings(data_dir=tmp_path, queue_url=pubsub, jwt_secret="s" * 32)
    tenants = TenantsFile(here.tenants_path)
    tenants.add_tenant("shop")
    for settings in (here, there, given):
        assert not list(check_sessions(settings)), "nobody has sessions"
    tenants.add_key("shop", kind="public")
    [one] = check_sessions(here)
    assert (one.state, "made at the first start" in one.detail) == ("ok", True)
    here.jwt_secret_file.write_text("x" * 32)
    [one] = check_sessions(there)
    assert one.state == "warn"
    assert "refuse each other's sessions" in one.detail
    assert "set SLUICE_JWT_SECRET to the same on all" in one.remedy
    [one] = check_sessions(given)
    assert one.state == "ok"
    assert "s" * 32 not in one.detail


async def test_doctor_says_which_setting_is_wrong(tmp_path: Path) -> None:
    ran = await sluice("doctor", settings={"DATA_DIR": str(tmp_path), "PORT": "x"})
    assert ran.status == 1
    assert ran.stdout.startswith("fail  settings: SLUICE_PORT is 'x'")


async def test_doctor_fails_when_the_named_tenants_file_does_not_exist(tmp_path: Path) -> None:
    missing = tmp_path / "nope.toml"
    ran = await sluice(
        "doctor", settings={"DATA_DIR": str(tmp_path), "TENANTS_FILE": str(missing), "PORT": "1"}
    )
    assert ran.status == 1
    assert f"fail  tenants: {missing} does not exist -> correct SLUICE_TENANTS_FILE" in ran.stdout


async def test_doctor_says_why_the_warehouse_does_not_answer(tmp_path: Path) -> None:
    url = "http://u:hidden-secret@127.0.0.1:1/sluice"
    ran = await sluice(
        "doctor", settings={"DATA_DIR": str(tmp_path), "WAREHOUSE_URL": url, "PORT": "1"}
    )
    words = "fail  warehouse: no answer at http://127.0.0.1:1 (connection refused)"
    assert words in ran.stdout
    assert "hidden-secret" not in ran.stdout


async def test_setup_changes_nothing_when_everything_is_there(stack: Stack) -> None:
    ran = await sluice("setup", "--json", settings=stack.settings)
    assert ran.status == 0, ran
    assert (ran.json["queue_created"], ran.json["migrations_applied"]) == (False, [])
    assert [part["outcome"] for part in ran.json["queue"]] == ["exists"]


async def test_dry_run_of_setup_makes_no_database(stack: Stack) -> None:
    url = (stack.data_dir / "warehouse.url").read_text().strip()
    elsewhere = f"{url.rpartition('/')[0]}/nowhere"
    values = stack.settings | {"WAREHOUSE_URL": elsewhere}
    ran = await sluice("setup", "--dry-run", "--json", settings=values)
    assert ran.status == 0, ran
    assert "0001_events" in ran.json["migrations_pending"]
    assert ran.json["roles"] == []
    async with Warehouse(load_settings(warehouse_url=url)) as warehouse:
        names = [name for (name,) in await warehouse.fetch(DATABASES)]
    assert "nowhere" not in names
    here = await sluice("setup", "--dry-run", settings=stack.settings)
    assert here.status == 0, here
    assert "would be" not in here.stdout
