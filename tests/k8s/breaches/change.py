"""Ways to change what an overlay makes."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final

from tests.k8s.cluster import Cluster, Obj
from tests.k8s.rules import Rule

Change = Callable[[Cluster], None]
Breaches = dict[Rule, list[tuple[str, Change, str]]]
"""For each rule: an overlay, a change to it, and words of what the rule then says."""

GATEWAY: Final = "StatefulSet/sluice-gateway"
AMPLITUDE: Final = "StatefulSet/sluice-worker-amplitude"
WAREHOUSE: Final = "Deployment/sluice-worker-warehouse"
WORKFLOWS: Final = "Deployment/sluice-worker-workflows"
SETUP: Final = "Job/sluice-setup"
GONE: Final = object()

_SHORT: Final = {"POD": "spec template spec", "BOX": "spec template spec containers 0"}
_ANNOTATIONS: Final = "nginx.ingress.kubernetes.io/"


def put(title: str, path: str, value: Any) -> Change:
    """Return the change that puts a value into an object, or takes away what is there (``GONE``).

    Args:
        title: Kind and name of the object.
        path: Keys and indices with spaces between; ``POD`` and ``BOX`` stand for a workload's pod
            and its first container, ``NGINX/`` for the prefix of annotations, ``+`` at the end for
            one more item of a list.
        value: What stands there then.
    """

    def change(cluster: Cluster) -> None:
        place: Any = _named(cluster, title)
        *steps, last = _steps(path)
        for step in steps:
            place = place[step]
        if value is GONE:
            del place[last]
        elif last == "+":
            place.append(value)
        else:
            place[last] = value

    return change


def without(title: str) -> Change:
    """Return the change that takes an object away."""

    def change(cluster: Cluster) -> None:
        cluster.objects.remove(_named(cluster, title))

    return change


def twice(title: str, **metadata: str) -> Change:
    """Return the change that adds a copy of an object, with other metadata."""

    def change(cluster: Cluster) -> None:
        copy = deepcopy(_named(cluster, title))
        copy["metadata"] |= metadata
        cluster.objects.append(copy)

    return change


def setting(name: str, value: str | None) -> Change:
    """Return the change that gives every process another value of a setting, or none."""

    def change(cluster: Cluster) -> None:
        for config in cluster.of("ConfigMap"):
            if config["metadata"]["name"].startswith("sluice-settings"):
                config["data"].pop(name, None)
                config["data"] |= {} if value is None else {name: value}

    return change


def _named(cluster: Cluster, title: str) -> Obj:
    found = cluster.named(*title.split("/"))
    assert found is not None, f"there is no {title}"
    return found


def _steps(path: str) -> Iterator[str | int]:
    for word in path.split():
        for step in _SHORT.get(word, word).split():
            name = step.replace("NGINX/", _ANNOTATIONS)
            yield int(name) if name.lstrip("-").isdigit() else name
