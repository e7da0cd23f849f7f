"""What each right of the Kubernetes API is for, as roads that need it: run under a Role, each says how far it came.

A road is a small piece of real work with the code that users run. `Seen.works` says whether the work succeeded, and
`Seen.extra` whether it brought what an optional right adds.
"""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import logging
import re
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from collector_world import labels, lock, raycluster, rayjob, shared
from fault_world import eventually, left, run_step
from fault_world import fields as job_fields
from pipes_world import PipesWorld, run_job

from dagster_ray.core import Deadline, Lifecycle
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay import (
    ClusterPool,
    ClusterSharing,
    KubeRayCluster,
    KubeRayInteractiveJob,
    RayClusterConfig,
    build_cleanup_sensor,
)
from dagster_ray.kuberay._collector.collector import CHANGED, Collector, Work
from dagster_ray.kuberay._collector.cursor import Cursor, targets_of
from dagster_ray.kuberay._collector.job import delete_rayclusters
from dagster_ray.kuberay._collector.plan import plan
from dagster_ray.kuberay._collector.run_facts import Rules
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._head.route import ForwardedAgents
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._rights import Feature, Right, rules_of
from dagster_ray.kuberay._runs.run_cluster import RunRayCluster, context_of
from dagster_ray.kuberay._runs.run_launcher import RayJobsOfRuns
from dagster_ray.kuberay._runs.step_rayjobs import StepRayJobs
from dagster_ray.kuberay._runs.worker_rayjobs import WorkerRayJob
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.registration import register
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay._steps.wait import Reach
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Account, Fault, Rule, Simulator

ROLE_TOKEN = "role"
NEW, OLD = "1.7.0", "1.4.2"
CRASHING = "crashing"
"""The simulated cluster whose heads may crash; those of the others are scripted."""
# Only the rights of the feature itself: without port-forwards.
DIRECT: dict[str, Any] = {"access": "direct", "head_host": "{pod_ip}"}
# A check beforehand would refuse what is missing, whether or not it is needed.
STEP: dict[str, Any] = {**DIRECT, "preflight": "off"}
CLUSTER: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a road came."""

    works: bool
    extra: bool = True


@dataclass
class RightsWorld:
    """Simulated clusters, and a kubeconfig of an account with some rights there."""

    pipes: dict[str, PipesWorld]
    """By KubeRay's version, or `CRASHING`."""
    folder: Path
    passed: set[tuple[str, "Road"]] = field(default_factory=set[tuple[str, "Road"]])
    """Roads that a whole Role was enough for, by feature."""

    def simulator(self, version: str = NEW) -> Simulator:
        """The simulated cluster with a version of KubeRay."""
        return self.pipes[version].simulator

    @contextmanager
    def role(self, rights: list[Right], version: str) -> Generator[Path]:
        """Yield the kubeconfig of an account with these rights in `default`; objects of the road are removed after."""
        simulator = self.simulator(version)
        rules = [Rule(one["apiGroups"], one["resources"], one["verbs"]) for one, _ in rules_of(rights)]
        simulator.access.accounts[ROLE_TOKEN] = Account("role", rules, frozenset({"default"}))
        file = self.folder / f"kubeconfig-{version}"
        file.write_text(yaml.safe_dump(simulator.account(ROLE_TOKEN)), encoding="utf-8")
        try:
            yield file
        finally:
            simulator.faults.clear()
            for plural in ("rayjobs", "rayclusters"):
                for item in simulator.store.list(plural):
                    if "deletionTimestamp" not in item["metadata"]:
                        simulator.store.delete(plural, "default", item["metadata"]["name"])
                eventually(lambda plural=plural: not simulator.store.list(plural))


Step = Callable[[RightsWorld, str], Seen]


@dataclass(frozen=True, slots=True)
class Road:
    """A road, and the cluster that it is run on."""

    go: Step
    version: str = NEW
    extra: "Road | None" = None
    """A road that an optional right opens, beside this one that goes on without it."""


