"""What is checked before a cluster is asked for: images, rights, and on demand the whole object and the operator."""

import logging
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_world import Outcome, left, resource, run_step, simulated

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._rights import Right, missing_rights
from dagster_ray.kuberay._spec.image import ImageVersions, is_image_name, versions_of
from dagster_ray.kuberay._steps.creation import ClusterRequest
from dagster_ray.kuberay._steps.preflight import PreflightCheck
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Account, Fault, Rule, Simulator


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        pytest.param("rayproject/ray:2.60.0-py311", True, id="a public image"),
        pytest.param(
            "registry.example:5000/team/ray@sha256:" + "a" * 64, True, id="a registry with a port, and a digest"
        ),
        pytest.param("registry.example/a__b/c.d-e:V1_2", True, id="all that may stand between"),
        pytest.param("Team/ray:1", True, id="upper case in the first part, which is taken for a host"),
        pytest.param("team/Ray:1", False, id="upper case in the name"),
        pytest.param("ray:2.60.0:py311", False, id="two tags"),
        pytest.param("ray :1", False, id="a blank"),
        pytest.param("https://registry.example/ray", False, id="a URL"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_what_can_be_the_name_of_an_image(image: str, valid: bool) -> None:
    assert is_image_name(image) is valid


@pytest.mark.parametrize(
    ("image", "versions"),
    [
        ("rayproject/ray:2.60.0-py311", ImageVersions("2.60.0", "3.11")),
        ("docker.io/rayproject/ray-ml:2.9.0-py39-gpu", ImageVersions("2.9.0", "3.9")),
        ("rayproject/ray:2.60.0", ImageVersions("2.60.0", None)),
        ("rayproject/ray:nightly-py311", None),
        ("registry.example/ray:2.60.0-py311", None),
        ("rayproject/ray", None),
    ],
)
def test_only_tags_of_public_images_tell_versions(image: str, versions: ImageVersions | None) -> None:
    assert versions_of(image) == versions


def rule(groups: list[str], resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


DELETE, FORWARD = Right("f", "ray.io", "rayjobs", "delete"), Right("f", "", "pods/portforward", "create")
FORWARD_BY_GET = Right("f", "", "pods/portforward", "get")

NOTHING: set[Right] = set()


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        pytest.param({"resourceRules": [rule(["ray.io"], ["rayjobs"], ["get"])]}, {DELETE, FORWARD}, id="not granted"),
        pytest.param({"resourceRules": [rule(["*"], ["*"], ["*"])]}, NOTHING, id="everything"),
        pytest.param({"resourceRules": [rule([""], ["pods/*"], ["create"])]}, {DELETE}, id="all parts of pods"),
        pytest.param({"resourceRules": [rule([""], ["pods"], ["create"])]}, {DELETE, FORWARD}, id="pods without parts"),
        pytest.param({"resourceRules": [], "incomplete": True}, NOTHING, id="the server does not know all rules"),
        pytest.param({}, NOTHING, id="the server says nothing"),
        pytest.param({"resourceRules": "?"}, {DELETE, FORWARD}, id="the server says something else"),
    ],
)
def test_which_rights_are_missing(status: dict[str, Any], missing: set[Right]) -> None:
    assert set(missing_rights(status, [DELETE, FORWARD])) == missing


def test_a_right_that_the_work_can_do_without_is_not_missed() -> None:
    assert missing_rights({"resourceRules": []}, [Right("f", "", "events", "list", "less is explained")]) == ()


def test_one_verb_of_a_port_forward_is_enough() -> None:
    """Which one the API server asks for depends on its version."""
    status = {"resourceRules": [rule([""], ["pods/portforward"], ["get"])]}
    assert missing_rights(status, [FORWARD, FORWARD_BY_GET]) == ()


# On the simulator


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def asked(simulator: Simulator) -> list[str]:
    return [
        request.path.partition("?")[0].rpartition("/")[2] for request in simulator.requests if request.method == "POST"
    ]


@pytest.mark.parametrize(
    ("verb", "right"),
    [("delete", "rayjobs"), ("patch", "rayjobs"), ("watch", "rayjobs"), ("create", "pods/portforward")],
)
def test_a_right_that_will_be_missing_is_told_before_anything_is_made(
    simulator: Simulator, verb: str, right: str
) -> None:
    simulator.faults.deny(verb, right)
    if right == "pods/portforward":
        simulator.faults.deny("get", right)
    outcome = run_step(resource(simulator))
    assert not outcome.success
    assert "[dagster-ray: rights-missing]" in outcome.log
    assert f"`{verb}` on `{right}" in outcome.log
    assert asked(simulator) == ["selfsubjectrulesreviews"]
    simulator.faults.clear()
    assert run_step(resource(simulator)).success, "rights that were granted since are seen"


