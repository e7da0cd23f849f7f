"""`secret_context=True` on the simulator without Ray: the Pipes context reaches the containers by a Secret alone."""

import base64
import json
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import PipesEnvContextInjector
from dagster_pipes import decode_param
from fault_world import eventually
from pipes_world import PipesWorld, pipes_world, run_job

from dagster_ray.core import Lifecycle
from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.kuberay._rights import features_of, rights_of, rules_of
from dagster_ray.kuberay.errors import InvalidSpecError
from dagster_ray.kuberay.groups import head_group, worker_group
from dagster_ray.simulator import Account, Fault, Rule

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

JOB: dict[str, Any] = {"entrypoint": "python work.py", "runtime_env": {"env_vars": {"STAGE": "dev"}}}
EXTRAS = {"password": "canary-1234abcd"}
VARIABLE = "DAGSTER_PIPES_CONTEXT"
MANAGED = {"app.kubernetes.io/managed-by": "dagster-ray"}


@pytest.fixture
def world() -> Generator[PipesWorld]:
    with pipes_world() as found:
        yield found


def secrets_of(world: PipesWorld) -> list[dict[str, Any]]:
    """Return the Secrets of the namespace."""
    return list(world.simulator.store.list("secrets"))


def contexts_of(world: PipesWorld) -> list[Any]:
    """Return the Pipes context that the Ray container of each pod was started with."""
    return [decode_param(head.env[VARIABLE])["data"] for head in world.heads]


def objects_of(world: PipesWorld) -> str:
    """Return all objects but Secrets, as text."""
    plurals = ("rayjobs", "rayclusters", "pods", "services", "events")
    return json.dumps([world.simulator.store.list(plural) for plural in plurals])


def forbidden(times: int | None = None) -> Fault:
    """Return the fault of an account that may make no Secrets."""
    return Fault(method="POST", path="/secrets", status=403, times=times)


def test_the_context_is_in_a_secret_of_the_rayjob_and_nowhere_else(world: PipesWorld) -> None:
    options = world.options(secret_context=True)
    options["template"]["spec"]["rayClusterSpec"]["workerGroupSpecs"] = [worker_group("small")]
    with world.ending("SUCCEEDED"):
        ran = run_job(PipesKubeRayJobClient(**options), JOB, EXTRAS)
    assert ran.success, ran.log
    (secret,), (rayjob,), (job,) = world.secrets, world.at_submission, world.jobs
    name = rayjob["metadata"]["name"]
    assert secret["metadata"]["name"] == f"{name}-pipes"
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": name, "uid": rayjob["metadata"]["uid"]}
    assert secret["metadata"]["ownerReferences"] == [{**owner, "blockOwnerDeletion": False}]
    assert secret["immutable"] is True
    assert secret["metadata"]["labels"].items() >= {**MANAGED, "dagster/step-key": "computed"}.items()
    ((key, value),) = secret["data"].items()
    text = base64.b64decode(value).decode()
    cluster = rayjob["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        env = group["template"]["spec"]["containers"][0]["env"]
        ref = {"secretKeyRef": {"name": f"{name}-pipes", "key": key}}
        assert [item["valueFrom"] for item in env if item["name"] == VARIABLE] == [ref]
    assert contexts_of(world)[0]["extras"] == EXTRAS
    assert sorted(job["runtime_env"]["env_vars"]) == [
        "DAGSTER_PIPES_MESSAGES",
        "RAY_TRAIN_ENABLE_STATE_TRACKING",
        "STAGE",
    ]
    assert text not in objects_of(world) + json.dumps(job) + ran.log
    assert secrets_of(world) == [], "the job has ended, and the operator deletes its cluster"


def test_the_secret_of_a_cluster_that_may_stay_stays_with_its_rayjob(world: PipesWorld) -> None:
    """Its autoscaler may make another pod, which needs it."""
    call = {**JOB, "template": {"spec": {"shutdownAfterJobFinishes": False}}}
    with world.ending("SUCCEEDED"):
        assert run_job(world.client(secret_context=True), call, EXTRAS).success
    assert len(secrets_of(world)) == 1
    world.simulator.store.delete("rayjobs", "default", world.rayjobs()[0]["metadata"]["name"])
    eventually(lambda: secrets_of(world) == [])


def test_a_job_that_fails_leaves_neither_rayjob_nor_secret(world: PipesWorld) -> None:
    with world.ending("FAILED"):
        ran = run_job(world.client(secret_context=True), JOB, EXTRAS)
    assert "[dagster-ray: ray-job-failed]" in ran.log
    assert len(world.secrets) == 1
    eventually(lambda: world.rayjobs() == secrets_of(world) == [])


def test_a_secret_that_may_not_be_made_is_told_with_the_right_and_leaves_no_rayjob(world: PipesWorld) -> None:
    world.simulator.faults.add(forbidden())
    ran = run_job(world.client(secret_context=True), JOB, EXTRAS)
    assert "create secrets default/" in ran.log
    assert "[dagster-ray: kubernetes-forbidden]" in ran.log
    assert EXTRAS["password"] not in ran.log
    eventually(lambda: world.rayjobs() == [])
    assert world.jobs == []


def test_the_rights_are_checked_before_anything_is_made(world: PipesWorld, tmp_path: Path) -> None:
    features = features_of(["pipes", "port-forward"])
    rules = [Rule(one["apiGroups"], one["resources"], one["verbs"]) for one, _ in rules_of(rights_of(features))]
    world.simulator.access.accounts["pipes"] = Account("pipes", rules, frozenset({"default"}))
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(world.simulator.account("pipes")), encoding="utf-8")
    options: dict[str, Any] = {**world.options(secret_context=True), "kubeconfig_file": str(file)}
    ran = run_job(PipesKubeRayJobClient(**options), JOB, EXTRAS)
    assert "`create` on `secrets`, `get` on `secrets`" in ran.log
    assert "--feature secret-context" in ran.log
    assert world.rayjobs() == []


