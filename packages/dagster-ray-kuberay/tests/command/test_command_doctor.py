"""`dagster-ray doctor`: what it concludes, and what it says of simulated clusters, healthy and broken."""

from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from collector_world import labels, raycluster
from command_world import Printed, dagster_ray
from fault_world import eventually, left, simulated

from dagster_ray.kuberay import _rights as rights
from dagster_ray.kuberay._operator_rules.crd_release import crd_release
from dagster_ray.kuberay.command import _checks as checks
from dagster_ray.kuberay.command._checks import Check, Refusal
from dagster_ray.kuberay.command._doctor import family_versions, leftovers
from dagster_ray.simulator import Account, Fault, Rule, Simulator
from dagster_ray.simulator._api.discovery import discovery

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REFUSED = Refusal("kubernetes-forbidden", "It is forbidden.", "allow it.")
CANARY = "canary-4711"


def document(version: str) -> dict[str, Any]:
    found = discovery("/openapi/v3/apis/ray.io/v1", "host", version, without_rays=False)
    assert found is not None
    return dict(found)


# What is concluded


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("1.3.2", "1.3 or earlier, before 1.4"),
        ("1.4.2", "1.4, before 1.5"),
        ("1.5.0", "1.5, before 1.5.1"),
        ("1.5.1", "1.5.1, before 1.6"),
        ("1.6.0", "1.6, before 1.7"),
        ("1.7.0", "1.7 or later"),
    ],
)
def test_the_fields_of_crds_tell_their_release(version: str, text: str) -> None:
    found = crd_release(document(version))
    assert found is not None
    assert (found.text, found.strange) == (text, ())


def test_fields_of_a_later_release_in_an_older_crd_are_strange() -> None:
    mixed = document("1.4.2")
    newer = document("1.7.0")["components"]["schemas"]["io.ray.v1.RayCluster"]
    mixed["components"]["schemas"]["io.ray.v1.RayCluster"] = newer
    found = checks.crds_check(mixed)
    assert found.state == "warning"
    assert "RayCluster spec." in found.sentence


def pod(*, ready: bool) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {"name": "operator-1", "namespace": "kuberay"},
        "spec": {"containers": [{"image": "operator:v1.7.0"}]},
        "status": {"conditions": [condition]},
    }


def cluster(written: float | None, *, created: float = 3600) -> dict[str, Any]:
    """Return a RayCluster whose status was written so many seconds before noon."""
    made = (NOON - timedelta(seconds=created)).isoformat()
    found: dict[str, Any] = {"metadata": {"name": "one", "creationTimestamp": made}}
    if written is not None:
        found["status"] = {"lastUpdateTime": (NOON - timedelta(seconds=written)).isoformat()}
    return found


def right_check(feature: str, lacking: set[str], minor: str = "36") -> Check:
    """Return the check of a feature when verbs are missing, given as `verb resource`."""
    (found,) = rights.features_of([feature])
    allowed = {one: f"{one.verb} {one.resource}" not in lacking for one in found.rights}
    return checks.rights_check(found, allowed, "ray", {"minor": minor}, checks.grant_command([found], "ray"))


