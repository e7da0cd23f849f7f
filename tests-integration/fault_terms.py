"""The words of the fault matrix: features, phases, faults, what a cell is, and what cells say more than once."""

from dataclasses import dataclass

JOB = "`KubeRayInteractiveJob`"
SHARED = "shared `KubeRayCluster`"
SENSOR = "cleanup sensor"
KUBE_PIPES = "`PipesKubeRayJobClient`"
PIPES = "`PipesRayJobClient`"
EXECUTOR = "`kuberay_executor`"
DRIVER = '`driver="cluster"`'

CREATE, WAIT, CONNECT, RUN, CLEANUP, SUBMIT, TICK = "create", "wait", "connect", "run", "cleanup", "submit", "tick"
PHASES: dict[str, tuple[str, ...]] = {
    JOB: (CREATE, WAIT, CONNECT, RUN, CLEANUP),
    SHARED: (CREATE, WAIT, CONNECT, RUN, CLEANUP),
    SENSOR: (TICK,),
    KUBE_PIPES: (CREATE, WAIT, SUBMIT, RUN, CLEANUP),
    PIPES: (SUBMIT, RUN, CLEANUP),
    EXECUTOR: (RUN,),
    DRIVER: (CREATE, WAIT, SUBMIT, RUN, CLEANUP),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong: its title in the documentation, and what is meant."""

    title: str
    text: str


SIGTERM = Fault(
    "SIGTERM",
    "The step's process is asked to end: a run is canceled, a pod is evicted, a spot node goes. A second signal "
    "during the cleanup waits until the cleanup is done. A `KubeRayCluster` of one step is deleted by the step, within "
    "20 s.",
)
SIGKILL = Fault(
    "SIGKILL",
    "The step's process ends at once: out of memory, a node that dies, a grace period that is over. Nothing of ours "
    'runs any more; Dagster finds the step dead by its executor or its run monitoring. With `driver="cluster"` the '
    "[body goes on](driver-in-the-cluster.md#when-something-ends-early), and the next attempt of the step follows it. "
    "Otherwise a `KubeRayCluster` of one step "
    "goes with the step's pod. If the pod does not own it, the sensor deletes it. In a run that has ended, the step "
    "must have been silent for 15 minutes; in a run that goes on, the cluster must be an hour old.",
)
BURST = Fault(
    "Bursts of 429, 500 and 503",
    "A server refuses calls for a while. Tried with 20 s, and 10 s in the cleanup.",
)
RESETS = Fault("Connections that break", "A server accepts connections and breaks them, or breaks those that are open.")
DROPPED = Fault("A watch that is dropped", "The API server ends a watch, or breaks it in the middle of a line.")
EXPIRED = Fault("A watch that has expired (410)", "The API server has forgotten the version that a watch goes on from.")
LOST = Fault(
    "An answer that is lost",
    "A call that changes something is carried out, and the connection breaks before the answer.",
)
REFUSED = Fault(
    "An answer that is lost, then a refusal",
    "The API server carries out the call that creates an object, and the answer is lost. The repetition is refused: by "
    "a quota that the first call has used up, by credentials that have expired, or by an admission webhook.",
)
FROZEN = Fault(
    "An operator that does nothing", "KubeRay's operator is down, or stuck, and does not come back meanwhile."
)
RESTARTED = Fault("An operator that is restarted", "KubeRay's operator is away for two minutes.")
HEAD = Fault("The head is killed", "The head's pod is deleted, evicted, or dies with its node.")
REQUEUED = Fault(
    "A queue takes the cluster back",
    "A queue admits a cluster, suspends it again because somebody else has priority, and admits it later. KubeRay "
    "deletes the RayCluster of a suspended `RayJob` and then makes another one under another name.",
)
SIDECAR = Fault(
    "A sidecar that crashes",
    "A container beside Ray in the head's pod, such as a log shipper, crashes again and again. The pod is never ready, "
    "and neither is the cluster for the operator, although Ray serves.",
)
CRASHES = Fault(
    "A head that crashes while it starts",
    "Ray's container ends, and the kubelet restarts it: at once the first time, then after 10, 20, 40 s and so on.",
)
REGISTRY = Fault(
    "An image that cannot be pulled",
    "The registry does not have it, does not allow it, or fails. The kubelet tries again after 10, 20, 40 s and so on.",
)
NO_SECRET = Fault(
    "A Secret that is missing",
    "A variable refers to a Secret, by `SecretRef` or in a pod template, that is not in the namespace of the pods. The "
    "kubelet looks for it again every few seconds.",
)
DENIED = Fault(
    "Pods that are refused",
    "The API server refuses the operator's head pod: an admission webhook denies it, the operator lacks a right, or a "
    "quota is smaller than the pod. The operator tries again, after 5 ms and then twice as long each time.",
)
DASHBOARD = Fault(
    "The dashboard is away for 60 s",
    "Ray's dashboard, which is the job server of Pipes, refuses connections for a minute.",
)
SERVER = Fault("The API server is away for 5 minutes", "Kubernetes answers every call with 503 for five minutes.")
SKEW = Fault(
    "Clocks that differ", "The clock of the step's machine is an hour before, or after, that of the API server."
)
DISK = Fault(
    "A disk that is full",
    "No byte of output can be written: on the step's side, or on the head's, where the dashboard then answers 500 for "
    "log files.",
)
COPY = Fault(
    "A copy of Dagster's database",
    "A dump of the database is restored for a second Dagster instance, whose cleanup sensor sees the same namespace. "
    "Both have one storage id; runs that began after the dump are unknown to the copy, and its run monitoring fails "
    "those that were in progress. A `KubeRayCluster` of one step is kept because its step renews an annotation.",
)
REDIRECT = Fault(
    "A redirect or a login page",
    "Something else answers in the API server's place, such as a proxy that wants a login.",
)
ROTATED = Fault(
    "Credentials that change",
    "A token file is replaced, an exec plug-in gives new credentials, or the kubeconfig has new ones; the old ones are "
    "refused.",
)

UPDATES = Fault(
    "Updates that are denied",
    "A policy or an admission webhook denies updates of RayJobs and RayClusters with 400 or 422. Requests that create "
    "or delete objects are accepted.",
)
TOGETHER = Fault(
    "The API server and Dagster's storage are away together",
    "For some seconds, Kubernetes answers no call and Dagster's database accepts no event. An event that Dagster "
    "itself writes during this time fails the step, whatever dagster-ray does.",
)
UNMEASURED = Fault(
    "Figures that cannot be read",
    "With [`hours`](hours.md), the API server refuses the list or the watch of pods, or Ray's dashboard does not "
    "answer.",
)
FAULTS = (
    SIGTERM, SIGKILL, BURST, RESETS, DROPPED, EXPIRED, LOST, REFUSED, FROZEN, RESTARTED, HEAD, REQUEUED, SIDECAR,
    CRASHES, REGISTRY, NO_SECRET, DENIED, DASHBOARD, SERVER, REDIRECT, ROTATED, SKEW, DISK, COPY, UPDATES, TOGETHER,
    UNMEASURED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """What one fault does to features in phases.

    Attributes:
        fault: The fault.
        where: The phases of each feature that it is about.
        sees: What the user sees: an error, or that the step goes on.
        cleaned: What is cleaned, by whom, and within how long.
        tests: The pytest node ids of what shows it.
        reason: Where there is no test: why nothing can happen or differ.
    """

    fault: Fault
    where: dict[str, tuple[str, ...]]
    sees: str
    cleaned: str = ""
    tests: tuple[str, ...] = ()
    reason: str = ""


# What cells say more than once

GOES_ON = "The step goes on, later by the time that the fault takes."
NOTICES_NOTHING = "Nothing."
UNCHANGED = "As without the fault."
BY_LOCK = "The sensor deletes the cluster `ttl_seconds` and a tick after the last renewal of the last lock."
BY_STEP = "The step deletes the `RayJob` within 20 s; its pods then have up to 30 s to end."
NO_KUBERNETES = "The client talks to a job server alone, and has made no cluster."
