"""A pod's status at each stage of its life, as a kubelet writes it. Pure.

Facts: recorded with kube-apiserver and scheduler 1.36.1; texts follow kubelet 1.36.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings

HOST_IP = "10.77.0.1"
_KINDS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class PodStage:
    """How far a pod is.

    Attributes:
        phase: Pending, Running or Failed.
        container: The state of the main container, such as {"waiting": {...}}.
        ready: Whether the main container is ready.
        restarts: How often the main container was restarted.
        last: The state of the main container before its restart.
        ip: The pod's address once it has one.
        initialised: False while init containers run.
        init: The state of the init containers.
        ended: Whether the pod has ended for good.
        crashing: Names of containers beside the main one that end again and again.
    """

    phase: str
    container: Mapping[str, Any]
    ready: bool = False
    restarts: int = 0
    last: Mapping[str, Any] | None = None
    ip: str | None = None
    initialised: bool = True
    init: Mapping[str, Any] | None = None
    ended: bool = False
    crashing: tuple[str, ...] = ()


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """A container that waits."""
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def unschedulable(message: str, moment: str) -> dict[str, Any]:
    """The status of a pod that no node can take."""
    condition = {
        "type": "PodScheduled",
        "observedGeneration": 1,
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": moment,
        "reason": "Unschedulable",
        "message": message,
    }
    return {"phase": "Pending", "conditions": [condition], "qosClass": "Burstable"}


def scheduled(moment: str) -> dict[str, Any]:
    """The status of a pod that the scheduler gave a node."""
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
    return {"phase": "Pending", "conditions": [condition], "qosClass": "Burstable"}


def pod_status(pod: Mapping[str, Any], stage: PodStage, moment: str) -> dict[str, Any]:
    """The status of a pod on its node.

    Args:
        pod: The pod with its old status.
        stage: How far it is.
        moment: The time, for what changes now.
    """
    old = mapping(pod.get("status"))
    generation = at(pod, "metadata", "generation") or 1
    containers = mappings(at(pod, "spec", "containers"))
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "phase": stage.phase,
        "conditions": _conditions(old, stage, containers, generation, moment),
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "startTime": old.get("startTime") or moment,
        "qosClass": "Burstable",
        # in the order of names (pkg/kubelet/kubelet_pods.go), so that a sidecar's may come first
        "containerStatuses": sorted((_container(item, stage) for item in containers), key=lambda one: str(one["name"])),
    }
    init = mappings(at(pod, "spec", "initContainers"))
    if init:
        status["initContainerStatuses"] = [_init_container(item, stage) for item in init]
    if stage.ip is not None:
        status |= {"podIP": stage.ip, "podIPs": [{"ip": stage.ip}]}
    return status


def _crashing(container: Mapping[str, Any]) -> dict[str, Any]:
    """A container beside the main one that ends again and again, at the moment in which it is not started yet."""
    name, image = str(container.get("name")), str(container.get("image") or "")
    text = f"back-off 5m0s restarting failed container={name}"
    return {
        "name": name,
        "state": waiting("CrashLoopBackOff", text),
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        "ready": False,
        "restartCount": 6,
        "image": image,
        "imageID": f"simulated/{image}",
        "started": False,
    }


def _container(container: Mapping[str, Any], stage: PodStage) -> dict[str, Any]:
    image = str(container.get("image") or "")
    if container.get("name") in stage.crashing and "running" in stage.container:
        return _crashing(container)
    started = "running" in stage.container
    known = started or "terminated" in stage.container or stage.restarts > 0
    return {
        "name": container.get("name"),
        "state": dict(stage.container),
        "lastState": dict(stage.last or {}),
        "ready": stage.ready,
        "restartCount": stage.restarts,
        "image": image,
        "imageID": f"simulated/{image}" if known else "",
        "started": started,
    }


def _init_container(container: Mapping[str, Any], stage: PodStage) -> dict[str, Any]:
    image = str(container.get("image") or "")
    state = dict(stage.init or waiting("PodInitializing"))
    return {
        "name": container.get("name"),
        "state": state,
        "lastState": {},
        "ready": "terminated" in state,
        "restartCount": 0,
        "image": image,
        "imageID": "" if "waiting" in state else f"simulated/{image}",
        "started": "running" in state,
    }


def _conditions(
    old: Mapping[str, Any], stage: PodStage, containers: Sequence[Mapping[str, Any]], generation: int, moment: str
) -> list[dict[str, Any]]:
    known = {item.get("type"): item for item in mappings(old.get("conditions"))}
    unready = [str(item.get("name")) for item in containers if not stage.ready or item.get("name") in stage.crashing]
    names = " ".join(unready)
    not_ready: dict[str, str] = {}
    if stage.ended:
        not_ready = {"reason": "PodFailed"}
    elif unready:
        not_ready = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{names}]"}
    uninitialised = (
        {}
        if stage.initialised
        else {"reason": "ContainersNotInitialized", "message": "containers with incomplete status: [wait-gcs-ready]"}
    )
    values: dict[str, tuple[bool, Mapping[str, str]]] = {
        "PodReadyToStartContainers": (stage.ip is not None and not stage.ended, {}),
        "Initialized": (stage.initialised, uninitialised),
        "Ready": (not not_ready, not_ready),
        "ContainersReady": (not not_ready, not_ready),
    }
    written: list[dict[str, Any]] = []
    for kind in _KINDS:
        if kind not in values:
            written += [dict(known[kind])] if kind in known else []
            continue
        on, why = values[kind]
        text = "True" if on else "False"
        before = mapping(known.get(kind))
        since = before["lastTransitionTime"] if before.get("status") == text else moment
        fields = {"type": kind, "observedGeneration": generation, "status": text, "lastProbeTime": None}
        written.append({**fields, "lastTransitionTime": since, **why})
    return written