def test_an_answer_that_is_lost_makes_no_second_secret(world: PipesWorld) -> None:
    lost = world.simulator.faults.add(method="POST", path="/secrets", lose_answer=True, times=1)
    with world.ending("SUCCEEDED"):
        ran = run_job(world.client(secret_context=True), JOB, EXTRAS)
    assert ran.success, ran.log
    assert lost.hits == 1
    assert len(world.secrets) == 1


def test_an_attempt_that_finds_a_rayjob_without_its_secret_makes_it(world: PipesWorld) -> None:
    """The attempt before has ended between the two."""
    world.simulator.faults.add(forbidden(times=1))
    client = world.client(secret_context=True, lifecycle=Lifecycle(cleanup="never"))
    with world.ending("SUCCEEDED"):
        ran = run_job(client, JOB, EXTRAS, retries=1)
    assert ran.success, ran.log
    assert "which an earlier attempt has left" in ran.log
    assert len(world.rayjobs()) == 1
    assert contexts_of(world)[0]["extras"] == EXTRAS


def test_a_rayjob_that_is_made_again_in_the_portable_form_gets_a_secret_of_its_own() -> None:
    """KubeRay 1.5 refuses the deletion strategy of the first one, which takes its Secret along."""
    strategy = {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteCluster"}}
    call = {**JOB, "template": {"spec": {"deletionStrategy": strategy, "ttlSecondsAfterFinished": 60}}}
    with pipes_world("1.5.2") as world, world.ending("SUCCEEDED"):
        ran = run_job(world.client(secret_context=True), call, EXTRAS)
        assert ran.success, ran.log
        assert "the portable form is used" in ran.log
        (secret,), (rayjob,) = world.secrets, world.at_submission
        assert secret["metadata"]["ownerReferences"][0]["uid"] == rayjob["metadata"]["uid"]


def stranger(kind: str, labels: dict[str, str]) -> dict[str, Any]:
    """Return a Secret that has the name of ours; its owner is of an API version that nobody collects."""
    owner = {"apiVersion": "ray.io/v9", "kind": kind, "name": "mine", "uid": "another"}
    metadata = {"name": "mine-pipes", "namespace": "default", "labels": labels, "ownerReferences": [owner]}
    return {"metadata": metadata, "data": {"context": "b2xk"}}


MINE = {**JOB, "template": {"metadata": {"name": "mine"}}}


def test_the_secret_of_an_earlier_rayjob_of_the_name_is_waited_for(world: PipesWorld) -> None:
    """Kubernetes deletes it; no container takes what it holds meanwhile."""
    store = world.simulator.store
    store.create("secrets", stranger("RayJob", MANAGED))

    def act() -> None:
        eventually(lambda: any(one.method == "POST" and "/secrets" in one.path for one in world.simulator.requests))
        store.delete("secrets", "default", "mine-pipes")

    thread = threading.Thread(target=act)
    thread.start()
    with world.ending("SUCCEEDED"):
        ran = run_job(world.client(secret_context=True), MINE, EXTRAS)
    thread.join()
    assert ran.success, ran.log
    assert contexts_of(world)[0]["extras"] == EXTRAS


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(stranger("RayJob", {}), id="made by somebody else"),
        pytest.param(stranger("Pod", MANAGED), id="of another owner"),
    ],
)
def test_a_secret_of_somebody_else_is_left_alone(world: PipesWorld, secret: dict[str, Any]) -> None:
    made = world.simulator.store.create("secrets", secret)
    ran = run_job(world.client(secret_context=True), MINE, EXTRAS)
    assert "Secret default/mine-pipes exists already" in ran.log
    assert "[dagster-ray: name-taken]" in ran.log
    eventually(lambda: world.rayjobs() == [])
    assert secrets_of(world) == [made]


def test_it_is_refused_together_with_another_way_of_the_context() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        PipesKubeRayJobClient(secret_context=True, context_injector=PipesEnvContextInjector())
    assert caught.value.field == "secret_context"


def with_variable() -> dict[str, Any]:
    """Return a call whose head sets the variable of the context itself."""
    head = head_group(cpus=1, memory="2Gi", env={VARIABLE: "mine"})
    return {**JOB, "template": {"spec": {"rayClusterSpec": {"headGroupSpec": head, "workerGroupSpecs": []}}}}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a cluster that exists": (
        {**JOB, "cluster_selector": "theirs"},
        EXTRAS,
        "create the pods of the RayCluster theirs",
    ),
    "a head that sets the variable": (with_variable(), EXTRAS, f"env.{VARIABLE}"),
    "a context that is too large": (JOB, {"text": "".join(map(str, range(80_000)))}, "pipes-context-too-large"),
}


@pytest.mark.parametrize(("call", "extras", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_told_before_anything_is_made(
    world: PipesWorld, call: dict[str, Any], extras: dict[str, Any], said: str
) -> None:
    ran = run_job(world.client(secret_context=True), call, extras)
    assert not ran.success
    assert said in ran.log
    assert not [request for request in world.simulator.requests if request.method == "POST"]