# Steps


def interactive(simulator: Simulator, kubeconfig: str, **more: Any) -> KubeRayInteractiveJob:
    """Return the resource of a step that goes straight to its head."""
    return KubeRayInteractiveJob(**job_fields(simulator, **{**STEP, **more, "kubeconfig_file": kubeconfig}))


def cluster(kubeconfig: str, **more: Any) -> KubeRayCluster:
    """Return the resource of a step with a RayCluster."""
    config: dict[str, Any] = {"spec": {**CLUSTER, **more.pop("spec", {})}, "metadata": more.pop("metadata", {})}
    given: dict[str, Any] = {"lifecycle": Lifecycle(connect=False), "timeout": 20.0, **STEP, **more}
    return KubeRayCluster(kubeconfig_file=kubeconfig, ray_cluster=RayClusterConfig(**config), **given)


def a_step(*faults: Fault, **more: Any) -> Step:
    """Return the road of a step of `KubeRayInteractiveJob`, with faults on its way."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        simulator = world.simulator(more.get("version", NEW))
        for fault in faults:
            simulator.faults.add(Fault(fault.method, fault.path, **_rest(fault)))
        options = {key: value for key, value in more.items() if key != "version"}
        return Seen(run_step(interactive(simulator, kubeconfig, **options)).success)

    return go


def _rest(fault: Fault) -> dict[str, Any]:
    return {"status": fault.status, "lose_answer": fault.lose_answer, "times": fault.times}


LOST_ANSWER = Fault("POST", lose_answer=True, times=1)
LOST_SECRET = Fault("POST", "/secrets", lose_answer=True, times=1)
LISTS_AGAIN = Fault("GET", "watch=true", status=410, times=1)


def a_measured_step(lacks: str) -> Step:
    """Return the road of a step with `hours`, in whose log a word shows that something is not known."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        outcome = run_step(interactive(world.simulator(), kubeconfig, hours=True))
        return Seen(outcome.success, extra="memory_gib_hours" in outcome.log and lacks not in outcome.log)

    return go


def a_failed_step_deletes(world: RightsWorld, kubeconfig: str) -> Seen:
    """A step that fails deletes its RayJob."""
    run_step(interactive(world.simulator(), kubeconfig), fails=True)
    return Seen(left(world.simulator()) == [])


def a_driver_is_registered(world: RightsWorld, kubeconfig: str) -> Seen:
    """The driver's job id is written into the RayJob."""
    simulator = world.simulator()
    run_step(interactive(simulator, str(simulator.kubeconfig)))
    job = created(RAYJOBS, "default", simulator.store.list("rayjobs")[-1])
    with closing(KubernetesApi.load(kubeconfig)) as api:
        cluster = StepCluster(api, Reach("auto", None, 60), dg.build_init_resource_context(), Deadline(5))
        cluster.use(job)
        register(cluster, "02000000", Deadline(5))
    return Seen(works=True)


def a_cluster_step(*faults: Fault, **more: Any) -> Step:
    """Return the road of a step of `KubeRayCluster`, which deletes its cluster."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        for fault in faults:
            world.simulator().faults.add(Fault(fault.method, fault.path, **_rest(fault)))
        outcome = run_step(cluster(kubeconfig, **more))
        return Seen(outcome.success and left(world.simulator()) == [])

    return go


def an_existing_cluster(world: RightsWorld, kubeconfig: str) -> Seen:
    """A step uses a RayCluster that somebody else has made, and locks it."""
    body = {"metadata": {"name": "theirs", "namespace": "default"}, "spec": _plain(CLUSTER)}
    world.simulator().store.create("rayclusters", body)
    outcome = run_step(cluster(kubeconfig, metadata={"name": "theirs"}))
    return Seen(outcome.success, extra="gets no lock" not in outcome.log)


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "ray-head", "image": "rayproject/ray:2.60.0"}
    return {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}}


SHARING = ClusterSharing(enabled=True, ttl_seconds=3600)


def a_shared_step(*faults: Fault, times: int = 1) -> Step:
    """Return the road of steps that share a cluster."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        for fault in faults:
            world.simulator().faults.add(Fault(fault.method, fault.path, **_rest(fault)))
        outcomes = [run_step(cluster(kubeconfig, cluster_sharing=SHARING)) for _ in range(times)]
        return Seen(all(outcome.success for outcome in outcomes) and len(left(world.simulator())) == 1)

    return go


