"""Situations of pods: images, containers, volumes, scheduling and nodes.

Each table names the source of its texts; names and numbers in them are those of this folder's objects.
"""

from typing import Any

from diagnosis_objects import (
    READY,
    Case,
    Object,
    asks,
    condition,
    container,
    event,
    init_container,
    node,
    pod,
    unscheduled,
)


def _image(message: str, reason: str = "ErrImagePull", **more: Any) -> dict[str, Any]:
    return {"pods": [pod("head", container(waiting=(reason, message)))], **more}


def _waits(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"pods": [pod("head", container(waiting=(reason, message), **more))]}


def _told(*events: Object, **status: Any) -> dict[str, Any]:
    return {"pods": [pod("head", **status)], "events": list(events)}


_REFERENCE = 'failed to pull and unpack image "docker.io/rayproject/ray:2.60.0": failed to resolve reference'
_LOST = "Kubelet stopped posting node status."
_PULL_SECRET = "pull access denied, repository does not exist or may require authorization: server message"

# pkg/kubelet/images/{types,image_manager}.go; the rest of the messages is containerd's and the registry's.
IMAGES: dict[str, Case] = {
    "no such tag": Case(
        "image-not-found",
        _image(f'rpc error: code = NotFound desc = {_REFERENCE} "docker.io/rayproject/ray:2.60.0": not found'),
        ("docker.io/rayproject/ray:2.60.0", "container ray-head of pod train-head-x7k2p", "not found"),
        fatal=True,
    ),
    "the registry wants credentials": Case(
        "image-unauthorized",
        _image(f"rpc error: code = Unknown desc = {_PULL_SECRET}: insufficient_scope: authorization failed"),
        ("pull access denied",),
        fatal=True,
        remedy="imagePullSecrets",
    ),
    "the Secret for the registry is missing": Case(
        "image-unauthorized",
        _image(
            "pull access denied",
            events=[event("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (regcred)")],
        ),
        ("pull access denied; Unable to retrieve some image pull secrets (regcred)",),
        fatal=True,
    ),
    "the registry is away": Case(
        "image-unreachable",
        _image('failed to do request: Head "https://r/v2/forbidden": dial tcp 10.0.0.1:443: connection refused'),
        ("connection refused",),
    ),
    "a name server does not know the registry": Case(
        "image-unreachable", _image("dial tcp: lookup r.example on 10.96.0.10:53: no such host"), ("no such host",)
    ),
    "the registry has had enough": Case(
        "image-rate-limit",
        _image("toomanyrequests: You have reached your unauthenticated pull rate limit.", "ImagePullBackOff"),
        ("pull rate limit",),
    ),
    "the image is for other processors": Case(
        "image-platform", _image("no match for platform in manifest: not found"), ("no match for platform",), fatal=True
    ),
    "not an image's name": Case(
        "image-name",
        _image('Failed to apply default image tag "Ray:2": couldn\'t parse image name "Ray:2"', "InvalidImageName"),
        ("couldn't parse image name",),
        fatal=True,
    ),
    "never pulled": Case(
        "image-never-pull",
        _image('Container image "ray:2.60" is not present with pull policy of Never', "ErrImageNeverPull"),
        ("pull policy of Never",),
        fatal=True,
    ),
    "the node's disk is full": Case(
        "disk-full", _image("failed to copy: write /var/lib/x: no space left on device"), ("no space left",)
    ),
    "an old kubelet backs off and does not say why": Case(
        "image-pull", _image('Back-off pulling image "ray:2.60"', "ImagePullBackOff"), ("Back-off pulling",)
    ),
    "a name that sounds like a refusal": Case(
        "image-pull", _image('failed to pull "r.example/forbidden/ray": unknown blob'), ("unknown blob",)
    ),
    "an old kubelet backs off, and the event says why": Case(
        "image-not-found",
        _image(
            'Back-off pulling image "ray:2.60"',
            "ImagePullBackOff",
            events=[event("Failed", 'Failed to pull image "ray:2.60": manifest unknown')],
        ),
        ("manifest unknown",),
        fatal=True,
    ),
}

