"""How the rules of settings are broken."""

from typing import Final

from tests.k8s.breaches.change import GATEWAY, Breaches, put, setting
from tests.k8s.rules import settings as rules

BREACHES: Final[Breaches] = {
    rules.settings_exist: [
        ("gke", setting("SLUICE_STOP_DELAY", "1"), "SLUICE_STOP_DELAY,"),
    ],
    rules.settings_are_taken: [
        ("gke", setting("SLUICE_STOP_DELAY_S", "90"), "would not start"),
        ("gke", setting("SLUICE_QUEUE_URL", "pubsub://My"), "would not start"),
        ("gke", setting("SLUICE_QUEUE_URL", None), "its own disk"),
        ("gke", setting("SLUICE_HOST", "127.0.0.1"), "no probe"),
        ("gateway-api", setting("OTEL_TRACES_SAMPLER_ARG", "2"), "exports no traces"),
    ],
    rules.secrets_are_given_to_who_needs_them: [
        ("gke", put(GATEWAY, "BOX env", []), "needs"),
        (
            "gke",
            put(GATEWAY, "BOX env 1 valueFrom secretKeyRef name", "sluice-warehouse-worker"),
            "sluice-warehouse-gateway",
        ),
    ],
    rules.ports_are_those_of_the_settings: [
        ("gke", setting("SLUICE_PORT", "80"), "port http is 8080"),
    ],
    rules.folders_are_volumes: [
        ("gke", setting("SLUICE_DATA_DIR", "sluice-data"), "in no volume"),
        ("gke", setting("SLUICE_RUN_FILES_DIR", "/files"), "in no volume"),
    ],
    rules.addresses_are_services: [
        ("gke", setting("SLUICE_WORKER_URL", "http://sluice-worker:8082"), "SLUICE_WORKER_URL"),
        ("dev", put("Service/clickhouse", "metadata name", "ch"), "SLUICE_WAREHOUSE_URL"),
    ],
    rules.warehouse_and_its_clients_agree: [
        ("dev", put("Secret/clickhouse-password", "data password", "cHc="), "password"),
    ],
}
