"""Why a cluster does not come up, whether waiting helps, and what to do. Pure.

Looks at what Kubernetes, KubeRay and Kueue wrote into objects and events, in the modules `_diagnosis_*`. What they do
not know is no diagnosis: the step goes on waiting and shows the raw facts. Objects may have any shape.
"""

import re
from collections.abc import Iterable, Mapping

from dagster_ray.kuberay._diagnosis.api_answers import answer_findings, warning_findings
from dagster_ray.kuberay._diagnosis.containers import container_findings, waiting_trouble
from dagster_ray.kuberay._diagnosis.events import events_of
from dagster_ray.kuberay._diagnosis.facts import Facts
from dagster_ray.kuberay._diagnosis.nodes import node_findings
from dagster_ray.kuberay._diagnosis.operator import (
    creation_findings,
    deletion_findings,
    refusal_findings,
    silence_findings,
)
from dagster_ray.kuberay._diagnosis.queue import queue_findings
from dagster_ray.kuberay._diagnosis.reach import reach_findings
from dagster_ray.kuberay._diagnosis.scheduling import scheduling_findings
from dagster_ray.kuberay._diagnosis.situations import PROOFS, Diagnosis, finding
from dagster_ray.kuberay._diagnosis.storage import storage_findings
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping
from dagster_ray.kuberay._status.cluster_state import Head

__all__ = ["Diagnosis", "explain", "explain_head"]

# From the most specific to the most general: of two findings of one rank, the first is told.
_FINDERS = (
    answer_findings,
    refusal_findings,
    deletion_findings,
    node_findings,
    container_findings,
    storage_findings,
    scheduling_findings,
    queue_findings,
    creation_findings,
    reach_findings,
    warning_findings,
    silence_findings,
)

# What kubelet says of every pod that is not ready, before the container's own reason, which KubeRay from 1.5.1 on adds.
_UNREADY = re.compile(r"^containers with unready status: \[[^\]]*\]; (?=\S)")
_CONTAINER = re.compile(r"^([a-z0-9-]+): |restarting failed container=(\S+)")


def explain_head(head: Head | None, ray_container: str = "") -> Diagnosis | None:
    """Return what the condition HeadPodReady says, if it says why the head does not run.

    The operator copies the reason of the first container that waits, in the order of names, from 1.5.1 on; before, only
    pods have it. It says nothing of how often and for how long.

    Args:
        head: The head; None while it is not known.
        ray_container: The name of the container that runs Ray. The trouble of another one is not fatal. Empty where it
            is not known.
    """
    if head is None or (code := waiting_trouble(head.reason, head.message)) is None:
        return None
    said = _UNREADY.sub("", head.message)
    about = _CONTAINER.search(said)
    is_rays = about is None or not ray_container or ray_container in about.groups()
    return finding(code, head.reason, said, fatal=code in PROOFS and is_rays).diagnosis


def explain(
    pods: Iterable[Manifest],
    events: Iterable[Manifest],
    *,
    rayjob: Manifest | None = None,
    raycluster: Manifest | None = None,
    nodes: Iterable[Manifest] | None = None,
    pods_on_nodes: Iterable[Manifest] | None = None,
    claims: Iterable[Manifest] | None = None,
    services: Iterable[Manifest] | None = None,
    endpoint_slices: Iterable[Manifest] | None = None,
    workloads: Iterable[Manifest] | None = None,
    operator_pods: Iterable[Manifest] | None = None,
    logs: Mapping[str, str] | None = None,
    answers: Iterable[Manifest] = (),
    warnings: Iterable[str] = (),
    closed_port: str | None = None,
    mismatch: tuple[str, str, str] | None = None,
    token_refused: str | None = None,
) -> Diagnosis | None:
    """Return why the cluster is not there; None if nothing that is known keeps it away.

    Asked when nothing has moved for a while, or something has failed: an object that was made just now may look as
    if nobody cared for it. A finding that may be fatal comes before a patient one, the head before workers, and the
    specific before the general. Whoever does not know an argument leaves it out: None means "not asked", a list that
    is empty "there is none".

    Args:
        pods: The pods of the cluster.
        events: Events of the RayJob, the RayCluster, and where they were read of pods and claims. Those of an
            earlier object with the same name are left out, by uid.
        rayjob: The RayJob.
        raycluster: The RayCluster.
        nodes: All nodes.
        pods_on_nodes: Pods of all namespaces; without them the size of nodes is told, not what is free on them.
        claims: PersistentVolumeClaims of the namespace.
        services: Services of the cluster.
        endpoint_slices: EndpointSlices of the namespace.
        workloads: Kueue's Workloads of the namespace.
        operator_pods: Pods of the KubeRay operator in all namespaces.
        logs: Ends of logs by the name of the pod, of the previous container where there was one.
        answers: Status objects by which the API server refused a call.
        warnings: Headers Warning of its answers.
        closed_port: The place that accepts no driver.
        mismatch: What differs for Ray Client, the step's version, and the cluster's.
        token_refused: What the dashboard answered to the step's token.
    """
    facts = Facts(
        pods=(known := [mapping(pod) for pod in pods]),
        events=events_of(events, _objects(rayjob, raycluster, known, claims := _listed(claims))),
        rayjob=mapping(rayjob),
        raycluster=mapping(raycluster),
        nodes=_listed(nodes),
        pods_on_nodes=_listed(pods_on_nodes),
        claims=claims,
        services=_listed(services),
        endpoint_slices=_listed(endpoint_slices),
        workloads=_listed(workloads),
        operator_pods=_listed(operator_pods),
        logs=mapping(logs),
        answers=[mapping(answer) for answer in answers],
        warnings=[str(warning) for warning in warnings],
        closed_port=closed_port,
        mismatch=mismatch,
        token_refused=token_refused,
    )
    return _first(facts)


def _first(facts: Facts) -> Diagnosis | None:
    found = [one for finder in _FINDERS for one in finder(facts)]
    ranked = sorted(found, key=lambda one: (one.diagnosis.proof is None, one.of_workers))
    return ranked[0].diagnosis if ranked else None


def _listed(objects: Iterable[Manifest] | None) -> list[Manifest] | None:
    return None if objects is None else [mapping(one) for one in objects]


def _objects(
    rayjob: Manifest | None, raycluster: Manifest | None, pods: list[Manifest], claims: list[Manifest] | None
) -> list[tuple[str, Manifest]]:
    """Return the objects with their kinds, as far as they are known."""
    named = [("RayJob", mapping(rayjob)), ("RayCluster", mapping(raycluster)), *(("Pod", pod) for pod in pods)]
    return [*named, *(("PersistentVolumeClaim", claim) for claim in claims or ())]