def a_shared_cluster_that_never_comes_up(world: RightsWorld, kubeconfig: str) -> Seen:
    """Its maker tells it, and deletes it if it may."""
    outcome = run_step(cluster(kubeconfig, cluster_sharing=SHARING, image="rayproject/ray:missing"))
    return Seen("rayproject/ray:missing" in outcome.log, extra=left(world.simulator()) == [])


def a_run(*faults: Fault, **more: Any) -> Step:
    """Return the road of a run that takes its cluster, whose worker is replaced, and which then ends."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        for fault in faults:
            world.simulator().faults.add(Fault(fault.method, fault.path, **_rest(fault)))
        fields = {"kubeconfig_file": kubeconfig, "ray_cluster": {"spec": CLUSTER}, "timeout": 20.0, **STEP, **more}
        context = dg.build_init_resource_context()
        try:
            for is_final in (False, True):
                taken = RunRayCluster.of(fields)
                try:
                    taken.create_cluster(context, Deadline(20))
                    taken.wait_for_cluster(context, Deadline(20))
                finally:
                    taken.give_up(context, is_final=is_final)
        except DagsterRayError:
            return Seen(works=False, extra=False)
        return Seen(works=True, extra=left(world.simulator()) == [])

    return go


WORKER: dict[str, Any] = {"entrypoint": "true", "submission_id": "dagster-run-r", "metadata": {}}


def _workers(world: RightsWorld, kubeconfig: str, **more: Any) -> RayJobsOfRuns:
    spec = {"rayClusterSpec": CLUSTER}
    fields = {"kubeconfig_file": kubeconfig, "ray_job": {"spec": spec}, "timeout": 20.0, **STEP, **more}
    return RayJobsOfRuns(WorkerRayJob.of(fields))


def a_worker(*faults: Fault, silent_seconds: float = 0.0) -> Step:
    """Return the road of a run's worker: launched, looked at, and stopped through its head, which may be silent."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        pipes, workers = world.pipes[NEW], _workers(world, kubeconfig)
        workers.submit(WORKER, dg.build_init_resource_context())
        store = pipes.simulator.store
        eventually(lambda: any(item.get("status", {}).get("jobStatus") for item in store.list("rayjobs")))
        for fault in faults:
            pipes.simulator.faults.add(Fault(fault.method, fault.path, **_rest(fault)))
        is_pending, head = workers.details("dagster-run-r").status == "PENDING", pipes.heads[-1]
        head.is_silent = silent_seconds > 0
        speaks = threading.Timer(silent_seconds, lambda: setattr(head, "is_silent", False))
        speaks.start()
        try:
            return Seen(is_pending and workers.stop("dagster-run-r"))
        finally:
            speaks.join()

    return go


