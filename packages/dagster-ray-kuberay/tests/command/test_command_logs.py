"""`dagster-ray logs` and `dashboard` on the simulator."""

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from collector_world import labels, raycluster, rayjob
from command_world import Printed, dagster_ray
from fault_world import FAST, eventually, simulated

from dagster_ray.kuberay import _rights as rights
from dagster_ray.simulator import Account, KubeletOptions, Rule, Simulator

CRASHING = {"name": "ray-head", "image": "rayproject/ray:crashing"}
SIDECAR = {"name": "beside", "image": "rayproject/ray"}


@pytest.fixture(scope="module")
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def verb(simulator: Simulator, *arguments: str) -> Printed:
    return dagster_ray(*arguments, "--kubeconfig", simulator.kubeconfig)


def head(simulator: Simulator, prefix: str) -> dict[str, Any]:
    """Return a cluster's head pod, once it is there and ready or has crashed."""

    def found() -> list[dict[str, Any]]:
        pods = [one for one in simulator.store.list("pods") if one["metadata"]["name"].startswith(prefix)]
        states = [state for pod in pods for state in pod.get("status", {}).get("containerStatuses", [])]
        return [dict(pod) for pod in pods] if any(one["ready"] or one["restartCount"] for one in states) else []

    eventually(found)
    return found()[0]


def test_the_log_of_a_head_that_crashed_is_read_from_the_container_before(simulator: Simulator) -> None:
    made = raycluster("crashing", labels())
    spec = {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [CRASHING, SIDECAR]}}}}
    simulator.store.create("rayclusters", {**made, "spec": spec})
    pod = head(simulator, "crashing")
    printed = verb(simulator, "logs", "crashing", "--previous")
    assert printed.code == 0, printed.err
    assert "No module named 'ray'" in printed.out
    data = verb(simulator, "logs", "crashing", "--previous", "--tail", "1", "--json").data
    assert (data["pod"], data["container"], data["previous"]) == (pod["metadata"]["name"], "ray-head", True)
    assert data["lines"] == ["ModuleNotFoundError: No module named 'ray'"]


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_a_rayjob_leads_to_the_head_of_its_cluster(version: str) -> None:
    with simulated(version) as simulator:
        simulator.store.create("rayjobs", rayjob("job", labels()))
        pod = head(simulator, "job-")
        printed = verb(simulator, "logs", "job", "--json")
        assert (printed.code, printed.data["pod"]) == (0, pod["metadata"]["name"])


def test_a_cluster_without_a_head_is_a_finding(simulator: Simulator) -> None:
    made = rayjob("waiting", labels(), suspend=True, shutdownAfterJobFinishes=True)
    simulator.store.create("rayjobs", made)
    for words in (["logs", "waiting"], ["dashboard", "waiting"]):
        printed = verb(simulator, *words)
        assert printed.code == 1
        assert "RayJob default/waiting has no head pod: it is suspended" in printed.out


def test_a_name_that_nothing_has_is_told(simulator: Simulator) -> None:
    for word in ("logs", "dashboard"):
        printed = verb(simulator, word, "nothing")
        assert (printed.code, printed.out) == (1, "")
        assert "Error: There is no RayJob or RayCluster named nothing in namespace default.\n" in printed.err
        assert "[dagster-ray: kubernetes-not-found]" in printed.err
        assert "in namespace elsewhere." in verb(simulator, word, "nothing", "-n", "elsewhere").err
        error = verb(simulator, word, "nothing", "--json").data["error"]
        assert (error["code"], "named nothing" in error["problem"]) == ("kubernetes-not-found", True)


def opened(simulator: Simulator, kubeconfig: Path, name: str, number: signal.Signals) -> tuple[int, str]:
    """Open a dashboard by the command, ask it something, end it by a signal; return the exit code and the answer."""
    words = [sys.executable, "-c", "from dagster_ray.kuberay.command import main; main()"]
    words += ["dashboard", name, "--kubeconfig", str(kubeconfig)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            with urllib.request.urlopen(f"{url}/api/jobs/", timeout=30) as answer:
                text = answer.read().decode()
            process.send_signal(number)
            return process.wait(30), text
        finally:
            process.kill()


def test_the_dashboard_is_there_until_an_interrupt_under_the_role_of_the_command(tmp_path: Path) -> None:
    with simulated(kubelet_options=KubeletOptions(times=FAST)) as simulator:
        simulator.store.create("rayclusters", raycluster("one", labels()))
        head(simulator, "one")
        rules = [rule for rule, _ in rights.rules_of(rights.rights_of(rights.features_of(["command"])))]
        granted = [Rule(one["apiGroups"], one["resources"], one["verbs"]) for one in rules]
        simulator.access.accounts["role"] = Account("command", granted, frozenset({"default"}))
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(simulator.account("role")), encoding="utf-8")
        assert opened(simulator, file, "one", signal.SIGINT) == (0, "[]")
        assert dagster_ray("logs", "one", "--kubeconfig", file).code == 0
        for resource, verb_of_role, words in (
            ("pods/log", "get", ["logs", "one"]),
            ("rayclusters", "get", ["logs", "one"]),
            ("rayjobs", "get", ["logs", "one"]),
        ):
            simulator.faults.deny(verb_of_role, resource)
            assert dagster_ray(*words, "--kubeconfig", file).code == 3
            simulator.faults.clear()