CONCLUSIONS: dict[str, tuple[Callable[[], Check], str, str]] = {
    "a Python that is too old": (lambda: checks.python_check((3, 10, 1)), "failed", "3.10.1"),
    "packages of one version": (lambda: checks.packages_check({"a": "1", "b": "1"}, []), "ok", "a 1, b 1"),
    "packages of two versions": (lambda: checks.packages_check({"a": "1", "b": "2"}, []), "failed", "differ"),
    "files of the older project": (lambda: checks.packages_check({"a": "1"}, ["x/_base"]), "failed", "x/_base"),
    "no ray": (lambda: checks.ray_check(None, has_client=True), "failed", "not installed"),
    "a ray that is too old": (lambda: checks.ray_check("2.9.0", has_client=True), "failed", "older"),
    "a ray without its client": (lambda: checks.ray_check("2.60.0", has_client=False), "failed", "grpcio"),
    "no cluster": (lambda: checks.account_check(REFUSED, "", "", in_cluster=False), "failed", "forbidden"),
    "no CRDs": (lambda: checks.crds_check(Refusal("kind-not-installed", "", "")), "failed", "does not know"),
    "a document that may not be read": (lambda: checks.crds_check(REFUSED), "skipped", "could not be asked"),
    "a document without schemas": (lambda: checks.crds_check({}), "skipped", "no schemas"),
    "CRDs that may be too old": (lambda: checks.crds_check(document("1.3.2")), "warning", "or earlier"),
    "an operator that is ready": (lambda: checks.operator_check([pod(ready=True)], [], NOON), "ok", "v1.7.0"),
    "an operator that is not": (lambda: checks.operator_check([pod(ready=False)], [], NOON), "failed", "not ready"),
    "a status of late": (lambda: checks.operator_check(REFUSED, [cluster(120)], NOON), "ok", "2 minutes ago"),
    "an old status": (
        lambda: checks.operator_check([], [cluster(7200)], NOON),
        "skipped",
        "Whether an operator runs is unknown",
    ),
    "no status for long": (lambda: checks.operator_check(REFUSED, [cluster(None)], NOON), "failed", "Nobody"),
    "no status for a moment": (
        lambda: checks.operator_check(REFUSED, [cluster(None, created=5)], NOON),
        "skipped",
        "Whether an operator runs is unknown",
    ),
    "nothing that may be listed": (lambda: checks.operator_check([], REFUSED, NOON), "skipped", "forbidden"),
    "a namespace that may be read": (lambda: checks.namespace_check("ray", {}), "ok", "exists"),
    "a namespace that takes objects": (
        lambda: checks.namespace_check("ray", Refusal("kubernetes-invalid", "", "")),
        "ok",
        "exists",
    ),
    "no namespace": (
        lambda: checks.namespace_check("ray", Refusal("kubernetes-not-found", "", "")),
        "failed",
        "ray does not exist",
    ),
    "a namespace that nothing tells of": (lambda: checks.namespace_check("ray", REFUSED), "skipped", "forbidden"),
    "all rights": (lambda: right_check("interactive", set()), "ok", "All 8"),
    "a needed right is missing": (lambda: right_check("interactive", {"patch rayjobs"}), "failed", "patch rayjobs"),
    "a right that is done without": (lambda: right_check("diagnosis", {"list events"}), "warning", "explained less"),
    "the old verb of a port-forward": (
        lambda: right_check("port-forward", {"get pods/portforward"}),
        "ok",
        "The right is granted",
    ),
    "the new verb of a port-forward": (
        lambda: right_check("port-forward", {"create pods/portforward"}),
        "failed",
        "create pods/portforward",
    ),
    "a port-forward of an older server": (
        lambda: right_check("port-forward", {"create pods/portforward"}, minor="31+"),
        "ok",
        "The right is granted",
    ),
    "a way that was not tried": (lambda: checks.path_check(in_cluster=True, round_trip=None), "skipped", "straight"),
    "a way that was tried in vain": (
        lambda: checks.path_check(in_cluster=True, round_trip=Check("round-trip", "failed", "")),
        "skipped",
        "only a head shows",
    ),
}


@pytest.mark.parametrize(("conclude", "state", "text"), CONCLUSIONS.values(), ids=CONCLUSIONS)
def test_what_is_concluded(conclude: Callable[[], Check], state: str, text: str) -> None:
    found = conclude()
    assert found.state == state
    assert text in found.sentence
    assert found.remedy or state in {"ok", "skipped"}


def test_leftovers_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "dagster_ray" / "_base").mkdir(parents=True)
    (tmp_path / "dagster_ray" / "core").mkdir()
    assert leftovers([str(tmp_path), str(tmp_path)]) == ["dagster_ray/_base"]
    assert leftovers() == []
    assert "dagster-ray-kuberay" in family_versions()


# What is said of simulated clusters


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def doctor(simulator: Simulator, *arguments: str) -> Printed:
    return dagster_ray("doctor", "--kubeconfig", simulator.kubeconfig, *arguments)


def states(printed: Printed) -> dict[str, str]:
    return {check["name"]: check["state"] for check in printed.data}


def test_a_healthy_cluster_with_a_round_trip(simulator: Simulator) -> None:
    printed = doctor(simulator, "--round-trip", "--without-ray", "--json")
    assert (printed.code, set(states(printed).values())) == (0, {"ok"}), printed.out
    (trip,) = [check for check in printed.data if check["name"] == "round-trip"]
    assert "its head accepted drivers, and it was deleted" in trip["sentence"]
    assert left(simulator) == []


def test_what_was_not_tried_is_not_fine(simulator: Simulator) -> None:
    printed = doctor(simulator, "--json")
    found = states(printed)
    assert printed.code == 0
    assert {name for name, state in found.items() if state == "skipped"} == {"network", "round-trip"}
    assert doctor(simulator, "--strict").code == 1


def test_the_operator_of_the_simulator_is_found_while_it_runs(simulator: Simulator) -> None:
    def check() -> tuple[str, str]:
        (found,) = [one for one in doctor(simulator, "--json").data if one["name"] == "operator"]
        return found["state"], found["sentence"]

    runs = ("ok", "Pod kuberay-system/kuberay-operator is ready (quay.io/kuberay/operator:v1.7.0).")
    assert check() == runs
    simulator.operator.freeze()
    assert check()[0] == "skipped"
    simulator.operator.thaw()
    assert check() == runs
    simulator.operator.stop()
    assert check()[0] == "skipped"


def test_a_cluster_that_is_served_shows_that_an_operator_runs(simulator: Simulator) -> None:
    simulator.faults.deny("list", "pods")
    simulator.store.create("rayclusters", raycluster("one", labels()))
    eventually(lambda: (simulator.store.get("rayclusters", "default", "one") or {}).get("status"))
    assert states(doctor(simulator, "--json"))["operator"] == "ok"