def a_step_of_a_run(silent_seconds: float = 0.0) -> Step:
    """Return the road of a step's RayJob: created, looked at, stopped through its head, and deleted with the run."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        pipes, submission_id = world.pipes[NEW], "dagster-step-of-a-run-0"
        job = {"entrypoint": "true", "submission_id": submission_id, "metadata": {"dagster/step-key": "step"}}
        fields = {"kubeconfig_file": kubeconfig, "ray_job": {"spec": {"rayClusterSpec": CLUSTER}}, **STEP}
        with dg.DagsterInstance.ephemeral() as instance:
            jobs = StepRayJobs(WorkerRayJob.of(fields), context_of(instance, dg.DagsterRun("job")))
            try:
                jobs.send(jobs.prepare(job))
                store = pipes.simulator.store
                eventually(lambda: any(item.get("status", {}).get("jobStatus") for item in store.list("rayjobs")))
                head = pipes.heads[-1]
                head.is_silent = silent_seconds > 0
                speaks = threading.Timer(silent_seconds, lambda: setattr(head, "is_silent", False))
                speaks.start()
                is_seen = jobs.details(submission_id).status in {"PENDING", "RUNNING"}
                is_stopped = jobs.stop(submission_id)
                speaks.join()
            finally:
                jobs.end(is_final=True)
            eventually(lambda: all("deletionTimestamp" in item["metadata"] for item in store.list("rayjobs")))
            return Seen(is_seen and is_stopped)

    return go


def a_worker_that_never_starts(world: RightsWorld, kubeconfig: str) -> Seen:
    """The RayJob of a worker that was not submitted is deleted."""
    workers = _workers(world, kubeconfig, image="rayproject/ray:missing")
    workers.submit(WORKER, dg.build_init_resource_context())
    stopped = workers.stop("dagster-run-r")
    eventually(lambda: left(world.simulator()) == [])  # the operator takes its finalizer off first
    return Seen(stopped)


# A pool


def a_pooled_step(world: RightsWorld, kubeconfig: str) -> Seen:
    """Two steps use one warm cluster, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_RAY_INSTANCE_ID", "rights")  # each step has an instance of its own
        outcomes = [run_step(cluster(kubeconfig, pool=ClusterPool(max_size=2))) for _ in range(2)]
    return Seen(all(outcome.success for outcome in outcomes) and len(left(world.simulator())) == 1)


def a_pooled_step_that_fails(world: RightsWorld, kubeconfig: str) -> Seen:
    """It deletes its cluster if it may."""
    outcome = run_step(cluster(kubeconfig, pool=ClusterPool()), fails=True)
    return Seen("told to fail" in outcome.log, extra=left(world.simulator()) == [])


def a_pool_is_filled(world: RightsWorld, kubeconfig: str) -> Seen:
    """The sensor makes what a pool lacks if it may."""
    run_step(cluster(str(world.simulator().kubeconfig), pool=ClusterPool(size=2)))
    sensor = build_cleanup_sensor(kubeconfig_file=kubeconfig)
    with dg.DagsterInstance.ephemeral() as instance:
        sensor(dg.build_sensor_context(instance=instance))
    return Seen(works=True, extra=len(left(world.simulator())) == 2)


def a_claim_that_ended_is_noted(world: RightsWorld, kubeconfig: str) -> Seen:
    """The sensor notes on a cluster of a pool that its step has not renewed its claim, if it may."""
    store = world.simulator().store
    run_step(cluster(str(world.simulator().kubeconfig), pool=ClusterPool()))
    (name,) = left(world.simulator())
    claim = '{"applied_at": "2026-01-01T12:00:00Z", "renewed_at": "2026-01-01T12:00:00Z", "ttl_seconds": 600}'
    body = {"metadata": {"annotations": {"dagster/lock-killed": claim}}}
    store.patch("rayclusters", "default", name, body, "application/merge-patch+json")
    sensor = build_cleanup_sensor(kubeconfig_file=kubeconfig)
    with dg.DagsterInstance.ephemeral() as instance:
        sensor(dg.build_sensor_context(instance=instance))
    (found,) = store.list("rayclusters")
    return Seen(works=True, extra="dagster/pool-ended-seen-at" in found["metadata"]["annotations"])


# Pipes


