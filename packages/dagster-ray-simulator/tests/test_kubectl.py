"""kubectl works on the simulator, unchanged: its tables, its validation, its apply, its waits."""

import json
import os
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dagster_ray.simulator import KubeletOptions, PodTimes, Simulator

KUBECTL = shutil.which("kubectl")
SECONDS = 60

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


@dataclass(frozen=True, slots=True)
class Said:
    """What kubectl answered."""

    code: int
    out: str
    err: str

    @property
    def table(self) -> list[list[str]]:
        """The words of each line."""
        return [line.split() for line in self.out.splitlines() if line]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with the kubeconfig of one simulator, and a home of its own."""

    simulator: Simulator
    home: Path

    def __call__(self, *words: str) -> Said:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.simulator.kubeconfig)}
        command = [KUBECTL or "kubectl", *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def file(self, obj: dict[str, Any]) -> str:
        """Return the path of a file with a manifest."""
        path = self.home / f"{obj['kind']}-{obj['metadata'].get('name', 'unnamed')}.json"
        path.write_text(json.dumps(obj), encoding="utf-8")
        return str(path)


@pytest.fixture
def kubectl(tmp_path: Path) -> Generator[Kubectl]:
    at_once = KubeletOptions(times=PodTimes(probe_grid_seconds=None))
    with Simulator(fake_heads=True, kubelet_options=at_once) as simulator:
        yield Kubectl(simulator, tmp_path)


def rayjob(name: str, **labels: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "ray-head", "image": "rayproject/ray:2.49.0"}]}}
    head = {"rayStartParams": {}, "template": template}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, **({"labels": labels} if labels else {})},
        "spec": {"submissionMode": "InteractiveMode", "rayClusterSpec": {"headGroupSpec": head}},
    }


def test_a_rayjob_is_created_waited_for_shown_and_deleted(kubectl: Kubectl) -> None:
    assert kubectl("create", "-f", kubectl.file(rayjob("one", team="a"))).out == "rayjob.ray.io/one created\n"
    until = "--for=jsonpath={.status.jobDeploymentStatus}=Waiting"
    waited = kubectl("wait", "rayjob/one", until, "--timeout=40s")
    assert waited.out == "rayjob.ray.io/one condition met\n", waited.err
    shown = kubectl("describe", "rayjob", "one").out
    assert "Job Deployment Status:  Waiting" in shown
    assert "CreatedRayCluster" in shown, "the events of the object are found by their field selector"
    deleted = kubectl("delete", "rayjob", "one", "--timeout=30s")
    assert deleted.out.startswith('rayjob.ray.io "one" deleted'), deleted.err
    assert kubectl.simulator.store.list("rayjobs") == []


def test_tables_have_the_columns_of_the_crds_and_of_kubernetes(kubectl: Kubectl) -> None:
    kubectl("create", "-f", kubectl.file(rayjob("one", team="a")))
    kubectl("wait", "rayjob/one", "--for=jsonpath={.status.jobDeploymentStatus}=Waiting", "--timeout=40s")
    jobs = kubectl("get", "rayjobs").out.splitlines()
    assert jobs[0].split("   ")[:3] == ["NAME", "JOB STATUS", "DEPLOYMENT STATUS"]
    assert jobs[1].split()[:2] == ["one", "Waiting"]
    clusters = kubectl("get", "rayclusters").out
    assert clusters.startswith("NAME")
    assert "DESIRED WORKERS" in clusters
    assert " ready " in clusters
    pods = kubectl("get", "pods").table
    assert pods[0][:3] == ["NAME", "READY", "STATUS"]
    assert pods[1][1:3] == ["1/1", "Running"]
    assert kubectl("get", "rayjobs", "-A", "-l", "team=a").table[1][:2] == ["default", "one"]
    assert "No resources found" in kubectl("get", "rayjobs", "-l", "team=b").err
    assert kubectl("get", "rayjobs", "-o", "name").out == "rayjob.ray.io/one\n"


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl) -> None:
    manifest = rayjob("one")
    assert kubectl("apply", "-f", kubectl.file(manifest)).out == "rayjob.ray.io/one created\n"
    assert kubectl("apply", "-f", kubectl.file(manifest)).out == "rayjob.ray.io/one unchanged\n"
    manifest["metadata"]["labels"] = {"team": "b"}
    assert kubectl("apply", "-f", kubectl.file(manifest)).out == "rayjob.ray.io/one configured\n"
    stored = kubectl.simulator.store.get("rayjobs", "default", "one")
    assert stored is not None
    assert stored["metadata"]["labels"] == {"team": "b"}


def test_apply_on_the_server_is_served(kubectl: Kubectl) -> None:
    applied = kubectl("apply", "--server-side", "-f", kubectl.file(rayjob("one")))
    assert applied.out == "rayjob.ray.io/one serverside-applied\n", applied.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ("patch", "rayjob", "one", "--type=merge", "-p", '{"metadata":{"annotations":{"a":"b"}}}'),
            "patched",
            id="a merge patch",
        ),
        pytest.param(
            ("patch", "rayjob", "one", "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/x","value":"y"}]'),
            "patched",
            id="a JSON patch",
        ),
        pytest.param(
            ("patch", "rayjob", "one", "--type=merge", "-p", "{}"), "patched (no change)", id="a patch without change"
        ),
        pytest.param(("label", "rayjob", "one", "x=y"), "labeled", id="a label"),
        pytest.param(("annotate", "rayjob", "one", "x=y"), "annotated", id="an annotation"),
    ],
)
def test_an_object_is_changed(kubectl: Kubectl, words: tuple[str, ...], said: str) -> None:
    kubectl("create", "-f", kubectl.file(rayjob("one", team="a")))
    # Until then the operator changes it too, and kubectl compares what it read with what it got.
    kubectl("wait", "rayjob/one", "--for=jsonpath={.status.jobDeploymentStatus}=Waiting", "--timeout=40s")
    changed = kubectl(*words)
    assert changed.out == f"rayjob.ray.io/one {said}\n", changed.err


def test_a_strategic_patch_of_a_rayjob_is_refused_as_for_every_custom_resource(kubectl: Kubectl) -> None:
    kubectl("create", "-f", kubectl.file(rayjob("one")))
    refused = kubectl("patch", "rayjob", "one", "--type=strategic", "-p", '{"spec":{"jobId":"x"}}')
    assert refused.code != 0
    assert "strategic" in refused.err or "not in a known format" in refused.err or "unknown format" in refused.err


def test_refusals_are_told_as_kubernetes_tells_them(kubectl: Kubectl) -> None:
    path = kubectl.file(rayjob("one"))
    kubectl("create", "-f", path)
    again = kubectl("create", "-f", path)
    assert "(AlreadyExists): error when creating" in again.err
    assert 'rayjobs.ray.io "one" already exists' in again.err
    absent = 'Error from server (NotFound): rayjobs.ray.io "absent" not found\n'
    assert kubectl("get", "rayjob", "absent").err == absent
    assert kubectl("delete", "rayjob", "absent").err == absent
    kubectl.simulator.faults.deny("list", "rayjobs")
    assert "Error from server (Forbidden): rayjobs.ray.io is forbidden: User" in kubectl("get", "rayjobs").err


def test_a_misspelled_field_is_refused_by_the_servers_strict_validation(kubectl: Kubectl) -> None:
    manifest = rayjob("one")
    manifest["spec"]["shutdownAfterJobFinish"] = True
    refused = kubectl("create", "-f", kubectl.file(manifest))
    assert refused.code != 0
    assert 'unknown field "spec.shutdownAfterJobFinish"' in refused.err
    warned = kubectl("create", "--validate=warn", "-f", kubectl.file(manifest))
    assert warned.code == 0
    assert 'Warning: unknown field "spec.shutdownAfterJobFinish"' in warned.err


def test_a_dry_run_of_apply_checks_what_people_write_by_hand(kubectl: Kubectl) -> None:
    role: dict[str, Any] = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "one"}}
    rule = {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get"]}
    dry_run = ("apply", "--dry-run=server", "-f")
    accepted = kubectl(*dry_run, kubectl.file({**role, "rules": [rule]}))
    assert accepted.out == "role.rbac.authorization.k8s.io/one created (server dry run)\n", accepted.err
    misspelled = kubectl(*dry_run, kubectl.file({**role, "rules": [{**rule, "verb": ["list"]}]}))
    assert 'unknown field "rules[0].verb"' in misspelled.err
    refused = kubectl(*dry_run, kubectl.file({**role, "rules": [{**rule, "verbs": []}]}))
    assert "rules[0].verbs: Required value: verbs must contain at least one value" in refused.err
    assert kubectl.simulator.store.list("roles") == []


def test_a_watch_shows_rows_until_it_ends(kubectl: Kubectl) -> None:
    kubectl("create", "-f", kubectl.file(rayjob("one")))
    rows = kubectl("get", "rayjobs", "-w", "--request-timeout=2s").table
    assert rows[0][0] == "NAME"
    assert rows[1][0] == "one"


def test_kubectl_finds_its_way(kubectl: Kubectl) -> None:
    kinds = kubectl("api-resources", "--no-headers").out
    assert all(kind in kinds for kind in ("RayJob", "RayCluster", "Pod", "Lease", "Job", "Namespace"))
    assert "Server Version: v1.36" in kubectl("version").out
    assert kubectl("get", "namespaces", "-o", "name").out == "namespace/default\nnamespace/kuberay-system\n"
    assert kubectl("get", "pods", "-n", "kuberay-system", "-o", "name").out == "pod/kuberay-operator\n"
    assert "Running" in kubectl("get", "pod", "kuberay-operator", "-n", "kuberay-system").out
