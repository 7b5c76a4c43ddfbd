"""Start, stop and room: probes ask what exists; time to stop, memory and disks are enough."""

import re
from collections.abc import Iterator
from typing import Final

from gateway.routes.ops import QUEUE_TIMEOUT_S
from sluice.lifecycle import CANCEL_GRACE_S
from sluice.queue.protocol import TOPICS
from tests.k8s.cluster import ROOT, Cluster, Obj, Workload, amount

PROBES: Final = {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
KUBELET_GRACE_S: Final = 5
"""What a pod is given beyond the time that the process needs."""
JOB_KEPT_S: Final = 3600
JOB_TRY_S: Final = 300
"""A try of the setup Job waits no longer for what is not there yet (`--wait 5m`)."""
MEASURED: Final = {
    "gateway": ("performance.md", r"gateway alone, peak memory \| (\d+) MB"),
    "worker-warehouse": ("performance.md", r"worker under that load, peak memory \| (\d+) MB"),
    "worker-amplitude": ("performance.md", r"that Amplitude throttles: (\d+) MB at most"),
    "clickhouse": ("performance.md", r"warehouse under that load, peak memory \| (\d+) MB"),
}
HEADROOM: Final = 1.5
"""A limit is at least so many times what was measured."""
DISKS: Final = {
    "gateway": "SLUICE_QUEUE_MAX_BYTES",
    "worker-amplitude": "SLUICE_PARKED_MAX_BYTES",
    "worker-workflows": "SLUICE_PARKED_MAX_BYTES",
}
"""Whose files are bounded by which setting; with log and index SQLite needs up to twice that."""


def processes_that_stay_have_probes(cluster: Cluster) -> Iterator[str]:
    """Slow to start, not ready and stuck are three things, asked at a port that is there."""
    for workload in cluster.workloads():
        for name, path in PROBES.items() if workload.runs_for_ever else ():
            probe = workload.containers[0].get(name)
            if probe is None:
                yield f"{workload.title} has no {name}"
                continue
            asked = probe.get("httpGet") or probe.get("tcpSocket") or {}
            if asked.get("port") not in workload.ports:
                yield f"{workload.title}: its {name} asks a port that is not there"
            if workload.is_ours and asked.get("path") != path:
                yield f"{workload.title}: its {name} asks {asked.get('path')} instead of {path}"


def readiness_waits_longer_than_its_answer_takes(cluster: Cluster) -> Iterator[str]:
    """A gateway that waits for the queue's figures is ready all the same."""
    for workload in cluster.ours():
        probe = workload.containers[0].get("readinessProbe", {})
        if workload.component == "gateway" and probe.get("timeoutSeconds", 1) <= QUEUE_TIMEOUT_S:
            yield f"/readyz may take {QUEUE_TIMEOUT_S} s, its probe gives up before"


def there_is_time_to_stop(cluster: Cluster) -> Iterator[str]:
    """SIGKILL never comes before a process has done what it promises to do when it is stopped."""
    for workload in cluster.ours():
        if not workload.runs_for_ever:
            continue
        settings = cluster.environment(workload.containers[0])
        needed = float(settings["SLUICE_STOP_TIMEOUT_S"]) + CANCEL_GRACE_S + KUBELET_GRACE_S
        if workload.component == "gateway":
            needed += float(settings["SLUICE_STOP_DELAY_S"])
        granted = workload.pod.get("terminationGracePeriodSeconds", 30)
        if granted < needed:
            yield f"{workload.title} needs {needed} s to stop and is given {granted}"


def jobs_leave_their_logs(cluster: Cluster) -> Iterator[str]:
    """Whoever comes to a Job that failed reads why: no pod is gone before it was looked at."""
    for job in cluster.of("Job"):
        name, spec = job["metadata"]["name"], job["spec"]
        if spec["template"]["spec"].get("restartPolicy") != "Never":
            yield f"{name}: a pod that is started anew is removed with its log when it is given up"
        if spec.get("ttlSecondsAfterFinished", JOB_KEPT_S) < JOB_KEPT_S:
            yield f"{name} is gone {spec['ttlSecondsAfterFinished']} s after it failed"
        tries = spec.get("backoffLimit", 6) + 1
        needed = tries * JOB_TRY_S + sum(10 * 2**at for at in range(tries - 1))
        if spec.get("activeDeadlineSeconds", needed) < needed:
            yield f"{name} is killed in its last try, whose log goes with it: {needed} s are needed"


def memory_fits_what_was_measured(cluster: Cluster) -> Iterator[str]:
    """A request is no less than the measured peak; a limit leaves room above it."""
    for workload in cluster.workloads():
        if workload.component not in MEASURED:
            continue
        page, pattern = MEASURED[workload.component]
        found = re.search(pattern, (ROOT / "docs" / page).read_text())
        if found is None:
            yield f"docs/{page} does not say any more what {workload.title} needs"
            continue
        peak = int(found[1]) * 1e6
        given = workload.containers[0]["resources"]
        if amount(given["requests"]["memory"]) < peak:
            yield f"{workload.title} requests less memory than the {found[1]} MB measured"
        if amount(given["limits"]["memory"]) < HEADROOM * peak:
            yield f"{workload.title} may take less than {HEADROOM} times the {found[1]} MB measured"


def disks_hold_what_settings_allow(cluster: Cluster) -> Iterator[str]:
    """The bound in bytes is reached before the disk is full, and answered with words."""
    for workload in cluster.ours():
        if workload.component not in DISKS:
            continue
        setting = DISKS[workload.component]
        allowed = int(cluster.environment(workload.containers[0])[setting])
        size = _size(workload.volumes.get("data", {}))
        if size < 2 * allowed:
            yield f"{workload.title}: {setting} allows {allowed}, its disk has {size:.0f} bytes"


def what_waits_outlives_its_pod(cluster: Cluster) -> Iterator[str]:
    """Parked events stand on a disk of their own, whose worker is one (docs/amplitude.md)."""
    for workload in cluster.ours():
        if workload.component != "worker-amplitude":
            continue
        if "spec" not in workload.volumes.get("data", {}) or workload.spec.get("replicas") != 1:
            yield f"{workload.title} is not one worker with one disk"


def every_subscription_has_its_worker(cluster: Cluster) -> Iterator[str]:
    """Each destination is fed, by one kind of worker."""
    fed = [
        workload.containers[0]["args"][2]
        for workload in cluster.ours()
        if workload.containers[0]["args"][:2] == ["worker", "--only"]
    ]
    known = sorted(name for names in TOPICS.values() for name in names)
    if sorted(fed) != known:
        yield f"workers feed {sorted(fed)}; there are {known}"
    commands = [one.containers[0]["args"][0] for one in cluster.ours()]
    for command in ("gateway", "setup"):
        if commands.count(command) != 1:
            yield f"{commands.count(command)} workloads run sluice {command}"


def shared_files_are_in_one_volume(cluster: Cluster) -> Iterator[str]:
    """What a run leaves, a gateway can hand out; it writes nothing there."""
    found = {one.component: _claim(one) for one in cluster.ours()}
    names = {found[name].get("claimName") for name in ("gateway", "worker-workflows")}
    if len(names) != 1 or None in names:
        yield "gateway and workflows worker share no volume"
    if not found["gateway"].get("readOnly") or found["worker-workflows"].get("readOnly"):
        yield "the workflows worker writes shared files, and nobody else does"


def _claim(workload: Workload) -> Obj:
    claim: Obj = workload.volumes.get("shared", {}).get("persistentVolumeClaim", {})
    return claim


def _size(volume: Obj) -> float:
    if "emptyDir" in volume:
        return amount(volume["emptyDir"].get("sizeLimit", 0))
    requests = volume.get("spec", {}).get("resources", {}).get("requests", {})
    return amount(requests.get("storage", 0)) if requests else 0.0


RULES: Final = (
    processes_that_stay_have_probes,
    readiness_waits_longer_than_its_answer_takes,
    there_is_time_to_stop,
    jobs_leave_their_logs,
    memory_fits_what_was_measured,
    disks_hold_what_settings_allow,
    what_waits_outlives_its_pod,
    every_subscription_has_its_worker,
    shared_files_are_in_one_volume,
)
