"""The Job of one command: what ``k8s/once.sh`` prints is the setup Job's but for what it runs."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.grammar import refused
from tests.docs.shell import Command
from tests.k8s import schemas
from tests.k8s.cluster import OVERLAYS, ROOT, Cluster, Obj, cluster_of, kubectl, parse
from tests.k8s.rules import settings

SCRIPT = ROOT / "k8s/once.sh"
REWIND = ("rewind", "--to", "2026-03-01T09:00Z", "--yes")


def printed(*words: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(kubectl()).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(  # noqa: S603 - ours
        ["sh", str(SCRIPT), *words],  # noqa: S607 - every system has it
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )


def without_args(job: Obj) -> Obj:
    template = job["spec"]["template"]
    [container] = template["spec"]["containers"]
    kept = {key: one for key, one in container.items() if key != "args"}
    return {
        "labels": template["metadata"]["labels"],
        **template["spec"],
        "containers": [kept],
    }


@pytest.mark.parametrize("overlay", ["dev", "kind", "gke"])
def test_job_of_one_command_runs_as_setup_does(overlay: str) -> None:
    made = printed(str(OVERLAYS[overlay]), *REWIND)
    [job] = parse(made.stdout)
    setup = cluster_of(overlay).named("Job", "sluice-setup")
    assert setup is not None
    assert without_args(job) == without_args(setup)
    assert job["metadata"]["name"] == "sluice-once-rewind"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == list(REWIND)
    assert job["spec"]["backoffLimit"] == 0
    assert set(job["spec"]) == set(setup["spec"])
    for version in schemas.VERSIONS:
        assert list(schemas.problems(job, version)) == []
    beside = [one for one in cluster_of(overlay).objects if one is not setup]
    assert [said for rule in settings.RULES for said in rule(Cluster([*beside, job]))] == []
    assert refused(Command(("sluice", *REWIND))) == ""


@pytest.mark.parametrize(
    "words",
    [
        (),
        (str(OVERLAYS["gke"]),),
        (str(OVERLAYS["gke"]), "rewind", "--to", '"], "image": "x'),
        (str(OVERLAYS["gke"]), 'rewind"'),
        (str(ROOT / "k8s/overlays/none"), "rewind"),
    ],
)
def test_nothing_is_printed_when_a_word_is_missing_or_odd(words: tuple[str, ...]) -> None:
    made = printed(*words)
    assert made.returncode != 0
    assert made.stdout == ""
    assert made.stderr