def a_pipes_job(*faults: Fault, status: str = "SUCCEEDED", version: str = NEW, **more: Any) -> Step:
    """Return the road of a Pipes job: it ends as told, the operator knows it, and a failed one leaves nothing."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        pipes = world.pipes[version]
        for fault in faults:
            pipes.simulator.faults.add(Fault(fault.method, fault.path, **_rest(fault)))
        options = {**STEP, "kubeconfig_file": kubeconfig}
        with pipes.ending(status):
            ran = run_job(pipes.client(**options), {"entrypoint": "python work.py", **more})
        jobs = pipes.rayjobs()
        if status == "FAILED":
            return Seen("[dagster-ray: ray-job-failed]" in ran.log and jobs == [])
        return Seen(ran.success and bool(jobs[-1]["spec"].get("jobId")))

    return go


def a_pipes_job_with_a_secret(*faults: Fault) -> Step:
    """Return the road of a Pipes job whose context a Secret hands over; the extra is that it is deleted at the end."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        pipes = world.pipes[NEW]
        for fault in faults:
            pipes.simulator.faults.add(Fault(fault.method, fault.path, **_rest(fault)))
        with pipes.ending("SUCCEEDED"):
            client = pipes.client(**{**STEP, "kubeconfig_file": kubeconfig}, secret_context=True)
            ran = run_job(client, {"entrypoint": "python work.py"})
        return Seen(ran.success, extra=pipes.simulator.store.list("secrets") == [])

    return go


def a_pipes_job_on_a_cluster(world: RightsWorld, kubeconfig: str) -> Seen:
    """A job on a RayCluster that exists."""
    body = {"metadata": {"name": "theirs", "namespace": "default"}, "spec": _plain(CLUSTER)}
    world.simulator().store.create("rayclusters", body)
    return a_pipes_job(cluster_selector="theirs")(world, kubeconfig)


# What any of them may need besides


def a_forwarded_step(verb: str) -> Step:
    """Return the road of a step that reaches its head through the Kubernetes API, of a server old or new."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        simulator = world.simulator()
        simulator.access.forward_verb = verb
        try:
            own = interactive(simulator, kubeconfig, access="port_forward", head_host=None)
            return Seen(run_step(own).success)
        finally:
            simulator.access.forward_verb = "create"

    return go


def logs_of_nodes(world: RightsWorld, kubeconfig: str) -> Seen:
    """An agent of a node is found by its pod's address."""
    simulator = world.simulator()
    run_step(interactive(simulator, str(simulator.kubeconfig)))
    pod = simulator.store.list("pods")[-1]
    cluster_name = pod["metadata"]["labels"]["ray.io/cluster"]
    with closing(KubernetesApi.load(kubeconfig)) as api:
        agents = ForwardedAgents(api, "default", cluster_name)
        route = agents.route(f"http://{pod['status']['podIP']}:52365")
        agents.close()
    return Seen(works=True, extra=route is not None)


def a_head_service(world: RightsWorld, kubeconfig: str) -> Seen:
    """The head's Service is a NodePort."""
    head = {**head_group(cpus=1, memory="2Gi"), "serviceType": "NodePort"}
    spec: dict[str, Any] = {"rayClusterSpec": {"headGroupSpec": head, "workerGroupSpecs": []}}
    return Seen(run_step(interactive(world.simulator(), kubeconfig, spec=spec)).success)


def a_token(world: RightsWorld, kubeconfig: str) -> Seen:
    """The cluster has a token."""
    spec = {"rayClusterSpec": {**CLUSTER, "authOptions": {"mode": "token"}}}
    return Seen(run_step(interactive(world.simulator(), kubeconfig, spec=spec)).success)


def a_token_of_kubernetes(world: RightsWorld, kubeconfig: str) -> Seen:
    """The head asks Kubernetes about the account's own token."""
    judged = {"rayVersion": "2.60.0", "authOptions": {"mode": "token", "enableK8sTokenAuth": True}}
    return a_cluster_step(spec=judged)(world, kubeconfig)


def an_explained(text: str, *, version: str = NEW, **more: Any) -> Step:
    """Return the road of a step whose cluster does not come up; the extra is that the reason is told."""

    def go(world: RightsWorld, kubeconfig: str) -> Seen:
        forwarded = {"access": "port_forward", "head_host": None, **more}
        outcome = run_step(interactive(world.simulator(version), kubeconfig, **forwarded))
        codes = re.findall(r"\[dagster-ray: ([a-z-]+)\]", outcome.log)
        return Seen(not outcome.success and codes[-1] != "kubernetes-forbidden", extra=text in outcome.log)

    return go


