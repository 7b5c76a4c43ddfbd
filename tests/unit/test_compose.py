"""compose.yaml, Dockerfile and what they lead to keep the promises of docs/containers.md."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sluice.settings import SETTINGS
from worker.destinations import NAMES

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one.get("command", [""])[0] in
        {"setup", "gateway", "worker", "doctor"}}  # fmt: skip
SERVING = {name: one for name, one in SERVICES.items() if name not in {"setup", "cli"}}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PUBLIC_PROGRAM = re.compile(r"\d+(\.\d+)+")

each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert not service.get("privileged")
    assert "network_mode" not in service
    assert "/var/run/docker.sock" not in str(service.get("volumes"))


@each_service
def test_service_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["pids_limit"]
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


@each_service
def test_image_is_pinned_to_a_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert PUBLIC_PROGRAM.search(tag), "a tag without a version changes under one's feet"
    assert "latest" not in tag


@each_service
def test_port_is_reached_from_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVING)
def test_service_that_serves_has_a_healthcheck(name: str) -> None:
    check = SERVING[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize("name", OURS)
def test_part_of_sluice_runs_with_a_root_that_is_read_only(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert seconds(service["stop_grace_period"]) > SETTINGS["stop_timeout_s"].default


@pytest.mark.parametrize("name", OURS)
def test_part_of_sluice_is_given_only_settings_that_exist(name: str) -> None:
    known = {f"SLUICE_{field.upper()}" for field in SETTINGS}
    given = set(OURS[name]["environment"])
    assert given - known == {"PUBSUB_EMULATOR_HOST"}


def test_each_destination_has_a_worker_of_its_own() -> None:
    workers = [one["command"] for one in SERVICES.values() if "worker" in one.get("command", [])]
    assert sorted(workers) == sorted(["worker", "--only", name] for name in NAMES)


def test_no_two_processes_share_a_data_dir() -> None:
    """The spool and the lot have one owner each."""
    mounts = [mount for one in OURS.values() for mount in one["volumes"]]
    owned = [mount.split(":")[0] for mount in mounts if mount.split(":")[1] == "/var/lib/sluice"]
    assert len(owned) == len(set(owned)) == 1 + len(NAMES)


def test_whoever_needs_the_tables_waits_for_setup() -> None:
    waiting = {name for name, one in OURS.items() if "setup" in one.get("depends_on", {})}
    assert waiting == set(OURS) - {"setup", "cli"}


def test_no_secret_stands_in_the_file() -> None:
    text = (ROOT / "compose.yaml").read_text()
    secret = {"SLUICE_JWT_SECRET", "CLICKHOUSE_PASSWORD", "GRAFANA_PASSWORD"}
    example = (ROOT / "ops/compose/example.env").read_text()
    assert set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE)) == secret
    named = set(re.findall(r"\$\{([A-Z_]+):\?", text)) | {
        one["environment"] for one in COMPOSE["secrets"].values()
    }
    assert named == secret
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_compose_and_package_agree_on_the_version() -> None:
    for service in OURS.values():
        assert service["image"] == f"sluice-parts:{VERSION}"
        assert service["build"]["args"]["VERSION"] == VERSION
        assert service["build"]["target"] == "parts"


def test_compose_and_kubernetes_run_the_same_programs() -> None:
    manifests = "".join(file.read_text() for file in (ROOT / "k8s/components").rglob("*.yaml"))
    for name in ("clickhouse", "pubsub"):
        assert f"image: {SERVICES[name]['image']}\n" in manifests


def test_prometheus_asks_every_process_that_counts() -> None:
    config = YAML(typ="safe").load(ROOT / "ops/compose/prometheus.yml")
    targets = {
        target
        for job in config["scrape_configs"]
        for one in job["static_configs"]
        for target in one["targets"]
    }
    ports = {
        "gateway": SETTINGS["port"],
        "worker": SETTINGS["worker_port"],
    }
    wanted = {
        f"{name}:{ports[one['command'][0]].default}"
        for name, one in OURS.items()
        if one["command"][0] in ports
    }
    assert targets == wanted | {"127.0.0.1:9090"}


def test_what_is_mounted_exists() -> None:
    mounts = [mount for one in SERVICES.values() for mount in one.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts}
    files = {name for name in named if name.startswith("./")}
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert named - files == set(COMPOSE["volumes"])


def test_image_takes_nothing_that_is_not_listed() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    sources = {source for line in copied for source in line.split()}
    taken = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert {source for source in sources if not source.startswith("ops/image")} | {
        "ops/image"
    } == taken


def test_image_has_no_user_with_rights_and_no_package_of_unknown_version() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes" in dockerfile
    assert not re.search(r"\bapt(-get)?\b|\bcurl\b|\bwget\b|^ADD", dockerfile, re.MULTILINE)
    base = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", dockerfile, re.MULTILINE)
    assert [bool(PUBLIC_PROGRAM.search(image)) for image in base] == [True]
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${PYTHON_IMAGE}", "parts"}


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))
