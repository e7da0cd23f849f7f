"""The table of rights is exact: each feature works under the Role that is printed for it, and not with less."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import rights_world as roads
from fault_world import simulated
from pipes_world import PipesWorld, pipes_world
from rights_world import (
    CRASHING,
    LISTS_AGAIN,
    LOST_ANSWER,
    LOST_SECRET,
    NEW,
    OLD,
    RightsWorld,
    Road,
    Seen,
    seen,
    without,
)

from dagster_ray.core import Deadline
from dagster_ray.kuberay import _rights as rights
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._rights import FEATURES, Feature, Right
from dagster_ray.kuberay._spec.manifests import render_rayjob
from dagster_ray.kuberay._steps import requests
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay._steps.wait import Reach
from dagster_ray.kuberay.errors import InvalidSpecError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

_STEP = Road(roads.a_step())
_OWN = Road(roads.a_cluster_step())
_SHARED = Road(roads.a_shared_step(times=2))
_RUN = Road(roads.a_run())
_WORKER = Road(roads.a_worker())
# Long enough for the RayJob's copy of where the head is to be doubted.
_SILENT_WORKER = Road(roads.a_worker(silent_seconds=2.5))
_STEP_OF_RUN = Road(roads.a_step_of_a_run())
_SILENT_STEP_OF_RUN = Road(roads.a_step_of_a_run(silent_seconds=2.5))
_POOL = Road(roads.a_pooled_step)
_JOB = Road(roads.a_pipes_job())
_SECRET = Road(roads.a_pipes_job_with_a_secret())
_OLD_STEP = Road(roads.a_step(version=OLD), OLD)
_OLD_PIPES = Road(roads.a_pipes_job(version=OLD), OLD)

# Which road needs which right: by feature, resource and verb.
ROADS: dict[tuple[str, str, str], Road] = {
    ("interactive", "rayjobs", "create"): _STEP,
    ("interactive", "rayjobs", "get"): Road(roads.a_step(LOST_ANSWER)),
    ("interactive", "rayjobs", "list"): Road(roads.a_step(LISTS_AGAIN)),
    ("interactive", "rayjobs", "watch"): _STEP,
    ("interactive", "rayjobs", "patch"): Road(roads.a_driver_is_registered),
    ("interactive", "rayjobs", "delete"): Road(roads.a_failed_step_deletes),
    ("interactive", "rayclusters", "list"): _OLD_STEP,
    ("interactive", "rayclusters", "watch"): _OLD_STEP,
    ("cluster", "rayclusters", "create"): _OWN,
    ("cluster", "rayclusters", "get"): Road(roads.a_cluster_step(LOST_ANSWER)),
    ("cluster", "rayclusters", "list"): Road(roads.a_cluster_step(LISTS_AGAIN)),
    ("cluster", "rayclusters", "watch"): _OWN,
    ("cluster", "rayclusters", "delete"): _OWN,
    ("cluster", "rayclusters", "patch"): Road(roads.an_existing_cluster),
    ("sharing", "rayclusters", "create"): _SHARED,
    ("sharing", "rayclusters", "get"): Road(roads.a_shared_step(LOST_ANSWER)),
    ("sharing", "rayclusters", "list"): _SHARED,
    ("sharing", "rayclusters", "watch"): _SHARED,
    ("sharing", "rayclusters", "patch"): _SHARED,
    ("sharing", "rayclusters", "delete"): Road(roads.a_shared_cluster_that_never_comes_up),
    ("executor", "rayclusters", "create"): _RUN,
    ("executor", "rayclusters", "get"): Road(roads.a_run(LOST_ANSWER)),
    ("executor", "rayclusters", "list"): _RUN,
    ("executor", "rayclusters", "watch"): _RUN,
    ("executor", "rayclusters", "patch"): _RUN,
    ("executor", "rayclusters", "delete"): _RUN,
    ("executor-rayjob", "rayjobs", "create"): _STEP_OF_RUN,
    ("executor-rayjob", "rayjobs", "get"): _STEP_OF_RUN,
    ("executor-rayjob", "rayjobs", "list"): _STEP_OF_RUN,
    ("executor-rayjob", "rayjobs", "watch"): _STEP_OF_RUN,
    ("executor-rayjob", "rayjobs", "delete"): _STEP_OF_RUN,
    ("executor-rayjob", "rayclusters", "list"): _SILENT_STEP_OF_RUN,
    ("executor-rayjob", "rayclusters", "watch"): _SILENT_STEP_OF_RUN,
    ("launcher", "rayjobs", "create"): _WORKER,
    ("launcher", "rayjobs", "get"): _WORKER,
    ("launcher", "rayjobs", "list"): Road(roads.a_worker(LISTS_AGAIN, silent_seconds=0.5)),
    ("launcher", "rayjobs", "watch"): Road(roads.a_worker(silent_seconds=0.5)),
    ("launcher", "rayjobs", "delete"): Road(roads.a_worker_that_never_starts),
    ("launcher", "rayclusters", "list"): _SILENT_WORKER,
    ("launcher", "rayclusters", "watch"): _SILENT_WORKER,
    ("pool", "rayclusters", "create"): _POOL,
    ("pool", "rayclusters", "list"): _POOL,
    ("pool", "rayclusters", "watch"): _POOL,
    ("pool", "rayclusters", "patch"): _POOL,
    ("pool", "rayclusters", "delete"): Road(roads.a_pooled_step_that_fails),
    ("pipes", "rayjobs", "create"): _JOB,
    ("pipes", "rayjobs", "get"): Road(roads.a_pipes_job(LOST_ANSWER)),
    ("pipes", "rayjobs", "list"): _JOB,
    ("pipes", "rayjobs", "watch"): _JOB,
    ("pipes", "rayjobs", "patch"): _JOB,
    ("pipes", "rayjobs", "delete"): Road(roads.a_pipes_job(status="FAILED")),
    ("pipes", "rayclusters", "get"): Road(roads.a_pipes_job(), extra=Road(roads.a_pipes_job_on_a_cluster)),
    ("pipes", "rayclusters", "list"): _OLD_PIPES,
    ("pipes", "rayclusters", "watch"): _OLD_PIPES,
    ("secret-context", "secrets", "create"): _SECRET,
    ("secret-context", "secrets", "get"): Road(roads.a_pipes_job_with_a_secret(LOST_SECRET)),
    ("secret-context", "secrets", "delete"): _SECRET,
    ("port-forward", "pods/portforward", "create"): Road(roads.a_forwarded_step("create")),
    ("port-forward", "pods/portforward", "get"): Road(roads.a_forwarded_step("get")),
    ("node-logs", "pods", "list"): Road(roads.logs_of_nodes),
    ("head-service", "services", "get"): Road(roads.a_head_service),
    ("tokens", "secrets", "get"): Road(roads.a_token),
    ("kubernetes-tokens", "rayclusters", "ray:write"): Road(roads.a_token_of_kubernetes),
    ("diagnosis", "pods", "list"): Road(
        roads.an_explained("Insufficient cpu", version=OLD, timeout=1, spec=roads.TOO_LARGE), OLD
    ),
    ("diagnosis", "pods/log", "get"): Road(
        roads.an_explained("No module named 'ray'", version=CRASHING, image="rayproject/ray:crashing"), CRASHING
    ),
    ("hours", "pods", "list"): Road(roads.a_measured_step("hours_unknown")),
    ("hours", "pods", "watch"): Road(roads.a_measured_step("'dagster_ray/estimated'")),
    ("cleanup", "rayclusters", "list"): Road(roads.a_shared_cluster_ends),
    ("cleanup", "rayclusters", "delete"): Road(roads.a_shared_cluster_ends),
    ("cleanup", "rayclusters", "create"): Road(roads.a_pool_is_filled),
    ("cleanup", "rayclusters", "patch"): Road(roads.a_claim_that_ended_is_noted),
    ("cleanup", "rayjobs", "list"): Road(roads.a_forgotten_rayjob_ends),
    ("cleanup", "rayjobs", "delete"): Road(roads.a_forgotten_rayjob_ends),
    ("delete-job", "rayclusters", "list"): Road(roads.clusters_by_hand),
    ("delete-job", "rayclusters", "delete"): Road(roads.clusters_by_hand),
    ("delete-job", "rayjobs", "list"): Road(roads.clusters_by_hand),
}
# Features that need something else to do their work: a step, in most cases.
BESIDE = {
    "secret-context": ["pipes"],
    "port-forward": ["interactive"],
    "head-service": ["interactive"],
    "tokens": ["interactive"],
    "kubernetes-tokens": ["cluster"],
    "diagnosis": ["interactive", "port-forward"],
    "hours": ["interactive"],
}
# Shown by tests of their own: below, and in test_evidence_rights.py, test_command_clusters.py, test_command_logs.py,
# test_measured_steps.py.
ELSEWHERE = {("owner", "pods", "get"), ("diagnosis", "events", "list"), ("hours-by-node", "nodes", "list")} | {
    (one.feature, one.resource, one.verb)
    for one in rights.rights_of(rights.features_of(["diagnosis", "diagnosis-wide"]))
    if one.whole_cluster or one.resource not in {"pods", "events", "pods/log"}
}
CASES = [
    pytest.param(feature, right, id=f"{feature.name}: {right.verb} {right.resource}")
    for feature in FEATURES
    for right in feature.rights
    if (feature.name, right.resource, right.verb) in ROADS
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[RightsWorld]:
    with pipes_world(NEW) as new, pipes_world(OLD) as old, simulated(NEW) as crashing:
        worlds: dict[str, PipesWorld] = {NEW: new, OLD: old, CRASHING: PipesWorld(crashing)}
        yield RightsWorld(worlds, tmp_path_factory.mktemp("rights"))


def beside(feature: Feature) -> list[Right]:
    """Return the rights of what a feature works on."""
    return [right for other in rights.features_of(BESIDE.get(feature.name, [])) for right in other.rights]


@pytest.mark.parametrize(("feature", "right"), CASES)
def test_the_role_that_is_printed_is_enough_and_none_of_it_too_much(
    world: RightsWorld, feature: Feature, right: Right
) -> None:
    road = ROADS[feature.name, right.resource, right.verb]
    more = beside(feature)
    if (enough := (feature.name, road)) not in world.passed:
        assert seen(road, world, [*more, *feature.rights]) == Seen(works=True, extra=True)
        world.passed.add(enough)
    less = seen(road, world, [*more, *without(feature, right)])
    if right.without:
        assert less == Seen(works=True, extra=False)
    else:
        assert not less.works


def test_the_owner_of_what_a_step_makes_is_left_out_without_the_right(
    world: RightsWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step whose pod is in the namespace; its name is all that the environment tells."""
    (tmp_path / "namespace").write_text("default", encoding="utf-8")
    monkeypatch.setattr(requests, "_NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("POD_NAME", "step-1")
    monkeypatch.delenv("POD_UID", raising=False)
    container = {"name": "step", "image": "dagster"}
    pod = {"metadata": {"name": "step-1", "namespace": "default"}, "spec": {"containers": [container]}}
    uid = world.simulator().store.create("pods", pod)["metadata"]["uid"]
    (feature,) = rights.features_of(["owner"])
    for granted, expected in ((list(feature.rights), uid), ([], None)):
        with world.role(granted, NEW) as kubeconfig:
            api = KubernetesApi.load(str(kubeconfig))
            api.in_cluster = True
            cluster = StepCluster(api, Reach("auto", None, 60), dg.build_init_resource_context(), Deadline(5))
            owner = requests.owner_reference(cluster, "default")
            api.close()
        assert (owner or {}).get("uid") == expected


def test_events_tell_what_no_status_does_and_are_done_without(
    world: RightsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KubeRay 1.4 says by an event alone that it refuses a spec; ours is changed after our own rules have passed it."""
    monkeypatch.setattr("dagster_ray.kuberay._steps.requests.render_rayjob", with_negative_deadline)
    road = Road(roads.an_explained("activeDeadlineSeconds must be a positive integer", version=OLD, timeout=1), OLD)
    (feature,) = rights.features_of(["diagnosis"])
    whole = [*beside(feature), *feature.rights]
    assert seen(road, world, whole) == Seen(works=True, extra=True)
    assert seen(road, world, [one for one in whole if one.resource != "events"]) == Seen(works=True, extra=False)


def with_negative_deadline(*args: Any) -> dict[str, Any]:
    """Render what our own rules refuse."""
    manifest = render_rayjob(*args)
    manifest["spec"]["activeDeadlineSeconds"] = -1
    return manifest


def test_each_right_of_the_table_has_a_road() -> None:
    every = {(f.name, r.resource, r.verb) for f in FEATURES for r in f.rights if f.name != "command"}
    assert every == set(ROADS) | ELSEWHERE


def test_rights_of_several_features_are_merged_into_few_rules() -> None:
    chosen = rights.features_of(["tokens", "sharing", "interactive"])
    every = ["create", "get", "list", "watch", "patch", "delete"]
    ((role, effects),) = rights.roles("own", "ray", chosen)
    assert [bool(without) for without in effects] == [False, False, False, True]
    assert role == {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "own", "namespace": "ray"},
        "rules": [
            {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": every[:-1]},
            {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": every},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
            {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["delete"]},
        ],
    }
    ((merged, _),) = rights.roles("own", "ray", rights.features_of(["cleanup"]))
    assert merged["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayclusters", "rayjobs"], "verbs": ["list", "delete"]},
        {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["create"]},
        {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["patch"]},
    ]


def test_what_work_can_do_without_has_rules_of_its_own_after_those_that_it_needs() -> None:
    ((role, effects), (wide, wide_effects)) = rights.roles(
        "own", "ray", rights.features_of(["head-service", "diagnosis", "diagnosis-wide"])
    )
    assert effects[0] == ""
    assert role["rules"][0] == {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}
    assert all(effects[1:])
    assert {"apiGroups": [""], "resources": ["services"], "verbs": ["list"]} in role["rules"]
    assert (wide["kind"], wide["metadata"]) == ("ClusterRole", {"name": "own"})
    assert sorted(rule["resources"] for rule in wide["rules"]) == [["nodes"], ["pods"]]
    assert all(wide_effects)


def test_a_right_that_one_feature_needs_and_another_does_without_is_needed() -> None:
    patch = {(one.resource, one.verb): one for one in rights.rights_of(rights.features_of(["cluster", "sharing"]))}
    assert patch["rayclusters", "patch"].without == ""
    assert patch["rayclusters", "delete"].without == ""


def test_a_feature_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="sharring"):
        rights.features_of(["sharring"])
