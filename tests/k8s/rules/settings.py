"""What processes are told: settings that exist, values that start, addresses that are there."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from sluice.core.errors import ConfigError
from sluice.settings import SETTINGS, load_settings
from sluice.tracing.variables import ENDPOINTS, tracing_wanted
from tests.k8s.cluster import Cluster, Obj, Workload

KNOWN: Final = {f"SLUICE_{name.upper()}" for name in SETTINGS}
OTHER: Final = {
    *("HOME", "PUBSUB_EMULATOR_HOST"),
    *(*ENDPOINTS, "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
}
"""Variables that the libraries read."""
WAREHOUSE_USERS: Final = {"gateway": "gateway", "setup": "setup"}
"""Whose password of ClickHouse a component has; all others have the worker's."""
FOLDERS: Final = {
    "gateway": ("SLUICE_TENANTS_FILE", "SLUICE_RUN_FILES_DIR", "SLUICE_WORKFLOWS_DIR"),
    "worker-amplitude": ("SLUICE_TENANTS_FILE",),
    "worker-workflows": ("SLUICE_TENANTS_FILE", "SLUICE_RUN_FILES_DIR", "SLUICE_WORKFLOWS_DIR"),
}
"""Which processes need more than the data dir, and where that is."""


def settings_exist(cluster: Cluster) -> Iterator[str]:
    """A misspelt variable would be ignored in silence."""
    for workload, container in _ours(cluster):
        names = set(cluster.environment(container)) | {one["name"] for one in container["env"]}
        for name in sorted(names - KNOWN - OTHER):
            yield f"{workload.title} sets {name}, which nothing reads"


def settings_are_taken(cluster: Cluster) -> Iterator[str]:
    """Each process would start with the values it is given."""
    for workload, container in _ours(cluster):
        with _environment(cluster.environment(container)):
            try:
                settings = load_settings()
            except ConfigError as error:
                yield f"{workload.title} would not start: {error}"
                continue
        if isinstance(refused := tracing_wanted(cluster.environment(container)), str):
            yield f"{workload.title} exports no traces: {refused}"
        if settings.pubsub_project is None:
            yield f"{workload.title} uses a queue in its own disk"
        if workload.component in {"gateway", *FOLDERS} and settings.host != "0.0.0.0":  # noqa: S104 - asked, not bound
            yield f"{workload.title} listens on {settings.host}, where no probe gets to"


def secrets_are_given_to_who_needs_them(cluster: Cluster) -> Iterator[str]:
    """Gateways sign with one secret; each has its own user of the warehouse, and nothing more."""
    for workload, container in _ours(cluster):
        given = {
            (one["name"], one["valueFrom"]["secretKeyRef"]["name"])
            for one in container["env"]
            if "valueFrom" in one
        }
        user = WAREHOUSE_USERS.get(workload.component, "worker")
        wanted = {("SLUICE_WAREHOUSE_URL", f"sluice-warehouse-{user}")}
        if workload.component == "gateway":
            wanted.add(("SLUICE_JWT_SECRET", "sluice-jwt"))
        if given != wanted:
            yield f"{workload.title} is given {sorted(given)} and needs {sorted(wanted)}"
        if "tenants" in workload.volumes and workload.component not in FOLDERS:
            yield f"{workload.title} reads the tenants file for nothing"


def ports_are_those_of_the_settings(cluster: Cluster) -> Iterator[str]:
    """A container's port is where its process listens."""
    for workload, container in _ours(cluster):
        settings = cluster.environment(container)
        wanted = {"http": settings["SLUICE_PORT"], "status": settings["SLUICE_WORKER_PORT"]}
        for name, number in workload.ports.items():
            if str(number) != wanted.get(name):
                yield f"{workload.title} says its port {name} is {number}"


def folders_are_volumes(cluster: Cluster) -> Iterator[str]:
    """A root file system that is read only takes no file; each path is below a mount."""
    for workload, container in _ours(cluster):
        settings = cluster.environment(container)
        for name in ("SLUICE_DATA_DIR", *FOLDERS.get(workload.component, ())):
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            if not any(settings[name].startswith(f"{mount}/") for mount in mounts):
                yield f"{workload.title}: {name} is {settings[name]}, which is in no volume"


def addresses_are_services(cluster: Cluster) -> Iterator[str]:
    """Health, emulator and warehouse are asked at names and ports that Services have."""
    known = {
        (service["metadata"]["name"], port["port"])
        for service in cluster.of("Service")
        for port in service["spec"]["ports"]
    }
    for workload, container in _ours(cluster):
        settings = cluster.environment(container)
        for name in ("SLUICE_WORKER_URL", "SLUICE_WAREHOUSE_URL", "PUBSUB_EMULATOR_HOST"):
            if name not in settings:
                continue
            for text in settings[name].split(","):
                url = urlsplit(text if "://" in text else f"tcp://{text}")
                if (url.hostname, url.port) not in known:
                    yield f"{workload.title}: no Service is at the address of {name}"


def warehouse_and_its_clients_agree(cluster: Cluster) -> Iterator[str]:
    """The server of an overlay takes the password that its clients have."""
    server = next((one for one in cluster.workloads() if one.component == "clickhouse"), None)
    if server is None:
        return
    password = cluster.environment(server.containers[0]).get("CLICKHOUSE_PASSWORD")
    for workload, container in _ours(cluster):
        url = urlsplit(cluster.environment(container).get("SLUICE_WAREHOUSE_URL", ""))
        if (url.username, url.password) != ("sluice", password):
            yield f"{workload.title} does not know the warehouse's password"


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Put these variables in place of all SLUICE_* ones."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SLUICE_")}
    os.environ.update({name: text for name, text in values.items() if name.startswith("SLUICE_")})
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("SLUICE_")]:
            del os.environ[name]
        os.environ.update(before)


def _ours(cluster: Cluster) -> Iterator[tuple[Workload, Obj]]:
    for workload in cluster.ours():
        yield workload, workload.containers[0]


RULES: Final = (
    settings_exist,
    settings_are_taken,
    secrets_are_given_to_who_needs_them,
    ports_are_those_of_the_settings,
    folders_are_volumes,
    addresses_are_services,
    warehouse_and_its_clients_agree,
)