def test_rights_are_asked_for_once_a_process(simulator: Simulator) -> None:
    for _ in range(2):
        assert run_step(resource(simulator)).success
    assert asked(simulator) == ["selfsubjectrulesreviews", "rayjobs", "rayjobs"]


def test_steps_that_start_at_once_ask_for_rights_once(simulator: Simulator) -> None:
    """Also where there is no answer; then the next step asks again."""
    simulator.faults.add(Fault(path="selfsubjectrulesreviews", delay_seconds=1.0, status=403, times=1))
    simulator.faults.add(Fault(path="selfsubjectrulesreviews", delay_seconds=1.0))
    spec = {"rayClusterSpec": {"headGroupSpec": head_group(cpus=1, memory="2Gi")}}
    request = ClusterRequest(RAYJOBS, ("job",), {"metadata": {"namespace": "default", "name": "job"}, "spec": spec})
    at_once = threading.Barrier(8)

    def check(_: int) -> None:
        with closing(KubernetesApi.load(str(simulator.kubeconfig))) as api:
            at_once.wait()
            PreflightCheck(api, Deadline(30), logging.getLogger("test")).run(request, ("interactive",), "quick")

    for times in (1, 2):
        with ThreadPoolExecutor(8) as steps:
            list(steps.map(check, range(8)))
        assert asked(simulator) == ["selfsubjectrulesreviews"] * times


def test_each_account_is_judged_by_its_own_rights(simulator: Simulator, tmp_path: Path) -> None:
    def step_as(name: str) -> Outcome:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(simulator.account(name)), encoding="utf-8")
        return run_step(resource(simulator, kubeconfig_file=str(path)))

    forward = Rule([""], ["pods/portforward"], ["*"])
    simulator.access.accounts["clusters"] = Account(
        "clusters", (Rule(["ray.io"], ["rayclusters"], ["*"]), Rule(["ray.io"], ["rayjobs"], ["get"]), forward)
    )
    simulator.access.accounts["jobs"] = Account("jobs", (Rule(["ray.io"], ["*"], ["*"]), forward))
    assert "[dagster-ray: rights-missing]" in step_as("clusters").log
    assert step_as("jobs").success
    assert "[dagster-ray: rights-missing]" in step_as("clusters").log


def test_an_image_name_that_none_can_have_makes_nothing(simulator: Simulator) -> None:
    outcome = run_step(resource(simulator, image="Ray:2"))
    assert "spec.headGroupSpec.template.spec.containers[0].image" in outcome.log
    assert "[dagster-ray: invalid-spec]" in outcome.log
    assert simulator.requests == []


def test_an_image_of_another_ray_makes_nothing(simulator: Simulator) -> None:
    outcome = run_step(resource(simulator, image="rayproject/ray:2.9.0-py311"))
    assert "[dagster-ray: version-mismatch]" in outcome.log
    assert simulator.requests == []


def test_off_checks_nothing(simulator: Simulator) -> None:
    assert run_step(resource(simulator, preflight="off", image="rayproject/ray:2.9.0-py311")).success
    assert asked(simulator) == ["rayjobs"]


def test_full_tries_the_object_first_and_once(simulator: Simulator) -> None:
    for _ in range(2):
        assert run_step(resource(simulator, preflight="full")).success
    posts = [request.path for request in simulator.requests if request.method == "POST" and "rayjobs" in request.path]
    assert ["dryRun=All" in path for path in posts] == [True, False, False]


def test_full_tells_what_admission_would_refuse_and_makes_nothing(simulator: Simulator) -> None:
    group = head_group(cpus=1, memory="2Gi", volumes=[{"name": "data"}, {"name": "data"}])
    spec: dict[str, Any] = {"rayClusterSpec": {"headGroupSpec": group, "workerGroupSpecs": []}}
    outcome = run_step(resource(simulator, preflight="full", spec=spec))
    assert "[dagster-ray: kubernetes-invalid]" in outcome.log
    assert left(simulator) == []