_CRASH = {"exitCode": 127, "reason": "Error"}
_OOM = {"exitCode": 137, "reason": "OOMKilled"}
_MISMATCH = (
    "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.14\n"
    "This process on node 10.1.2.3 was started with:\n    Ray: 2.59.1\n    Python: 3.11.9\n"
)
_LIMIT = {"containers": [{"name": "ray-head", "resources": {"limits": {"memory": "4Gi"}}}]}

# pkg/kubelet/container/sync_result.go, pkg/kubelet/kuberuntime/kuberuntime_container.go, pkg/kubelet/kubelet_pods.go,
# pkg/kubelet/prober/prober.go; Ray's _private/utils.py for the version mismatch.
CONTAINERS: dict[str, Case] = {
    "the container ends again and again": Case(
        "container",
        {
            **_waits("CrashLoopBackOff", "back-off 5m0s restarting failed container=ray-head", last=_CRASH, restarts=6),
            "logs": {"train-head-x7k2p": "starting\n\nbash: line 1: ray: command not found\n"},
        },
        ("exit code 127 (command not found)", "restarted 6 times"),
        fatal=True,
    ),
    "the command cannot be run": Case(
        "container",
        _waits("RunContainerError", 'exec: "/bin/bash": stat /bin/bash: no such file or directory'),
        ("no such file",),
        fatal=True,
    ),
    "the container was started again": Case(
        "container",
        {"pods": [pod("head", container(running=True, last={"exitCode": 1, "reason": "Error"}, restarts=1))]},
        ("exit code 1,", "restarted once"),
    ),
    "killed for want of memory, again and again": Case(
        "out-of-memory",
        {"pods": [pod("head", container(waiting=("CrashLoopBackOff", "b"), last=_OOM, restarts=3), spec=_LIMIT)]},
        ("want of memory", "its limit is 4Gi", "exit code 137, restarted 3 times"),
        fatal=True,
    ),
    "killed for want of memory once": Case(
        "out-of-memory",
        {"pods": [pod("head", container(running=True, last=_OOM, restarts=1))]},
        ("want of memory",),
    ),
    "a worker of another Ray": Case(
        "version-mismatch",
        {
            "pods": [pod("worker", container(name="ray-worker", waiting=("CrashLoopBackOff", "b"), last=_CRASH))],
            "logs": {"train-worker-x7k2p": _MISMATCH},
        },
        ("runs Ray 2.59.1 with Python 3.11.9", "its head Ray 2.60.0 with Python 3.11.14"),
        remedy="one image",
    ),
    "a Secret is missing": Case(
        "secret-missing", _waits("CreateContainerConfigError", 'secret "s3" not found'), ('secret "s3" not found',)
    ),
    "a ConfigMap is missing": Case(
        "config-map-missing", _waits("CreateContainerConfigError", 'configmap "c" not found'), ('configmap "c"',)
    ),
    "a key is missing": Case(
        "key-missing", _waits("CreateContainerConfigError", "couldn't find key k in Secret ray/s3"), ("key k",)
    ),
    "the image runs as root": Case(
        "runs-as-root",
        _waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: ...)"),
        ("runAsNonRoot",),
        fatal=True,
    ),
    "another error of the configuration": Case(
        "container-config", _waits("CreateContainerError", "context deadline exceeded"), ("context deadline",)
    ),
    "the image has no wget": Case(
        "probe-without-wget",
        _told(event("Unhealthy", "Readiness probe failed: bash: line 1: wget: command not found"), phase="Running"),
        ("calls wget",),
        fatal=True,
        remedy="wget",
    ),
    "a probe fails again and again": Case(
        "probe-failing",
        _told(event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", count=9)),
        ("9 failed probes", "503"),
    ),
    "the liveness probe has killed the container": Case(
        "probe-failing",
        _told(event("Killing", "Container ray-head failed liveness probe, will be restarted")),
        ("failed liveness probe",),
    ),
    "a worker does not reach its head": Case(
        "worker-waits-for-head",
        {"pods": [pod("head", conditions=READY), pod("worker", initContainerStatuses=[init_container()])]},
        ("worker train-worker-x7k2p", "head train-head-x7k2p, which is ready"),
        remedy="6379",
    ),
    "no network": Case(
        "pod-network",
        _told(event("FailedCreatePodSandBox", 'Failed to create pod sandbox: plugin type="cni" failed: no IP')),
        ("no IP",),
    ),
}

