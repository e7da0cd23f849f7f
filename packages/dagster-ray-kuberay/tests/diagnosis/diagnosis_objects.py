"""Objects as diagnoses read them, with little more than the part that matters."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._diagnosis.cluster_facts import Facts
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis, explain

Object = dict[str, Any]


def explained(pods: Iterable[Object] = (), events: Iterable[Object] = (), **facts: Any) -> Diagnosis | None:
    """Explain what was read; the rest was not asked for."""
    return explain(Facts(pods=list(pods), events=list(events), **facts))


@dataclass(frozen=True)
class Case:
    """What was read, and what is to be told."""

    code: str
    facts: dict[str, Any]
    says: tuple[str, ...]
    """What the sentence holds."""
    fatal: bool = False
    remedy: str = ""
    """What the remedy holds."""


def pod(kind: str = "head", *containers: Object, name: str | None = None, **status: Any) -> Object:
    """A pod of a cluster: `conditions` and other fields of its status by name, `spec` for its spec."""
    spec = status.pop("spec", {"containers": [{"name": f"ray-{kind}"}]})
    if containers:
        status["containerStatuses"] = list(containers)
    labels = {"ray.io/node-type": kind, "ray.io/cluster": "train"}
    metadata = {"name": name or f"train-{kind}-x7k2p", "uid": f"uid-of-{kind}", "labels": labels}
    return {"metadata": metadata, "spec": spec, "status": status}


def container(
    *,
    name: str = "ray-head",
    waiting: tuple[str, str] | None = None,
    last: Object | None = None,
    restarts: int = 0,
    running: bool = False,
) -> Object:
    """The status of a container."""
    state: Object = {"running": {"startedAt": "2026-01-01T00:00:00Z"}} if running else {}
    if waiting is not None:
        state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
    ended = {"terminated": last} if last is not None else {}
    image = "docker.io/rayproject/ray:2.60.0"
    return {"name": name, "image": image, "state": state, "lastState": ended, "restartCount": restarts, "ready": False}


def init_container(*, name: str = "wait-gcs-ready") -> Object:
    """The status of an init container that runs."""
    return {"name": name, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "ready": False}


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Object:
    """A condition of a status."""
    return {"type": kind, "status": status, "reason": reason, "message": message}


def unscheduled(message: str, *, reason: str = "Unschedulable") -> list[Object]:
    """The conditions of a pod that has no node."""
    return [condition("PodScheduled", "False", reason, message)]


READY = [condition("PodScheduled", "True"), condition("Ready", "True")]


def asks(**requests: str) -> Object:
    """A pod's spec with one container that asks for resources; `gpu` is a whole GPU."""
    amounts = {"nvidia.com/gpu" if name == "gpu" else name: amount for name, amount in requests.items()}
    return {"containers": [{"name": "ray-head", "resources": {"requests": amounts}}]}


def event(
    reason: str, message: str, *, about: str = "Pod", name: str = "train-head-x7k2p", uid: str = "", **fields: Any
) -> Object:
    """A core/v1 event."""
    regarding = {"kind": about, "name": name, "uid": uid}
    return {"reason": reason, "message": message, "involvedObject": regarding, "type": "Warning", **fields}


def node(name: str, *, ready: str = "True", message: str = "", **allocatable: str) -> Object:
    """A node with what it can give to pods."""
    amounts = {"nvidia.com/gpu" if key == "gpu" else key: amount for key, amount in allocatable.items()}
    conditions = [condition("Ready", ready, "NodeStatusUnknown" if ready != "True" else "KubeletReady", message)]
    return {"metadata": {"name": name}, "status": {"allocatable": amounts, "conditions": conditions}}


def rayjob(*, status: Object | None = None, metadata: Object | None = None, **spec: Any) -> Object:
    """A RayJob named train."""
    whole: Object = {"metadata": {"name": "train", "uid": "uid-of-train", **(metadata or {})}, "spec": spec}
    return whole | ({"status": status} if status is not None else {})


def workload(*conditions: Object, **spec: Any) -> Object:
    """Kueue's Workload of the RayJob."""
    owners = [{"kind": "RayJob", "name": "train", "uid": "uid-of-train"}]
    metadata = {"name": "rayjob-train-1a2b3", "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"queueName": "team-a", **spec}, "status": {"conditions": list(conditions)}}


def pending(message: str, reason: str = "Pending") -> Object:
    """The condition by which Kueue says why a Workload waits."""
    return condition("QuotaReserved", "False", reason, message)


def service(*ports: str, name: str = "train-head-svc", **selector: str) -> Object:
    """A Service of the head."""
    metadata = {"name": name, "labels": {"ray.io/node-type": "head"}}
    return {"metadata": metadata, "spec": {"ports": [{"name": port} for port in ports], "selector": selector}}
