"""`KubeRayCluster` on the simulator without Ray: of its own, adopted, shared; good luck and bad."""

import base64
import json
import threading
from collections.abc import Generator
from typing import Any

import dagster as dg
import pytest
from fault_world import TIMEOUT_SECONDS, Outcome, eventually, left, run_step, simulated

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.kuberay import ClusterSharing, KubeRayCluster, RayClusterConfig, SecretRef
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault, Simulator

pytestmark = pytest.mark.many_processes  # make test runs them

SPEC: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}
SHARED = ClusterSharing(enabled=True, ttl_seconds=3600)


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def resource(simulator: Simulator, **more: Any) -> KubeRayCluster:
    """Return a resource: a head alone."""
    config: dict[str, Any] = {"spec": {**SPEC, **more.pop("spec", {})}, "metadata": more.pop("metadata", {})}
    given: dict[str, Any] = {
        "kubeconfig_file": str(simulator.kubeconfig),
        "lifecycle": Lifecycle(connect=False),
        "timeout": TIMEOUT_SECONDS,
        "ray_cluster": RayClusterConfig(**config),
        **more,
    }
    return KubeRayCluster(**given)


def run(simulator: Simulator, *, fails: bool = False, **more: Any) -> Outcome:
    return run_step(resource(simulator, **more), fails=fails)


def shared(simulator: Simulator, **more: Any) -> Outcome:
    return run(simulator, cluster_sharing=more.pop("sharing", SHARED), **more)


def clusters(simulator: Simulator) -> list[dict[str, Any]]:
    return [item for item in simulator.store.list("rayclusters") if "deletionTimestamp" not in item["metadata"]]


def locks(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    annotations: dict[str, str] = cluster["metadata"].get("annotations", {})
    return [json.loads(text) for key, text in annotations.items() if key.startswith("dagster/lock-")]


# Of its own


def test_a_cluster_of_its_own_is_deleted_with_the_step(simulator: Simulator) -> None:
    outcome = run(simulator)
    assert outcome.success, outcome.log
    assert left(simulator) == []
    eventually(lambda: not simulator.store.list("pods"))


def test_a_cluster_is_kept_if_the_lifecycle_says_so(simulator: Simulator) -> None:
    assert run(simulator, lifecycle=Lifecycle(connect=False, cleanup="on_exception")).success
    (cluster,) = clusters(simulator)
    labels = cluster["metadata"]["labels"]
    assert labels["dagster/cleanup"] == "on_exception"
    assert labels["dagster/instance-id"]
    assert "dagster/cluster-sharing" not in labels


@pytest.mark.parametrize("version", ["1.3.2", "1.4.2", "1.7.0"])
def test_every_operator_serves_it(version: str) -> None:
    with simulated(version) as simulator:
        outcome = run(simulator)
        assert outcome.success, outcome.log
        assert left(simulator) == []


def test_a_name_stays_taken_until_the_pods_of_the_old_cluster_are_gone(simulator: Simulator) -> None:
    """A new cluster of the name would take them for its own."""
    assert run(simulator, metadata={"name": "dev"}).success
    (request,) = [request for request in simulator.requests if request.method == "DELETE"]
    assert request.path.endswith("/rayclusters/dev")
    eventually(lambda: not simulator.store.list("rayclusters"))
    assert not simulator.store.list("pods")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param({"image": "rayproject/ray:missing"}, "cannot-start", id="its image does not exist"),
        pytest.param({"timeout": 2.0, "spec": {"suspend": True}, "queue_timeout": 0.5}, "queue-timeout", id="a queue"),
    ],
)
def test_what_cannot_run_is_told_and_leaves_nothing(simulator: Simulator, fault: dict[str, Any], code: str) -> None:
    outcome = run(simulator, **fault)
    assert not outcome.success
    assert f"[dagster-ray: {code}]" in outcome.log
    assert left(simulator) == []


