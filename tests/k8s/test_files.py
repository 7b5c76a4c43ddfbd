"""What stands beside the objects: the script of Secrets, configuration files, the page."""

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import sluice
from tests.k8s.cluster import (
    OVERLAYS,
    ROOT,
    Cluster,
    cluster_of,
    made_secrets,
    name_of,
    parse,
    rendered,
    title_of,
)
from tests.k8s.rules import RULES
from tests.k8s.rules.scaling import bounds_of, target_of
from worker.destinations import NAMES

PAGE = (ROOT / "docs/kubernetes.md").read_text()


def test_secrets_are_different_each_time() -> None:
    first, second = (
        {name_of(one): one["data"] for one in made_secrets() if one["kind"] == "Secret"}
        for _ in range(2)
    )
    same = {name for name in first if first[name] == second[name]}
    assert same == {"sluice-tenants"}  # that is the file given


def test_secrets_are_not_made_without_a_tenants_file(tmp_path: Path) -> None:
    for words in ([], [str(tmp_path / "nothing.toml")]):
        made = subprocess.run(  # noqa: S603 - ours
            ["sh", str(ROOT / "k8s/secrets.sh"), *words],  # noqa: S607 - every system has it
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode != 0
        assert made.stdout == ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_overlay_holds_a_secret(overlay: str) -> None:
    assert [
        title_of(one) for one in parse(rendered(OVERLAYS[overlay])) if one["kind"] == "Secret"
    ] == []


@pytest.mark.parametrize("overlay", ["dev", "kind"])
def test_image_is_this_version(overlay: str) -> None:
    images = {one.containers[0]["image"] for one in cluster_of(overlay).ours()}
    assert images == {f"localhost/sluice:{sluice.__version__}"}


def test_clickhouse_reads_its_configuration() -> None:
    config = next(
        one for one in cluster_of("dev").of("ConfigMap") if name_of(one).startswith("clickhouse")
    )
    roots = {ElementTree.fromstring(text).tag for text in config["data"].values()}  # noqa: S314 - ours
    assert roots == {"clickhouse"}


def test_kind_shares_the_folder_that_the_volume_needs() -> None:
    [config] = parse((OVERLAYS["kind"] / "cluster.yaml").read_text())
    volume = cluster_of("kind").named("PersistentVolume", "sluice-shared")
    service = cluster_of("kind").named("Service", "sluice-gateway")
    assert volume is not None
    assert service is not None
    workers = [node for node in config["nodes"] if node["role"] == "worker"]
    mounted = [node["extraMounts"][0]["containerPath"] for node in workers]
    assert mounted == [volume["spec"]["hostPath"]["path"]] * 2
    assert f"mkdir -m 777 -p {workers[0]['extraMounts'][0]['hostPath']}" in PAGE
    mapped = config["nodes"][0]["extraPortMappings"][0]["containerPort"]
    assert mapped == service["spec"]["ports"][0]["nodePort"]


def test_page_shows_how_to_put_own_values_into_gke(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    [command] = re.findall(r"^sed -i\S* .*$", PAGE, re.MULTILINE)
    values = {
        "PROJECT": "acme-prod",
        "HOST": "in.acme.test",
        "REGION": "europe-west4",
        "DIGEST": f"sha256:{'a1' * 32}",
    }
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=values, check=True)  # noqa: S603, S607 - the page's
    text = rendered(tmp_path / "k8s/overlays/gke")
    assert [word for word in ("my-project", "example.com", "0" * 64) if word in text] == []
    assert "europe-west4-pubsub.googleapis.com" in text
    assert [one for rule in RULES for one in rule(Cluster(parse(text)))] == []


def test_page_names_every_object_that_people_meet() -> None:
    for overlay in ("dev", "kind", "gke"):
        for one in cluster_of(overlay).of("Deployment", "StatefulSet", "Job", "ServiceAccount"):
            is_named = f"`{name_of(one)}`" in PAGE or name_of(one) == "pubsub-emulator"
            assert is_named, title_of(one)


def test_page_states_the_resources_and_the_numbers_of_the_objects() -> None:
    for workload in cluster_of("kind").workloads():
        if workload.component == "pubsub-emulator":
            continue
        given = workload.containers[0]["resources"]
        cells = [
            ", ".join(str(given[kind][name]) for kind in ("requests", "limits"))
            for name in ("memory", "cpu")
        ]
        assert f"| `{workload.name}` | {cells[0]} | {cells[1]} |" in PAGE
    for scaler in cluster_of("gke").of("HorizontalPodAutoscaler", "ScaledObject"):
        low, high = bounds_of(scaler)
        kind, name = target_of(scaler)
        [row] = [line for line in PAGE.splitlines() if line.startswith(f"| {kind} `{name}`")]
        assert f"on GKE {low} to {high} by" in row


def test_page_upgrades_setup_then_workers_then_gateways() -> None:
    """Each `kubectl apply` takes what its selector says, and no process too early."""
    upgrade = PAGE.partition("## Upgrade\n")[2].partition("\n**Back**")[0]
    look, _, upgrade = upgrade.partition("\nThen all of `k8s/` that is new")
    assert "setup --dry-run" in look
    steps = re.findall(r"^kubectl (apply -k .*|-n sluice .*)$", upgrade, re.MULTILINE)
    overlay = "apply -k k8s/overlays/gke"
    selected = f"{overlay} -l 'app.kubernetes.io/component"
    at = [index for index, step in enumerate(steps) if step.startswith("apply")]
    assert len(at) == 3
    assert steps[at[0]].startswith(f"{selected} notin (")
    assert steps[at[1]].startswith(f"{selected} in (")
    assert steps[at[2]] == overlay
    assert steps[0] == "-n sluice delete job sluice-setup --ignore-not-found"
    assert "wait --for=condition=complete" in steps[at[1] - 1]
    workers = {f"worker-{name}" for name in NAMES}
    assert _names_in(steps[at[0]]) == {"gateway", *workers}
    assert _names_in(steps[at[1]]) == workers
    rolled = [step.rpartition("/")[2] for step in steps[at[1] : at[2]] if "rollout" in step]
    assert set(rolled) == {f"sluice-{name}" for name in workers}
    for workload in cluster_of("gke").workloads():
        one = cluster_of("gke").named(workload.kind, workload.name)
        assert one is not None  # kubectl looks at the labels of the object, not of its pods
        assert one["metadata"]["labels"]["app.kubernetes.io/component"] == workload.component


def _names_in(selector: str) -> set[str]:
    return set(selector.partition("(")[2].partition(")")[0].split(","))


def test_page_pauses_every_scaler_while_no_worker_may_run() -> None:
    scaled = {name_of(one) for one in cluster_of("gke").of("ScaledObject")}
    lines = re.findall(r"annotate scaledobject (.*) (autoscaling\S+)$", PAGE, re.MULTILINE)
    assert [set(names.split()) for names, _ in lines] == [scaled, scaled]
    name = "autoscaling.keda.sh/paused-replicas"
    assert [annotation for _, annotation in lines] == [f"{name}=0", f"{name}-"]


def test_page_lets_the_store_read_every_secret() -> None:
    keys = {
        item["remoteRef"]["key"]
        for one in cluster_of("gke").of("ExternalSecret")
        for item in one["spec"]["data"]
    }
    [names] = re.findall(r"^for NAME in (sluice-tenants .*); do$", PAGE, re.MULTILINE)
    assert set(names.split()) == keys
    [block] = re.findall(r"for_each = toset\(\[(.*?)\]\)", PAGE, re.DOTALL)
    assert set(re.findall(r'"([^"]+)"', block)) == keys
    assert set(re.findall(r"gcloud secrets create (\S+)", PAGE)) == keys


def test_page_gives_the_same_roles_by_gcloud_and_by_terraform() -> None:
    """Beside those on Pub/Sub, which both are generated: who is whose account in Kubernetes."""
    # What the nodes read belongs to the cluster of step 1, which the Terraform does not make.
    gcloud = set(re.findall(r"--role (roles/\S+)", PAGE)) - {"roles/artifactregistry.reader"}
    [terraform] = re.findall(r"```hcl\n(.*?)```", PAGE, re.DOTALL)
    assert set(re.findall(r'"(roles/[\w.]+)"', terraform)) == gcloud
    accounts = {name_of(one) for one in cluster_of("gke").of("ServiceAccount")}
    bound = re.findall(
        r"^  +(sluice-\w+) += google_service_account\.(\w+)\.name$", terraform, re.MULTILINE
    )
    assert {name for name, _ in bound} == accounts == {f"sluice-{made}" for _, made in bound}
    [names] = re.findall(r"^for NAME in (sluice-gateway .*); do$", PAGE, re.MULTILINE)
    assert set(names.split()) == accounts
    for member in ("ns/keda/sa/keda-operator", "ns/external-secrets/sa/external-secrets"):
        assert PAGE.count(member) == 2
    assert terraform.count("{") == terraform.count("}")


def test_page_names_only_files_that_exist() -> None:
    named = set(re.findall(r"\b((?:k8s|tests/k8s)/[\w./-]*\w)", PAGE))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "component", sorted((ROOT / "k8s/components").iterdir()), ids=lambda it: it.name
)
def test_every_component_is_used_by_some_overlay(component: Path) -> None:
    used = [folder / "kustomization.yaml" for folder in OVERLAYS.values()]
    assert any(f"components/{component.name}\n" in path.read_text() for path in used)