TOO_LARGE: dict[str, Any] = {
    "rayClusterSpec": {"headGroupSpec": head_group(cpus=10_000, memory="2Gi"), "workerGroupSpecs": []}
}


# Collectors


def _collected(world: RightsWorld, kubeconfig: str, make: Callable[[Simulator, dg.DagsterInstance], None]) -> Seen:
    simulator = world.simulator()
    with dg.DagsterInstance.ephemeral() as instance, closing(KubernetesApi.load(kubeconfig)) as api:
        make(simulator, instance)
        rules = Rules(run_grace_seconds=0)
        work = Work(lambda candidates, facts, now: plan(candidates, facts, now, rules))
        deadline = Deadline(20)
        while True:  # what the operator changes between list and delete is left to the next tick
            collector = Collector(
                api, RunReader(instance, instance_id="rights"), work, deadline, logging.getLogger("rights")
            )
            collector.run(targets_of([], api.namespace), Cursor())
            if not collector.report.kept[CHANGED] or deadline.is_over():
                break
    # The RayCluster of a RayJob goes a moment after it.
    stays = {"old", "forgotten"} & set(left(simulator))
    return Seen(not stays and collector.report.failures == [])


def a_shared_cluster_ends(world: RightsWorld, kubeconfig: str) -> Seen:
    """The sensor's collector deletes a shared cluster whose lock has ended."""

    def make(simulator: Simulator, instance: dg.DagsterInstance) -> None:
        simulator.store.create("rayclusters", raycluster("old", shared(), lock(-5)))

    return _collected(world, kubeconfig, make)


def a_forgotten_rayjob_ends(world: RightsWorld, kubeconfig: str) -> Seen:
    """The sensor's collector deletes a RayJob whose run is gone."""

    def make(simulator: Simulator, instance: dg.DagsterInstance) -> None:
        marked = labels(instance="rights", policy="always")
        simulator.store.create("rayjobs", rayjob("forgotten", marked))

    return _collected(world, kubeconfig, make)


def clusters_by_hand(world: RightsWorld, kubeconfig: str) -> Seen:
    """The job deletes what nobody uses, and knows what a RayJob runs on.

    A cluster that the operator writes to after it was listed is kept, so the operator waits.
    """
    simulator = world.simulator()
    simulator.operator.freeze()
    simulator.store.create("rayclusters", raycluster("unused", shared(), lock(-5)))
    simulator.store.create("rayclusters", raycluster("selected", shared(), lock(-5)))
    body = {"submissionMode": "HTTPMode", "entrypoint": "true", "clusterSelector": {"ray.io/cluster": "selected"}}
    simulator.store.create("rayjobs", {"metadata": {"name": "on", "namespace": "default"}, "spec": body})
    config = {"dry_run": False, "kubeconfig_file": kubeconfig}
    result = delete_rayclusters.execute_in_process(
        run_config={"ops": {"delete_rayclusters_op": {"config": config}}}, raise_on_error=False
    )
    simulator.operator.thaw()
    names = left(simulator)
    return Seen(result.success and "unused" not in names, extra="selected" in names)


def seen(road: Road, world: RightsWorld, rights: list[Right]) -> Seen:
    """Run a road under a Role, and the one beside it."""
    found = _seen(road, world, rights)
    return found if road.extra is None else Seen(found.works, extra=_seen(road.extra, world, rights).works)


def _seen(road: Road, world: RightsWorld, rights: list[Right]) -> Seen:
    """Run one road; a refusal is a road that does not work."""
    with world.role(rights, road.version) as kubeconfig:
        try:
            return road.go(world, str(kubeconfig))
        except (DagsterRayError, AssertionError):
            return Seen(works=False, extra=False)


def without(feature: Feature, right: Right) -> list[Right]:
    """Return a feature's rights but one."""
    return [one for one in feature.rights if one != right]