def test_an_operator_that_does_not_run_is_named() -> None:
    with simulated(operator=False) as simulator:
        outcome = run(simulator, timeout=1)
        assert "[dagster-ray: operator-silent]" in outcome.log
        assert left(simulator) == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(method="POST", path="/rayclusters", status=503, times=2), id="503 before the POST"),
        pytest.param(
            Fault(method="POST", path="/rayclusters", lose_answer=True, times=1), id="the answer of the POST is lost"
        ),
        pytest.param(Fault(method="GET", path="watch=true", status=503, times=2), id="the watch is refused"),
        pytest.param(Fault(method="DELETE", status=503, times=2), id="503 at the cleanup"),
    ],
)
def test_an_api_server_that_comes_back_costs_nothing_but_time(simulator: Simulator, fault: Fault) -> None:
    simulator.faults.add(fault)
    outcome = run(simulator)
    assert outcome.success, outcome.log
    assert left(simulator) == []


# Secrets

CANARY = "c4nary-7f3a9be2d1"


def secret(simulator: Simulator) -> None:
    data = {"token": base64.b64encode(CANARY.encode()).decode()}
    simulator.store.create("secrets", {"metadata": {"name": "hub", "namespace": "default"}, "data": data})


def head_variables(simulator: Simulator) -> dict[str, Any]:
    (cluster,) = simulator.store.list("rayclusters")
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    return {item["name"]: item.get("valueFrom", item.get("value")) for item in container["env"]}


def test_secrets_are_in_the_object_by_reference_and_nothing_warns_of_them(simulator: Simulator) -> None:
    secret(simulator)
    hub = SecretRef("hub", "token")
    keep = Lifecycle(connect=False, cleanup="never")
    outcome = run(simulator, env_vars={"HUB_TOKEN": hub}, runtime_env={"env_vars": {"TASK_TOKEN": hub}}, lifecycle=keep)
    assert outcome.success, outcome.log
    variables = head_variables(simulator)
    assert variables["HUB_TOKEN"] == variables["TASK_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    everything = [simulator.store.list(plural) for plural in ("rayclusters", "pods", "services", "events")]
    assert CANARY not in json.dumps(everything) + outcome.log
    assert "look like secrets" not in outcome.log


def test_a_secret_that_is_missing_is_named_and_leaves_nothing(simulator: Simulator) -> None:
    outcome = run(simulator, env_vars={"HUB_TOKEN": SecretRef("hub", "token")}, timeout=2.0)
    assert not outcome.success
    assert 'secret "hub" not found' in outcome.log
    assert left(simulator) == []


def test_secrets_that_are_plain_text_in_the_object_are_warned_of_once_without_their_values(
    simulator: Simulator,
) -> None:
    outcome = run(simulator, env_vars={"HUB_TOKEN": CANARY, "API_KEY": CANARY, "MODE": "fast-and-loose"})
    assert outcome.success, outcome.log
    assert outcome.log.count("look like secrets") == 1
    assert "API_KEY, HUB_TOKEN. Keep each in a Secret" in outcome.log
    assert CANARY not in outcome.log


def test_a_cluster_that_exists_is_used_only_if_its_containers_have_the_secrets(simulator: Simulator) -> None:
    secret(simulator)
    foreign(simulator)
    wanted: dict[str, Any] = {"metadata": {"name": "theirs"}, "env_vars": {"HUB_TOKEN": SecretRef("hub", "token")}}
    outcome = run(simulator, **wanted)
    assert "`env_vars.HUB_TOKEN` refers to a Secret" in outcome.log
    assert "the RayCluster theirs, which exists" in outcome.log
    (cluster,) = clusters(simulator)
    assert locks(cluster) == []
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "HUB_TOKEN", "valueFrom": dict(SecretRef("hub", "token"))}]
    simulator.store.replace("rayclusters", cluster)
    assert run(simulator, **wanted).success


# Adopted


