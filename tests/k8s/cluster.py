"""What an overlay puts into a cluster: rendered by kubectl, looked at as Kubernetes does."""

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from sluice.settings import MIB

Obj = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
OVERLAYS: Final = {
    "dev": ROOT / "k8s/overlays/dev",
    "kind": ROOT / "k8s/overlays/kind",
    "gke": ROOT / "k8s/overlays/gke",
    "ingress": ROOT / "tests/k8s/variants/ingress",
    "gateway-api": ROOT / "tests/k8s/variants/gateway-api",
}
WITHOUT_STORE: Final = ("dev", "kind", "ingress", "gateway-api")
"""Overlays whose Secrets ``k8s/secrets.sh`` makes."""
TENANTS: Final = ROOT / "tests/k8s/tenants.toml"
RUN_WITH_PODS: Final = ("Deployment", "StatefulSet", "Job")
_UNITS: Final = {
    "": 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1024.0,
    "Mi": float(MIB), "Gi": 1024.0 * MIB, "Ti": 1024.0 * 1024 * MIB,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workload:
    """What starts pods, and the pods it starts."""

    kind: str
    name: str
    spec: Obj
    labels: Mapping[str, str]
    """Of its pods."""
    pod: Obj

    @property
    def title(self) -> str:
        """Kind and name, for people."""
        return f"{self.kind}/{self.name}"

    @property
    def is_ours(self) -> bool:
        """Whether Sluice itself runs in it."""
        return self.labels.get("app.kubernetes.io/name") == "sluice"

    @property
    def component(self) -> str:
        """Which part of Sluice it is; else the name of what it is."""
        name = self.labels.get("app.kubernetes.io/name", "")
        return self.labels.get("app.kubernetes.io/component", name)

    @property
    def runs_for_ever(self) -> bool:
        """Whether it is no job."""
        return self.kind != "Job"

    @property
    def containers(self) -> list[Obj]:
        """Every container, the first ones too."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Numbers of the ports by their names."""
        return {
            port["name"]: port["containerPort"]
            for container in self.containers
            for port in container.get("ports", [])
        }

    @property
    def volumes(self) -> dict[str, Obj]:
        """Volumes by name; those of a claim template too."""
        found = {volume["name"]: volume for volume in self.pod.get("volumes", [])}
        claims = self.spec.get("volumeClaimTemplates", [])
        return found | {claim["metadata"]["name"]: claim for claim in claims}


@dataclass(frozen=True, slots=True)
class Cluster:
    """All objects of one overlay, with the Secrets that its users make."""

    objects: list[Obj]

    def of(self, *kinds: str) -> list[Obj]:
        """Return the objects of these kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> Obj | None:
        """Return one object, or None."""
        return next((one for one in self.of(kind) if name_of(one) == name), None)

    def workloads(self) -> list[Workload]:
        """Return everything that starts pods."""
        return [
            Workload(
                kind=one["kind"],
                name=name_of(one),
                spec=one["spec"],
                labels=one["spec"]["template"]["metadata"]["labels"],
                pod=one["spec"]["template"]["spec"],
            )
            for one in self.of(*RUN_WITH_PODS)
        ]

    def ours(self) -> list[Workload]:
        """Return the workloads in which Sluice runs."""
        return [one for one in self.workloads() if one.is_ours]

    def selected(self, selector: Obj) -> list[Workload]:
        """Return whose pods a label selector selects; an empty one selects all."""
        return [one for one in self.workloads() if selects(selector, one.labels)]

    def environment(self, container: Obj) -> dict[str, str]:
        """Return the environment of a container, without what a Secret of a store will hold."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            config = self.named("ConfigMap", source["configMapRef"]["name"])
            found |= (config or {}).get("data", {})
        for one in container.get("env", []):
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            value = self._secret(reference) if reference else one.get("value", "")
            if value is not None:
                found[one["name"]] = value
        return found

    def _secret(self, reference: Obj) -> str | None:
        secret = self.named("Secret", reference["name"])
        if secret is None or reference["key"] not in secret["data"]:
            return None
        return base64.b64decode(secret["data"][reference["key"]]).decode()


def name_of(one: Obj) -> str:
    """Return an object's name."""
    return str(one["metadata"]["name"])


def title_of(one: Obj) -> str:
    """Return kind and name of an object, for people."""
    return f"{one['kind']}/{name_of(one)}"


def selects(selector: Obj, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector takes these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in selector.get("matchExpressions", []):
        match rule["operator"]:
            case "In":
                if labels.get(rule["key"]) not in rule["values"]:
                    return False
            case operator:
                message = f"no object of ours needs the operator {operator}"
                raise ValueError(message)
    return True


def amount(text: object) -> float:
    """Return what a quantity says, in its base unit (bytes, cores)."""
    number = str(text)
    unit = number.lstrip("0123456789.")
    return float(number.removesuffix(unit)) * _UNITS[unit]


def kubectl() -> str:
    """Return the kubectl of the environment that runs the tests, or the machine's."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    assert found, "kubectl is not here: it comes with requirements-dev.lock (`make test`)."
    return found


@cache
def rendered(folder: Path) -> str:
    """Return what ``kubectl kustomize`` makes of a folder."""
    words = [kubectl(), "kustomize", str(folder)]
    made = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - kubectl
    return made.stdout


def made_secrets(tenants: Path = TENANTS) -> list[Obj]:
    """Return what ``k8s/secrets.sh`` prints."""
    words = ["sh", str(ROOT / "k8s/secrets.sh"), str(tenants)]
    made = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return parse(made.stdout)


def parse(text: str) -> list[Obj]:
    """Return the objects of a stream of YAML, read as Kubernetes reads it (YAML 1.1)."""
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


@cache
def cluster_of(overlay: str) -> Cluster:
    """Return what an overlay makes; who wants to change it takes a copy."""
    objects = parse(rendered(OVERLAYS[overlay]))
    if overlay in WITHOUT_STORE:
        objects += [one for one in made_secrets() if one["kind"] == "Secret"]
    return Cluster(objects)


def strings(value: object) -> Iterator[str]:
    """Yield every text in an object, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from strings(one)
