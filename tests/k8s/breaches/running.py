"""How the rules of start, stop and room are broken."""

from typing import Final

from tests.k8s.breaches.change import (
    AMPLITUDE,
    GATEWAY,
    GONE,
    SETUP,
    WAREHOUSE,
    WORKFLOWS,
    Breaches,
    put,
    setting,
    without,
)
from tests.k8s.rules import running as rules

BREACHES: Final[Breaches] = {
    rules.processes_that_stay_have_probes: [
        ("gke", put(GATEWAY, "BOX livenessProbe", GONE), "no livenessProbe"),
        ("gke", put(GATEWAY, "BOX readinessProbe httpGet path", "/livez"), "instead of /readyz"),
        ("gke", put(GATEWAY, "BOX startupProbe httpGet port", "web"), "not there"),
    ],
    rules.readiness_waits_longer_than_its_answer_takes: [
        ("gke", put(GATEWAY, "BOX readinessProbe timeoutSeconds", 2), "gives up before"),
    ],
    rules.there_is_time_to_stop: [
        ("gke", setting("SLUICE_STOP_DELAY_S", "50"), "needs 76.0 s"),
        ("gke", put(WAREHOUSE, "POD terminationGracePeriodSeconds", 20), "is given 20"),
    ],
    rules.jobs_leave_their_logs: [
        ("gke", put(SETUP, "POD restartPolicy", "OnFailure"), "started anew"),
        ("gke", put(SETUP, "spec ttlSecondsAfterFinished", 600), "gone 600 s after"),
        ("gke", put(SETUP, "spec activeDeadlineSeconds", 900), "930 s are needed"),
    ],
    rules.memory_fits_what_was_measured: [
        ("gke", put(GATEWAY, "BOX resources requests memory", "64Mi"), "requests less"),
        ("gke", put(AMPLITUDE, "BOX resources limits memory", "350Mi"), "may take less"),
    ],
    rules.disks_hold_what_settings_allow: [
        ("gke", setting("SLUICE_QUEUE_MAX_BYTES", str(6 << 30)), "allows"),
        ("dev", put(GATEWAY, "POD volumes -1 emptyDir sizeLimit", "4Gi"), "its disk has"),
        ("gke", put(AMPLITUDE, "spec volumeClaimTemplates", []), "has 0 bytes"),
    ],
    rules.what_waits_outlives_its_pod: [
        ("gke", put(AMPLITUDE, "spec replicas", 2), "one worker"),
    ],
    rules.every_subscription_has_its_worker: [
        ("gke", without(WORKFLOWS), "workers feed"),
        ("gke", put(WORKFLOWS, "BOX args 2", "workflow"), "workers feed"),
        ("gke", without(SETUP), "0 workloads run sluice setup"),
    ],
    rules.shared_files_are_in_one_volume: [
        ("gke", put(GATEWAY, "POD volumes", []), "no volume"),
    ],
}