def foreign(simulator: Simulator, **labels: str) -> dict[str, Any]:
    spec: dict[str, Any] = RayClusterConfig(spec=SPEC).plain()["spec"]
    spec["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = "rayproject/ray"
    spec["headGroupSpec"].setdefault("rayStartParams", {})
    metadata = {"name": "theirs", "namespace": "default", "labels": labels}
    return simulator.store.create("rayclusters", {"metadata": metadata, "spec": spec})


@pytest.mark.parametrize("fails", [pytest.param(False, id="after a success"), pytest.param(True, id="after a failure")])
def test_a_cluster_that_somebody_else_made_is_used_and_stays_as_it_was(simulator: Simulator, fails: bool) -> None:
    before = foreign(simulator)
    outcome = run(simulator, metadata={"name": "theirs"}, fails=fails)
    assert outcome.success is not fails
    assert "dagster-ray has not made it and will not delete it" in outcome.log
    (after,) = clusters(simulator)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not after["metadata"].get("annotations")
    assert after["spec"] == before["spec"]
    patches = [request for request in simulator.requests if request.method in {"PATCH", "PUT", "DELETE"}]
    assert [request.method for request in patches] == ["PATCH", "PATCH"], "a lock was added and removed"


def test_a_cluster_that_may_not_be_locked_is_used_without(simulator: Simulator) -> None:
    foreign(simulator)
    simulator.faults.deny("patch", "rayclusters")
    outcome = run(simulator, metadata={"name": "theirs"})
    assert outcome.success, outcome.log
    assert "gets no lock" in outcome.log


@pytest.mark.parametrize("status", [400, 422])
def test_a_cluster_whose_lock_is_denied_is_used_without(simulator: Simulator, status: int) -> None:
    foreign(simulator)
    simulator.faults.add(Fault(method="PATCH", path="/rayclusters", status=status))
    outcome = run(simulator, metadata={"name": "theirs"})
    assert outcome.success, outcome.log
    assert "gets no lock" in outcome.log


def terminating(simulator: Simulator, **labels: str) -> None:
    """Leave a cluster of the name `dev` that ends, and is held by a finalizer."""
    metadata = {"name": "dev", "namespace": "default", "labels": labels, "finalizers": ["example.com/slow-pods"]}
    spec = foreign(simulator)["spec"]
    simulator.store.create("rayclusters", {"metadata": metadata, "spec": spec})
    simulator.store.delete("rayclusters", "default", "dev")


MANAGED = {"app.kubernetes.io/managed-by": "dagster-ray", "dagster/run-id": "another"}


def test_a_name_that_an_earlier_cluster_of_ours_still_has_is_waited_for(simulator: Simulator) -> None:
    terminating(simulator, **MANAGED)

    def let_it_go() -> None:
        eventually(lambda: [r for r in simulator.requests if "watch=true" in r.path and "dev" in r.path])
        body: dict[str, Any] = {"metadata": {"finalizers": None}}
        simulator.store.patch("rayclusters", "default", "dev", body, "application/merge-patch+json")

    thread = threading.Thread(target=let_it_go)
    thread.start()
    outcome = run(simulator, metadata={"name": "dev"})
    thread.join()
    assert outcome.success, outcome.log
    assert "is still being deleted. This step waits for its name." in outcome.log


def test_a_name_that_does_not_become_free_is_told_with_what_keeps_it(simulator: Simulator) -> None:
    terminating(simulator, **MANAGED)
    outcome = run(simulator, metadata={"name": "dev"}, timeout=1)
    assert "[dagster-ray: not-ready]" in outcome.log
    assert "example.com/slow-pods" in outcome.log


def test_a_cluster_of_another_step_is_not_adopted(simulator: Simulator) -> None:
    labels = {"app.kubernetes.io/managed-by": "dagster-ray", "dagster/run-id": "another"}
    foreign(simulator, **labels)
    outcome = run(simulator, metadata={"name": "theirs"})
    assert "[dagster-ray: name-taken]" in outcome.log
    assert len(clusters(simulator)) == 1


# Shared


def test_a_second_step_takes_the_cluster_of_the_first(simulator: Simulator) -> None:
    assert shared(simulator).success
    before = len(simulator.requests)
    second = shared(simulator)
    assert second.success, second.log
    (cluster,) = clusters(simulator)
    assert [lock["ttl_seconds"] for lock in locks(cluster)] == [3600], "what both have left is one annotation"
    asked = [request for request in simulator.requests[before:] if "portforward" not in request.path]
    assert [request.method for request in asked][:2] == ["GET", "PATCH"], "a list and a lock"
    assert asked[2:], "and what it leaves"


def test_another_image_does_not_get_the_old_cluster(simulator: Simulator) -> None:
    assert shared(simulator).success
    assert shared(simulator, image="rayproject/ray:other").success
    assert len(clusters(simulator)) == 2


def test_another_image_gets_it_if_the_specification_need_not_match(simulator: Simulator) -> None:
    sharing = ClusterSharing(enabled=True, match_spec=False)
    assert shared(simulator, sharing=sharing).success
    assert shared(simulator, sharing=sharing, image="rayproject/ray:other").success
    assert len(clusters(simulator)) == 1


def test_a_cluster_of_a_run_is_not_taken_by_the_next_run_and_holds_no_lock(simulator: Simulator) -> None:
    sharing = ClusterSharing(enabled=True, match_run=True)
    for _ in range(2):
        assert shared(simulator, sharing=sharing).success
    found = clusters(simulator)
    assert len(found) == 2
    assert [locks(cluster) for cluster in found] == [[], []]
    assert {cluster["metadata"]["labels"]["dagster/sharing-scope"] for cluster in found} == {"run"}


def test_the_runs_of_a_backfill_have_one_cluster_and_leave_no_lock(simulator: Simulator) -> None:
    cluster = resource(simulator, cluster_sharing=ClusterSharing(enabled=True, match_backfill=True))
    for tags in ({"dagster/backfill": "one"}, {"dagster/backfill": "one"}, {"dagster/backfill": "two"}, {}):
        outcome = run_step(cluster, tags=tags)
        assert outcome.success, outcome.log
    found = {each["metadata"]["labels"].get("dagster/backfill"): each for each in clusters(simulator)}
    assert found.keys() == {"one", "two", None}
    assert len(clusters(simulator)) == 3
    scopes = {key: each["metadata"]["labels"].get("dagster/sharing-scope") for key, each in found.items()}
    assert scopes == {"one": "backfill", "two": "backfill", None: None}
    assert {key: len(locks(each)) for key, each in found.items()} == {"one": 0, "two": 0, None: 1}


def test_a_lock_goes_at_once_after_a_success_if_asked(simulator: Simulator) -> None:
    sharing = ClusterSharing(enabled=True, release_on_success=True)
    assert shared(simulator, sharing=sharing).success
    (cluster,) = clusters(simulator)
    assert locks(cluster) == []
    assert not shared(simulator, sharing=sharing, fails=True).success
    (cluster,) = clusters(simulator)
    assert len(locks(cluster)) == 1


def test_a_shared_cluster_that_cannot_start_is_deleted_by_its_maker(simulator: Simulator) -> None:
    outcome = shared(simulator, image="rayproject/ray:missing")
    assert "[dagster-ray: cannot-start]" in outcome.log
    assert left(simulator) == []


@pytest.mark.parametrize("status", [400, 422])
def test_a_step_whose_lock_is_denied_fails_with_the_servers_words_and_makes_no_cluster(
    simulator: Simulator, status: int
) -> None:
    """A policy that denies updates is not a cluster that is gone."""
    assert shared(simulator).success
    simulator.faults.add(Fault(method="PATCH", path="/rayclusters", status=status))
    outcome = shared(simulator)
    assert not outcome.success
    assert "[dagster-ray: write-denied]" in outcome.log
    assert "told to fail" in outcome.log
    assert len(clusters(simulator)) == 1


def full(simulator: Simulator, *, ended_at: str) -> int:
    """Fill the annotations of the shared cluster with locks; return their number."""
    (cluster,) = clusters(simulator)
    lock = {"run_id": "r" * 36, "step_key": "x" * 500, "applied_at": ended_at, "renewed_at": ended_at, "ttl_seconds": 1}
    annotations: dict[str, str] = cluster["metadata"].get("annotations", {})
    room = 256 * 1024 - sum(len(key) + len(text) for key, text in annotations.items())
    text = json.dumps(lock)
    size = len(text) + len("dagster/lock-0000")
    count = room // size
    fill = {f"dagster/lock-{number:04}": text for number in range(count)}
    fill["rest"] = "x" * max(0, room - count * size - len("rest"))
    body = {"metadata": {"annotations": fill}}
    name = cluster["metadata"]["name"]
    simulator.store.patch("rayclusters", "default", name, body, "application/merge-patch+json")
    return count + len([key for key in annotations if key.startswith("dagster/lock-")])


def test_locks_that_have_ended_make_room(simulator: Simulator) -> None:
    assert shared(simulator).success
    assert full(simulator, ended_at="2026-01-01T00:00:00Z") > 300
    second = shared(simulator)
    assert second.success, second.log
    (cluster,) = clusters(simulator)
    assert len(locks(cluster)) == 1


def test_a_cluster_without_room_for_a_lock_is_followed_by_one_for_all_with_a_warning(simulator: Simulator) -> None:
    assert shared(simulator).success
    count = full(simulator, ended_at="2999-01-01T00:00:00Z")
    second, third = shared(simulator), shared(simulator)
    assert second.success, second.log
    assert f"has no room for another lock beside its {count}" in second.log
    assert third.success, third.log
    assert len(clusters(simulator)) == 2


def test_steps_that_end_together_leave_the_latest_end_of_all(simulator: Simulator) -> None:
    """Each leaves one annotation, whoever was first."""
    assert shared(simulator, sharing=ClusterSharing(enabled=True, ttl_seconds=7200)).success
    assert shared(simulator, sharing=ClusterSharing(enabled=True, ttl_seconds=60)).success
    (cluster,) = clusters(simulator)
    assert [lock["ttl_seconds"] for lock in locks(cluster)] == [7200]


def test_a_broken_cluster_is_followed_by_the_next_generation(simulator: Simulator) -> None:
    assert shared(simulator).success
    (first,) = clusters(simulator)
    reason = {"type": "HeadPodReady", "status": "False", "reason": "ErrImagePull", "message": "manifest unknown"}
    reason["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    with simulated(operator=False) as other:
        labels, spec = first["metadata"]["labels"], first["spec"]
        metadata = {"name": first["metadata"]["name"], "namespace": "default", "labels": labels}
        broken = other.store.create("rayclusters", {"metadata": metadata, "spec": spec})
        other.store.replace_status("rayclusters", {**broken, "status": {"conditions": [reason]}})
        outcome = shared(other, timeout=1)
        assert "[dagster-ray: operator-silent]" in outcome.log
        posts = [r for r in other.requests if r.method == "POST" and "/rayclusters" in r.path]
        assert len(posts) == 1
        assert [cluster["metadata"]["name"] for cluster in clusters(other)] == [first["metadata"]["name"]]


def test_a_cluster_that_goes_during_the_wait_is_followed_by_another() -> None:
    with simulated(operator=False) as simulator:
        removed: list[str] = []

        def remove_the_first() -> None:
            eventually(lambda: clusters(simulator))
            eventually(lambda: [r for r in simulator.requests if "watch=true" in r.path])
            (cluster,) = clusters(simulator)
            removed.append(cluster["metadata"]["name"])
            simulator.store.delete("rayclusters", "default", cluster["metadata"]["name"])
            simulator.operator.start()

        thread = threading.Thread(target=remove_the_first)
        thread.start()
        outcome = shared(simulator)
        thread.join()
        simulator.operator.stop()
        assert outcome.success, outcome.log
        assert "Another cluster is taken" in outcome.log
        assert removed


def test_the_lock_is_renewed_while_the_step_lives(simulator: Simulator) -> None:
    """The clock of the cluster decides, so that the test waits for a renewal and not for a time."""
    cluster = resource(simulator, cluster_sharing=ClusterSharing(enabled=True, ttl_seconds=10, renew_seconds=0.05))
    seen: list[int] = []

    @dg.asset
    def step(ray_cluster: RayResource) -> None:
        def patches() -> int:
            return len([request for request in simulator.requests if request.method == "PATCH"])

        before = patches()
        eventually(lambda: patches() > before + 2)
        seen.append(patches())

    assert dg.materialize([step], resources={"ray_cluster": cluster}).success
    assert seen
    assert len(locks(clusters(simulator)[0])) == 1
    threads = [thread.name for thread in threading.enumerate()]
    assert not {"dagster-ray heartbeat", "dagster-ray messages"} & set(threads), "the heartbeat ends with the step"


def test_a_step_with_a_cluster_of_its_own_shows_that_it_lives(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sign is renewed as a lock is; the collector of a restored database has nothing else to go by."""
    monkeypatch.setattr("dagster_ray.kuberay._steps.step_cluster.ALIVE_SECONDS", 0.05)
    seen: list[dict[str, str]] = []

    @dg.asset
    def step(ray_cluster: RayResource) -> None:
        eventually(lambda: len([request for request in simulator.requests if request.method == "PATCH"]) > 2)
        seen.append(clusters(simulator)[0]["metadata"]["annotations"])

    assert dg.materialize([step], resources={"ray_cluster": resource(simulator)}).success
    assert "dagster/alive-at" in seen[0]
    assert left(simulator) == []
    assert not {"dagster-ray heartbeat", "dagster-ray messages"} & {thread.name for thread in threading.enumerate()}


def test_a_short_step_with_a_cluster_of_its_own_makes_no_request_for_its_sign(simulator: Simulator) -> None:
    assert run(simulator).success
    asked = [request for request in simulator.requests if not request.path.partition("?")[0].endswith("/portforward")]
    assert [request.method for request in asked if "/rayclusters" in request.path] == ["POST", "GET", "DELETE"]
    assert len(asked) == 4, "and the question for rights"


# Configuration


def test_the_tutorials_two_forms_mean_the_same(simulator: Simulator) -> None:
    inner: dict[str, Any] = {"ray_cluster": RayClusterConfig(spec=SPEC, cluster_sharing=SHARED)}
    outer: dict[str, Any] = {"cluster_sharing": SHARED}
    for more in (inner, outer, {**inner, **outer}):
        assert run(simulator, **more).success
    assert len(clusters(simulator)) == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param(
            lambda: KubeRayCluster(
                ray_cluster=RayClusterConfig(cluster_sharing=SHARED), cluster_sharing=ClusterSharing(enabled=True)
            ),
            "cluster_sharing",
            id="two places that differ",
        ),
        pytest.param(
            lambda: ClusterSharing(ttl_seconds=60, renew_seconds=30), "renew_seconds", id="renewals that are too rare"
        ),
        pytest.param(lambda: ClusterSharing(ttl_seconds=1e12), "ttl_seconds", id="a lock that never ends"),
        pytest.param(lambda: ClusterSharing(ttl_seconds=float("inf")), "ttl_seconds", id="a lock without an end"),
        pytest.param(
            lambda: ClusterSharing(match_labels={"dagster/run-id": "x"}), "match_labels", id="a label of ours"
        ),
        pytest.param(lambda: ClusterSharing(match_labels={"team, prod": "x"}), "match_labels", id="a key with a space"),
        pytest.param(lambda: ClusterSharing(match_labels={"!x": "y"}), "match_labels", id="a key of selectors"),
        pytest.param(
            lambda: RayClusterConfig(metadata={"annotations": {"dagster/lock-x": "{}"}}),
            "metadata.annotations.dagster/lock-x",
            id="the lock of another step",
        ),
        pytest.param(lambda: ClusterSharing.model_validate({"ttl": 60}), "ttl", id="a misspelled field"),
    ],
)
def test_what_cannot_work_fails_at_load_and_names_the_field(given: Any, field: str) -> None:
    with pytest.raises(Exception, match=field):
        given()