def test_a_round_trip_that_fails_leaves_nothing(simulator: Simulator) -> None:
    printed = doctor(simulator, "--round-trip", "--without-ray", "--image", "rayproject/ray:missing", "--json")
    assert (printed.code, states(printed)["round-trip"], states(printed)["network"]) == (1, "failed", "skipped")
    assert left(simulator) == []


def broken_crds(simulator: Simulator) -> None:
    simulator.faults.without_crds = True


def broken_right(simulator: Simulator) -> None:
    simulator.faults.deny("watch", "rayjobs")


def broken_forward(simulator: Simulator) -> None:
    simulator.faults.deny("create", "pods/portforward")


@pytest.mark.parametrize(
    ("broken", "name", "text"),
    [
        pytest.param(broken_crds, "crds", "does not know RayJobs", id="no CRDs"),
        pytest.param(broken_right, "rights: interactive", "watch rayjobs", id="a right is missing"),
        pytest.param(broken_forward, "rights: port-forward", "create pods/portforward", id="no port-forward"),
    ],
)
def test_a_broken_cluster(simulator: Simulator, broken: Callable[[Simulator], None], name: str, text: str) -> None:
    broken(simulator)
    printed = doctor(simulator)
    line = next(line for line in printed.out.splitlines() if line.startswith("failed"))
    assert printed.code == 1
    assert (name in line, text in line) == (True, True)
    assert "To fix: " in printed.out


def test_one_command_grants_all_rights_that_are_missing(simulator: Simulator) -> None:
    """Each `kubectl apply` of a Role replaces its rules, so that a second command would take the first one's away."""
    simulator.faults.deny("watch", "rayjobs")
    simulator.faults.deny("list", "events")
    command = "dagster-ray rbac --feature interactive,port-forward,diagnosis -n default | kubectl apply -f -"
    checked = {one["name"]: one for one in doctor(simulator, "--json").data}
    assert checked["rights: interactive"]["remedy"] == checked["rights: diagnosis"]["remedy"] == command
    assert doctor(simulator).out.count("dagster-ray rbac") == 1
    granted = dagster_ray(*command.partition(" | ")[0].split()[1:])
    needed = [
        rule
        for rule, _ in rights.rules_of(
            rights.rights_of(rights.features_of(["interactive", "port-forward", "diagnosis"]))
        )
    ]
    assert yaml.safe_load(granted.out)["rules"] == needed


@pytest.mark.parametrize("reads_namespaces", [True, False])
def test_a_namespace_that_does_not_exist_is_told(simulator: Simulator, *, reads_namespaces: bool) -> None:
    if not reads_namespaces:
        simulator.faults.deny("get", "namespaces")
    printed = doctor(simulator, "--json", "-n", "nowhere")
    (check,) = [one for one in printed.data if one["name"] == "namespace"]
    assert (printed.code, check["state"], check["sentence"]) == (1, "failed", "Namespace nowhere does not exist.")
    assert "kubectl create namespace nowhere" in check["remedy"]
    assert states(doctor(simulator, "--json"))["namespace"] == "ok"
    assert left(simulator) == [], "a try of the API server keeps nothing"


def test_a_cluster_that_cannot_be_asked(simulator: Simulator, tmp_path: Path) -> None:
    printed = dagster_ray("doctor", "--kubeconfig", tmp_path / "nowhere")
    assert printed.code == 3
    assert "[dagster-ray: kubeconfig]" in printed.out
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(simulator.account(CANARY)), encoding="utf-8")
    for words in (["doctor"], ["doctor", "--json"], ["clusters"], ["gc"], ["logs", "one"], ["dashboard", "one"]):
        printed = dagster_ray(*words, "--kubeconfig", file)
        assert printed.code == 3
        assert "kubernetes-unauthorized" in printed.out + printed.err
        assert CANARY not in printed.out + printed.err


def test_an_api_server_that_fails_is_told(simulator: Simulator) -> None:
    simulator.faults.add(Fault(path="/version", status=404))
    printed = doctor(simulator, "--json")
    assert states(printed)["api-server"] == "failed"
    assert states(printed)["cluster"] == "skipped"


def test_no_token_is_ever_printed(simulator: Simulator, tmp_path: Path) -> None:
    simulator.access.accounts[CANARY] = Account("poor", [Rule(["ray.io"], ["rayjobs"], ["list"])])
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(simulator.account(CANARY)), encoding="utf-8")
    for words in (["doctor", "--round-trip"], ["clusters"], ["gc", "--yes"], ["logs", "one"], ["dashboard", "one"]):
        printed = dagster_ray(*words, "--kubeconfig", file)
        assert printed.code in {0, 1, 3}
        assert CANARY not in printed.out + printed.err