_CLAIM = {"containers": [], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
_DATA: Object = {
    "metadata": {"name": "data"},
    "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "100Gi"}}},
    "status": {"phase": "Pending"},
}

# pkg/volume/util/operationexecutor, pkg/kubelet/volumemanager, pkg/controller/volume/{attachdetach,persistentvolume}.
VOLUMES: dict[str, Case] = {
    "a volume cannot be mounted": Case(
        "volume-mount",
        _told(
            event("FailedMount", 'MountVolume.SetUp failed for volume "nfs" : mount failed: exit status 32'),
            event("FailedMount", "Unable to attach or mount volumes: timed out waiting for the condition", count=2),
        ),
        ("exit status 32",),
    ),
    "a volume's Secret is missing": Case(
        "secret-missing", _told(event("FailedMount", 'MountVolume.SetUp failed : secret "tls" not found')), ('"tls"',)
    ),
    "a volume is held elsewhere": Case(
        "volume-attach",
        _told(event("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1" Volume is already used by old')),
        ("Multi-Attach",),
        remedy="ReadWriteMany",
    ),
    "a claim does not exist": Case(
        "claim-missing", {"pods": [pod("head", spec=_CLAIM)], "claims": []}, ("PersistentVolumeClaim data",)
    ),
    "a claim waits for its volume": Case(
        "claim-pending",
        {
            "pods": [pod("head", spec=_CLAIM)],
            "claims": [_DATA],
            "events": [
                event("ProvisioningFailed", 'storageclass "fast" not found', about="PersistentVolumeClaim", name="data")
            ],
        },
        ("data of 100Gi of storage class fast, which is Pending", 'storageclass "fast" not found'),
    ),
    "the scheduler misses a claim": Case(
        "claim-missing",
        {
            "pods": [
                pod(
                    "head",
                    conditions=unscheduled(
                        '0/3 nodes are available: persistentvolumeclaim "data" not found. preemption: 0/3 nodes.'
                    ),
                )
            ]
        },
        ('persistentvolumeclaim "data" not found',),
    ),
    "the scheduler waits for a claim": Case(
        "claim-pending",
        {
            "pods": [
                pod(
                    "head",
                    conditions=unscheduled(
                        "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
                    ),
                )
            ]
        },
        ("unbound immediate",),
    ),
}

_CPU = "0/12 nodes are available: 3 Insufficient cpu, 9 node(s) had untolerated taint {gpu: only}. preemption: 0/12 n."
_NODES = [node("small", cpu="8", memory="32Gi"), node("large", cpu="32", memory="128Gi")]


def _homeless(message: str, *events: Object, **requests: str) -> dict[str, Any]:
    return {"pods": [pod("head", conditions=unscheduled(message), spec=asks(**requests))], "events": list(events)}


# pkg/scheduler/framework/types.go (FitError) and its plug-ins; cluster-autoscaler/processors/status/
# eventing_scale_up_processor.go and core/scaleup; Karpenter's pkg/controllers/provisioning/scheduling/events.go.
SCHEDULING: dict[str, Case] = {
    "too little of a resource": Case(
        "unschedulable-resources",
        _homeless(_CPU, cpu="64"),
        ("needs 64 CPU; it fits no node", "3 Insufficient cpu, 9 node(s) had untolerated taint {gpu: only}"),
    ),
    "too little of a resource, with the nodes' sizes": Case(
        "unschedulable-resources",
        {**_homeless(_CPU, cpu="64"), "nodes": _NODES},
        ("needs 64 CPU (the largest of 2 nodes has 32)",),
    ),
    "too little memory and too few GPUs": Case(
        "unschedulable-resources",
        {
            **_homeless(
                "0/2 nodes are available: 1 Insufficient memory, 2 Insufficient nvidia.com/gpu.",
                memory="160Gi",
                gpu="1",
            ),
            "nodes": _NODES,
        },
        ("160Gi memory (the largest of 2 nodes has 128Gi) and 1 GPU (nvidia.com/gpu) (the largest of 2 nodes has 0)",),
    ),
    "taints": Case(
        "unschedulable-taints",
        _homeless("0/2 nodes are available: 2 node(s) had untolerated taint {gpu: only}."),
        ("{gpu: only}",),
        remedy="tolerations",
    ),
    "selectors": Case(
        "unschedulable-affinity",
        _homeless("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
        ("node affinity/selector",),
        remedy="nodeSelector",
    ),
    "cordoned": Case(
        "unschedulable", _homeless("0/2 nodes are available: 2 node(s) were unschedulable."), ("were unschedulable",)
    ),
    "no nodes at all": Case("unschedulable", _homeless("no nodes available to schedule pods"), ("no nodes available",)),
    "a gate": Case(
        "scheduling-gated",
        {
            "pods": [
                pod(
                    "head",
                    conditions=unscheduled("blocked", reason="SchedulingGated"),
                    spec={"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]},
                )
            ]
        },
        ("kueue.x-k8s.io/admission",),
    ),
    "a node is on its way": Case(
        "scaling-up",
        _homeless(_CPU, event("TriggeredScaleUp", "pod triggered scale-up: [{pool-1 1->2 (max: 5)}]"), cpu="16"),
        ("needs 16 CPU", "1->2 (max: 5)"),
    ),
    "Karpenter has a node in mind": Case(
        "scaling-up", _homeless(_CPU, event("Nominated", "Pod should schedule on: nodeclaim/d-1")), ("nodeclaim/d-1",)
    ),
    "the autoscaler has reached its end": Case(
        "no-scale-up",
        _homeless(
            _CPU,
            event("TriggeredScaleUp", "pod triggered scale-up", lastTimestamp="2026-01-01T00:00:00Z"),
            event(
                "NotTriggerScaleUp",
                "pod didn't trigger scale-up: 2 max node group size reached",
                lastTimestamp="2026-01-01T00:05:00Z",
            ),
        ),
        ("3 Insufficient cpu", "max node group size reached"),
    ),
    "the cloud has no more": Case(
        "no-scale-up", _homeless(_CPU, event("FailedScaleUp", "Node scale up failed: GCE out of resources.")), ("GCE",)
    ),
    "Karpenter has no such node": Case(
        "no-scale-up",
        _homeless(_CPU, event("FailedScheduling", 'Failed to schedule pod, incompatible with nodepool "d", no type')),
        ('nodepool "d"',),
    ),
}

# pkg/util/node/node.go, pkg/kubelet/{eviction,preemption,nodeshutdown}, pkg/apis/core/types.go (DisruptionTarget).
NODES: dict[str, Case] = {
    "the node does not answer": Case(
        "node-lost",
        _told(reason="NodeLost", message="Node n1 which was running pod train-head-x7k2p is unresponsive"),
        ("unresponsive",),
    ),
    "the node is not ready": Case(
        "node-lost",
        {"pods": [pod("head", spec={"nodeName": "n1"})], "nodes": [node("n1", ready="Unknown", message=_LOST)]},
        ("on node n1, which is not ready", _LOST),
    ),
    "the node is gone": Case(
        "node-lost", {"pods": [pod("head", spec={"nodeName": "n1"})], "nodes": [node("n2")]}, ("the node is gone",)
    ),
    "a kubelet has less than the scheduler believed": Case(
        "unschedulable-resources",
        _told(reason="OutOfcpu", message="Pod was rejected: Node didn't have enough resource: cpu, requested: 4000"),
        ("enough resource: cpu",),
    ),
    "evicted": Case(
        "evicted",
        _told(reason="Evicted", message="The node was low on resource: memory. Threshold quantity: 100Mi"),
        ("low on resource: memory",),
    ),
    "a pod that filled more disk than its own limit": Case(
        "out-of-storage",
        _told(reason="Evicted", message="Pod ephemeral local storage usage exceeds the total limit of containers 1Gi."),
        ("exceeds the total limit of containers 1Gi",),
        remedy="Raise the limit of `ephemeral-storage`",
    ),
    "drained": Case(
        "evicted",
        _told(conditions=[condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")]),
        ("is taken away", "evicting"),
    ),
    "preempted": Case(
        "preempted",
        _told(conditions=[condition("DisruptionTarget", "True", "PreemptionByScheduler", "scheduler: preempting")]),
        ("preempting",),
    ),
    "the node shuts down": Case(
        "preempted",
        _told(reason="Terminated", message="Pod was terminated in response to imminent node shutdown."),
        ("imminent node shutdown",),
    ),
}
