"""Steps with a pool of warm clusters, on the simulator with heads that are acted."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
import pytest
from fault_world import FAST, eventually, left, run_step
from pipes_world import PipesWorld
from pool_model import SELECTION, CleanCluster, pool_of
from pydantic import ValidationError
from test_sharing_model import READY
from typing_extensions import override

from dagster_ray.core import Deadline, Lifecycle, StepOutcome
from dagster_ray.kuberay import ClusterPool, ClusterSharing, KubeRayCluster, PoolSize, build_cleanup_sensor
from dagster_ray.kuberay._jobs.driver import DriverHost
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.errors import ConflictError
from dagster_ray.kuberay._kubernetes.fields import at, time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._labels import DRIVER_IN_CLUSTER, DRIVER_LABEL, STEP_LABEL
from dagster_ray.kuberay._pool.members import Sizes, copy_of
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._steps.creation import ClusterRequest
from dagster_ray.kuberay._steps.wait import Reach
from dagster_ray.kuberay.groups import head_group
from dagster_ray.pipes import PipesRayJobClient
from dagster_ray.simulator import FakeRayNode, KubeletOptions, NodeOrder, Simulator

LEFT: dict[str, Any] = {
    "apiVersion": "ray.io/v1",
    "kind": "RayCluster",
    "metadata": {
        "name": "left",
        "namespace": "default",
        "labels": {STEP_LABEL: "step", DRIVER_LABEL: DRIVER_IN_CLUSTER},
    },
    "spec": {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []},
}
FOLLOWED = ClusterRequest(RAYCLUSTERS, ("left",), LEFT)
HEAD: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}


class World:
    """A simulator, and its heads."""

    def __init__(self) -> None:
        self.heads: list[FakeRayNode] = []
        options = KubeletOptions(times=FAST, nodes=self._head)
        self.simulator = Simulator("1.7.0", fake_heads=True, kubelet_options=options)

    def _head(self, order: NodeOrder) -> FakeRayNode:
        self.heads.append(FakeRayNode(order))
        return self.heads[-1]

    def resource(self, **more: Any) -> KubeRayCluster:
        pool = more.pop("pool", ClusterPool(size=1, max_size=2))
        given: dict[str, Any] = {"lifecycle": Lifecycle(connect=False), "timeout": 20.0, **more}
        file = str(self.simulator.kubeconfig)
        spec = {**HEAD, **given.pop("spec", {})}
        return KubeRayCluster(kubeconfig_file=file, ray_cluster={"spec": spec}, pool=pool, **given)

    def clusters(self) -> list[dict[str, Any]]:
        return [one for one in self.simulator.store.list("rayclusters") if "deletionTimestamp" not in one["metadata"]]

    def notes(self, place: int = 0) -> dict[str, str]:
        return dict(self.clusters()[place]["metadata"]["annotations"])

    def note(self, name: str, **annotations: str | None) -> None:
        """Write annotations of the pool as time would."""
        body = {"metadata": {"annotations": {f"dagster/{key}": value for key, value in annotations.items()}}}
        self.simulator.store.patch("rayclusters", "default", name, body, "application/merge-patch+json")

    def tick(self) -> str:
        sensor = build_cleanup_sensor(kubeconfig_file=str(self.simulator.kubeconfig))
        with dg.DagsterInstance.ephemeral() as instance:
            result = sensor(dg.build_sensor_context(instance=instance))
        assert isinstance(result, dg.SensorResult)
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Generator[World]:
    monkeypatch.setenv("DAGSTER_RAY_INSTANCE_ID", "pools")  # each instance of a test has another id
    found = World()
    with found.simulator:
        yield found


def locks(notes: dict[str, str]) -> list[str]:
    return [key for key in notes if key.startswith("dagster/lock-")]


def test_a_step_gives_its_cluster_back_and_the_next_one_has_it(world: World) -> None:
    first = run_step(world.resource())
    assert first.success
    assert "had no cluster that is free" in first.log
    (name,) = left(world.simulator)
    assert (world.notes()["dagster/pool-uses"], locks(world.notes())) == ("1", [])
    labels = world.clusters()[0]["metadata"]["labels"]
    assert labels["dagster/pool-name"] == "ray_cluster"
    assert not {"dagster/run-id", "dagster/step-key", "dagster/cleanup"} & labels.keys()
    second = run_step(world.resource())
    assert second.success
    assert f"{name} of the pool is claimed by this step; 1 steps have used it before." in second.log
    assert left(world.simulator) == [name]
    assert world.notes()["dagster/pool-uses"] == "2"


@pytest.mark.parametrize(
    ("left_behind", "said"),
    [
        pytest.param("nothing", "is being deleted: the outcome of its step is: failed", id="its step failed"),
        pytest.param("actor", "actors still live: counter", id="it left an actor"),
        pytest.param("group", "placement groups still reserve resources: gang", id="it left a placement group"),
        pytest.param("job", "jobs still run: raysubmit_1", id="it left a job"),
    ],
)
def test_what_is_not_clean_is_deleted(
    world: World, left_behind: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._pool.pooled_cluster._PATIENCE_SECONDS", 0.5)
    resource = world.resource()

    @dg.asset
    def step(ray_cluster: dg.ResourceParam[Any]) -> None:
        head = world.heads[-1]
        if left_behind == "actor":
            head.rows["actors"].append({"name": "counter", "state": "ALIVE", "ray_namespace": "mine"})
        elif left_behind == "group":
            head.rows["placement_groups"].append({"name": "gang", "state": "CREATED"})
        elif left_behind == "job":
            head.jobs["raysubmit_1"] = {"submission_id": "raysubmit_1", "status": "RUNNING", "type": "SUBMISSION"}
        else:
            raise ValueError("no")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([step], resources={"ray_cluster": resource}, instance=instance, raise_on_error=False)
        log = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert result.success is (left_behind != "nothing")
    assert said in log
    assert left(world.simulator) == []


@pytest.mark.parametrize("namespace", ["_dataset_stats_actor", "_train_state_actor"])
def test_the_actors_of_ray_s_libraries_are_no_step_s(world: World, namespace: str) -> None:
    assert run_step(world.resource()).success
    world.heads[-1].rows["actors"].append({"name": "s", "state": "ALIVE", "ray_namespace": namespace})
    assert run_step(world.resource()).success
    assert world.notes()["dagster/pool-uses"] == "2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dagster's own Pipes code, about itself
@pytest.mark.parametrize(
    ("status", "spec"),
    [
        pytest.param(
            "SUCCEEDED", {"authOptions": {"mode": "token"}, "rayVersion": "2.52.0"}, id="on a cluster with a token"
        ),
        pytest.param("FAILED", {}, id="that fails"),
    ],
)
def test_a_pipes_job_has_a_cluster_of_a_pool(world: World, status: str, spec: dict[str, Any]) -> None:
    @dg.asset
    def trained(context: dg.AssetExecutionContext, ray_pipes_client: PipesRayJobClient) -> Any:
        return ray_pipes_client.run(context=context, ray_job={"entrypoint": "python work.py"})

    client = PipesRayJobClient.on_cluster("ray_cluster")
    resources = {"ray_cluster": world.resource(spec=spec), "ray_pipes_client": client}
    jobs = PipesWorld(world.simulator, world.heads)
    with dg.DagsterInstance.ephemeral() as instance, jobs.ending(status):
        result = dg.materialize([trained], resources=resources, instance=instance, raise_on_error=False)
    assert result.success is (status == "SUCCEEDED")
    assert [job["status"] for job in jobs.jobs] == [status]
    if result.success:
        assert (world.notes()["dagster/pool-uses"], locks(world.notes())) == ("1", [])
    else:
        assert left(world.simulator) == []


def test_a_free_cluster_whose_head_has_gone_serves_the_next_step_by_another_head(world: World) -> None:
    assert run_step(world.resource()).success
    (name,) = left(world.simulator)
    (pod,) = world.simulator.store.list("pods")
    world.simulator.store.delete("pods", "default", pod["metadata"]["name"])
    second = run_step(world.resource())
    assert second.success, second.log
    assert left(world.simulator) == [name]
    assert (len(world.heads), world.notes()["dagster/pool-uses"]) == (2, "2")


def test_a_cluster_is_replaced_after_its_uses(world: World) -> None:
    pool = ClusterPool(recycle_after_uses=2)
    assert run_step(world.resource(pool=pool)).success
    (name,) = left(world.simulator)
    said = run_step(world.resource(pool=pool)).log
    assert f"{name} is being deleted: 2 steps have used it." in said
    assert left(world.simulator) == []


def test_the_sensor_fills_a_pool_and_ends_one_that_nobody_uses(world: World) -> None:
    assert run_step(world.resource(pool=ClusterPool(size=2))).success
    said = world.tick()
    assert "Made for pools: RayCluster default/" in said
    both = left(world.simulator)
    assert len(both) == 2
    assert len({one.rpartition("-")[0] for one in both}) == 1
    specs = [one["spec"] for one in world.clusters()]
    assert specs[0] == specs[1]
    assert "Kept 2, is free, for the next step of its pool" in world.tick()
    eventually(lambda: all(one.get("status", {}).get("state") == "ready" for one in world.clusters()))
    for name in both:
        world.note(name, **{"pool-used-at": time_text(datetime.now(UTC) - timedelta(hours=2))})
    assert "no step has used its pool for" in world.tick()
    assert left(world.simulator) == []


def test_a_schedule_keeps_a_pool_that_no_step_uses_until_another_one_is_used_in_its_place(world: World) -> None:
    always = ClusterPool(schedule=[PoolSize(cron="* * * * *", size=2)])
    assert run_step(world.resource(pool=always)).success
    assert "Made for pools: RayCluster default/" in world.tick()
    both = left(world.simulator)
    long_ago = {"pool-used-at": time_text(datetime.now(UTC) - timedelta(hours=2))}
    for name in both:
        world.note(name, **long_ago)
    assert "Kept 2, is free, for the next step of its pool" in world.tick()
    assert run_step(world.resource(pool=always, image="team/ray:2")).success
    said = world.tick()
    assert "no step has used its pool for" in said
    assert "Made for pools: RayCluster default/" in said
    assert len(left(world.simulator)) == 2
    assert not set(both) & set(left(world.simulator))


def test_the_cluster_of_a_step_that_was_killed_is_never_used_again(world: World) -> None:
    assert run_step(world.resource()).success
    (name,) = left(world.simulator)
    long_ago = time_text(datetime.now(UTC) - timedelta(hours=1))
    claim = f'{{"applied_at": "{long_ago}", "renewed_at": "{long_ago}", "ttl_seconds": 600}}'
    world.note(name, **{"lock-killed": claim})
    assert "its claim has ended, and its step has a minute to renew it" in world.tick()
    assert "dagster/pool-ended-seen-at" in world.notes()
    assert run_step(world.resource()).success
    assert sorted(left(world.simulator)) != [name]
    seen_at = time_text(datetime.now(UTC) - timedelta(seconds=90))
    world.note(name, **{"pool-ended-seen-at": seen_at})
    assert "the step that used it did not give it back" in world.tick()
    assert name not in left(world.simulator)


def test_a_step_that_finds_no_cluster_until_its_deadline_says_so(world: World) -> None:
    pool = ClusterPool(max_size=1)
    assert run_step(world.resource(pool=pool)).success
    (name,) = left(world.simulator)
    now = time_text(datetime.now(UTC) + timedelta(seconds=60))
    world.note(name, **{"lock-other": f'{{"applied_at": "{now}", "renewed_at": "{now}", "ttl_seconds": 600}}'})
    said = run_step(world.resource(pool=pool, timeout=2.0))
    assert not said.success
    assert "[dagster-ray: pool-busy]" in said.log
    assert left(world.simulator) == [name]
    assert not [key for key in world.notes() if "ticket" in key]


@pytest.mark.parametrize(
    ("ask", "reads"),
    [
        pytest.param(DriverHost.first_number, 1, id="by its claim, once"),
        pytest.param(partial(DriverHost.follow, request=FOLLOWED), 2, id="by its RayCluster, twice"),
    ],
)
def test_a_step_whose_body_is_a_job_reads_the_log_of_its_run(
    world: World, monkeypatch: pytest.MonkeyPatch, ask: Callable[[DriverHost], object], reads: int
) -> None:
    counted: list[str] = []
    original = dg.DagsterInstance.get_records_for_run

    def read(instance: dg.DagsterInstance, run_id: str, *more: Any, **options: Any) -> Any:
        counted.append(run_id)
        return original(instance, run_id, *more, **options)

    world.simulator.store.create("rayclusters", dict(FOLLOWED.manifest))

    @dg.resource
    def looks(context: dg.InitResourceContext) -> int:
        with closing(KubernetesApi.load(str(world.simulator.kubeconfig))) as api, monkeypatch.context() as patch:
            patch.setattr(dg.DagsterInstance, "get_records_for_run", read)
            ask(DriverHost(CleanCluster(api, Reach("auto", None, 60), context, Deadline(60)), "always"))
        return len(counted)

    @dg.op(required_resource_keys={"looks"})
    def step(context: dg.OpExecutionContext) -> None:
        assert context.resources.looks == reads

    @dg.job(resource_defs={"looks": looks})
    def one_step() -> None:
        step()

    assert one_step.execute_in_process().success


class CountedCluster(CleanCluster):
    """Counts the writes that a claim sends beyond the least."""

    lost = 0
    """Of a claim, or of an end, where another step was faster."""
    moved = 0
    """Removals of the ticket from another cluster than the one that was claimed."""

    @override
    def _patch(self, own: Created, body: Mapping[str, object], deadline: Deadline) -> dict[str, Any]:
        annotations = at(body, "metadata", "annotations")
        self.moved += all(value is None for value in annotations.values())
        try:
            return super()._patch(own, body, deadline)
        except ConflictError:
            self.lost += 1
            raise


def test_fifty_steps_on_ten_clusters_send_four_requests_a_claim_at_most(world: World) -> None:
    """Each step: of its own four, and one for each claim that another step was faster at, or ticket that it removes."""
    sizes, users, twice, sent = Sizes(size=10, max_size=10), Counter[str](), list[str](), list[tuple[int, ...]]()
    world.simulator.operator.freeze()
    request = pool_of("maker", sizes)
    for slot in range(1, 11):
        manifest = request.one(slot, request.claim(datetime.now(UTC))).manifest
        name = SELECTION.name("dagster", slot)
        store = world.simulator.store
        made = store.create("rayclusters", copy_of(manifest, name, slot, datetime.now(UTC)))
        store.replace_status("rayclusters", {**made, "status": READY})
    served: list[str] = []

    def step(number: int) -> None:
        with closing(KubernetesApi.load(str(world.simulator.kubeconfig))) as api:
            cluster = CountedCluster(api, Reach("auto", None, 60), dg.build_init_resource_context(), Deadline(60))
            threading.Event().wait(number * 0.05)
            cluster.claim(pool_of(f"step{number}", sizes))
            assert cluster.held is not None
            sent.append((api.requests, cluster.lost, cluster.moved))
            cluster.reach_head()
            name = cluster.held.own.name
            users[name] += 1
            twice.extend([name] if users[name] > 1 else [])
            threading.Event().wait(0.5)
            users[name] -= 1
            cluster.leave(StepOutcome.SUCCEEDED, Deadline(20))
            served.append(name)

    threads = [threading.Thread(target=step, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(served) == 50
    assert twice == []
    assert len(left(world.simulator)) == 10
    assert [one for one in sent if one[0] > 4 + one[1] + one[2]] == [], sorted(sent)
    assert all(moved <= 1 for _, _, moved in sent), sorted(sent)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"cluster_sharing": ClusterSharing(enabled=True)}, "`pool` is given", id="with sharing"),
        pytest.param(
            {"lifecycle": Lifecycle(cleanup="never")}, "`lifecycle.cleanup` is never", id="that keeps failures"
        ),
    ],
)
def test_a_pool_that_cannot_work_fails_at_load(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        KubeRayCluster(pool=ClusterPool(), **fields)


def test_a_size_beyond_max_size_fails_at_load() -> None:
    with pytest.raises(ValidationError, match="`max_size` is 2, and size is 3"):
        ClusterPool(size=3, max_size=2)
