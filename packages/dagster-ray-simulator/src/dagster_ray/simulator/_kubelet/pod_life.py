"""The life of one simulated pod, from scheduling to its end: a script that says how long to wait before it goes on."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from typing_extensions import Protocol

from dagster_ray.kuberay._kubernetes.fields import at, mappings
from dagster_ray.simulator._kubelet.back_off import back_off_seconds, duration
from dagster_ray.simulator._kubelet.nodes import Node
from dagster_ray.simulator._kubelet.pod_env import MissingConfigError, unschedulable_text
from dagster_ray.simulator._kubelet.pod_status import PodStage, pod_status, scheduled, unschedulable, waiting
from dagster_ray.simulator._operator.names import GROUP_LABEL, timestamp

PodKey: TypeAlias = tuple[str, str]
Script: TypeAlias = Generator[float, None, None]
NODE_NAME = "simulated-node"
_STARTING = 0.02
_POLL = 0.1
_WATCH = 0.5
_RETRY = 5.0
_NEXT_SYNC = 2.0  # as long as it takes until a kubelet looks at a pod again whose sandbox has just started
_GRACE_SECONDS = 30.0
_KILLED = 137


@dataclass(frozen=True, slots=True)
class PodTimes:
    """How long things take in a pod, in seconds.

    Attributes:
        slow_images: Seconds that pulling takes, by a part of the image's name; other images are there already.
        slow_groups: The same by the name of a pod's group; `headgroup` is the head's.
        missing_images: Parts of names of images that cannot be pulled.
        pull_errors: What pulls of an image fail with, one after the other, before one succeeds; by a part of its name.
        pull_seconds: Until a pull has failed.
        image_backoff_seconds: Back-off after the first pull that failed; doubled each time, at most five minutes.
        probe_grid_seconds: Delay and period of the readiness probe, counted from the pod's admission; None makes a pod
            ready as soon as what it runs is.
        restart_backoff_seconds: Back-off before a container that has crashed for the second time is started again; the
            first time that is at once. Doubled each time, at most five minutes.
    """

    slow_images: Mapping[str, float] = field(default_factory=dict[str, float])
    slow_groups: Mapping[str, float] = field(default_factory=dict[str, float])
    missing_images: tuple[str, ...] = ("missing",)
    pull_errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    pull_seconds: float = 0.8
    image_backoff_seconds: float = 10.0
    probe_grid_seconds: tuple[float, float] | None = None
    restart_backoff_seconds: float = 10.0

    def pull_error(self, image: str, failures: int) -> str | None:
        """What the next pull of an image fails with, after a number of failures; None if it succeeds."""
        if any(part in image for part in self.missing_images):
            full = pulled_reference(image)
            found = f'rpc error: code = NotFound desc = failed to pull and unpack image "{full}": '
            return f'{found}failed to resolve reference "{full}": {full}: not found'
        texts = next((texts for part, texts in self.pull_errors.items() if part in image), ())
        return texts[failures] if failures < len(texts) else None

    def pull(self, image: str, group: str) -> float:
        """How long pulling this image takes in a pod of this group."""
        slow = next((seconds for part, seconds in self.slow_images.items() if part in image), 0.0)
        return max(slow, self.slow_groups.get(group, 0.0))


def pulled_reference(image: str) -> str:
    """Return the name that a container runtime pulls an image by.

    A first part with a dot or a colon, or `localhost`, is a registry; anything else is of Docker Hub
    (github.com/distribution/reference, normalize.go).
    """
    first, slash, _ = image.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    full = image if has_registry else f"docker.io/{image}" if slash else f"docker.io/library/{image}"
    last = full.rpartition("/")[2]
    return full if ":" in last or "@" in last else f"{full}:latest"


class PodHost(Protocol):
    """What a pod's life needs from the kubelet."""

    times: PodTimes

    def now(self) -> datetime:
        """The time."""
        ...

    def read(self, key: PodKey) -> dict[str, Any] | None:
        """The pod as it is stored."""
        ...

    def write(self, key: PodKey, status: Mapping[str, Any], node_name: str | None = None) -> None:
        """Write the pod's status, and its node."""
        ...

    def tell(self, key: PodKey, reason: str, message: str, *, warning: bool = False, scheduler: bool = False) -> None:
        """Write an event about the pod."""
        ...

    def lacking(self, pod: Mapping[str, Any]) -> tuple[str, ...]:
        """The resources that the node has too little of for the pod."""
        ...

    def make_node(self, pod: Mapping[str, Any]) -> Node:
        """What the pod runs; raises MissingConfigError."""
        ...

    def head_gcs_open(self, pod: Mapping[str, Any]) -> bool:
        """Whether the head of the pod's cluster can be joined."""
        ...

    def crashes(self, image: str) -> bool:
        """Whether a container of this image ends at once."""
        ...

    def is_worker(self, pod: Mapping[str, Any]) -> bool:
        """Whether the pod is a Ray worker."""
        ...

    def remove(self, key: PodKey) -> None:
        """Take the pod away."""
        ...


class PodLife:
    """One pod.

    Args:
        key: Namespace and name.
        uid: The pod's uid.
        host: The kubelet.
    """

    def __init__(self, key: PodKey, uid: str, host: PodHost) -> None:
        self.key = key
        self.uid = uid
        self.node: Node | None = None
        self.dying = False
        self.previous_log = ""
        self._host = host
        self._stage = PodStage("Pending", waiting("ContainerCreating"))
        self._admitted = host.now()
        self._script: Script = self._live()

    def step(self) -> float | None:
        """Go on; seconds until the next step, None at the end."""
        return next(self._script, None)

    def die(self) -> None:
        """End the pod: it was deleted."""
        self.dying = True
        self._script = self._end()

    def _put(self, **changes: Any) -> None:
        self._stage = replace(self._stage, **changes)
        pod = self._host.read(self.key)
        if pod is not None:
            self._host.write(self.key, pod_status(pod, self._stage, self._moment()))

    def _moment(self) -> str:
        return timestamp(self._host.now())

    def _live(self) -> Script:
        yield from self._schedule()
        self._admitted = self._host.now()
        pod = self._host.read(self.key)
        if pod is None:
            return
        worker = self._host.is_worker(pod)
        if worker:
            self._put(initialised=False, container=waiting("PodInitializing"))
        else:
            self._put()
        yield _STARTING
        image = str(mappings(at(pod, "spec", "containers"))[0].get("image") or "")
        if worker:
            yield from self._initialise(pod, image)
        yield from self._pull(image)
        yield from self._prepare(pod)
        yield from self._run(image)

    def _schedule(self) -> Script:
        told = False
        while True:
            pod = self._host.read(self.key)
            if pod is None:
                return
            lacking = self._host.lacking(pod)
            if not lacking:
                break
            if not told:
                text = unschedulable_text(lacking)
                self._host.write(self.key, unschedulable(text, self._moment()))
                self._host.tell(self.key, "FailedScheduling", text, warning=True, scheduler=True)
                told = True
            yield _RETRY
        self._host.write(self.key, scheduled(self._moment()), NODE_NAME)
        text = f"Successfully assigned {'/'.join(self.key)} to {NODE_NAME}"
        self._host.tell(self.key, "Scheduled", text, scheduler=True)
        yield _STARTING

    def _initialise(self, pod: Mapping[str, Any], image: str) -> Script:
        """Run wait-gcs-ready: until the head can be joined."""
        self._tell_start(image)
        self._make_node(pod)
        started = self._moment()
        self._put(init={"running": {"startedAt": started}}, ip=self.node.ip if self.node else None)
        while not self._host.head_gcs_open(pod):
            yield _POLL
        done = {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": self._moment()}
        self._stage = replace(self._stage, init={"terminated": done}, initialised=True)

    def _pull(self, image: str) -> Script:
        times = self._host.times
        failures = 0
        while (text := times.pull_error(image, failures)) is not None:
            self._host.tell(self.key, "Pulling", f'Pulling image "{image}"')
            yield times.pull_seconds
            self._host.tell(self.key, "Failed", f'Failed to pull image "{image}": {text}', warning=True)
            self._host.tell(self.key, "Failed", "Error: ErrImagePull", warning=True)
            pod = self._host.read(self.key)
            if pod is not None:
                self._make_node(pod)
            self._put(container=waiting("ErrImagePull", text), ip=self.node.ip if self.node else None)
            failures += 1
            seconds = back_off_seconds(times.image_backoff_seconds, failures)
            yield min(_NEXT_SYNC, seconds / 2)
            self._host.tell(self.key, "BackOff", f'Back-off pulling image "{image}"')
            self._host.tell(self.key, "Failed", "Error: ImagePullBackOff", warning=True)
            backoff = f'Back-off pulling image "{image}": ErrImagePull: {text}'
            self._put(container=waiting("ImagePullBackOff", backoff))
            yield seconds  # what is over is noticed as late as what begins
        pod = self._host.read(self.key)
        if seconds := times.pull(image, str(at(pod, "metadata", "labels", GROUP_LABEL) or "")):
            if pod is not None:
                self._make_node(pod)
            self._put(ip=self.node.ip if self.node else None)
            self._host.tell(self.key, "Pulling", f'Pulling image "{image}"')
            yield seconds

    def _prepare(self, pod: Mapping[str, Any]) -> Script:
        """Wait until the container's Secrets and ConfigMaps are there."""
        while self.node is None:
            try:
                self.node = self._host.make_node(pod)
            except MissingConfigError as error:
                self._host.tell(self.key, "Failed", f"Error: {error}", warning=True)
                self._put(container=waiting("CreateContainerConfigError", str(error)))
                yield _RETRY

    def _make_node(self, pod: Mapping[str, Any]) -> None:
        if self.node is None:
            try:
                self.node = self._host.make_node(pod)
            except MissingConfigError:
                return

    def _tell_start(self, image: str) -> None:
        there = f'Container image "{image}" already present on machine and can be accessed by the pod'
        for reason, text in (("Pulled", there), ("Created", "Container created"), ("Started", "Container started")):
            self._host.tell(self.key, reason, text)

    def _run(self, image: str) -> Script:
        while self.node is not None:
            self._tell_start(image)
            started = self._moment()
            self.node.start()
            state = {"running": {"startedAt": started}}
            sidecars = mappings(at(self._host.read(self.key), "spec", "containers"))[1:]
            crashing = tuple(str(one.get("name")) for one in sidecars if self._host.crashes(str(one.get("image"))))
            self._put(phase="Running", container=state, ip=self.node.ip, ready=False, crashing=crashing)
            yield from self._become_ready(self.node)
            while self.node.exit_code is None:
                yield _WATCH
                self.node.poll()
            code = self.node.exit_code
            reason = "Error" if code else "Completed"
            ended = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": self._moment()}
            yield from self._restart({"terminated": ended})

    def _become_ready(self, node: Node) -> Script:
        ticks = self._host.times.probe_grid_seconds
        if ticks is not None:
            yield max((self._admitted + timedelta(seconds=ticks[0]) - self._host.now()).total_seconds(), 0.0)
        while node.exit_code is None:
            node.poll()
            if node.ready:
                self._put(ready=True)
                return
            yield _POLL if ticks is None else ticks[1]

    def _restart(self, ended: Mapping[str, Any]) -> Script:
        pod = self._host.read(self.key)
        policy = at(pod, "spec", "restartPolicy") or "Always"
        code = ended["terminated"]["exitCode"]
        self.previous_log = self.node.log() if self.node else ""
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            self._put(phase="Failed" if code else "Succeeded", container=ended, ready=False, ended=True)
            while True:
                yield _WATCH * 100
        crashes = self._stage.restarts + 1
        if crashes > 1:
            yield from self._back_off(pod, ended, crashes - 1)
        else:
            self._put(container=ended, ready=False)
            yield _STARTING
        self._stage = replace(self._stage, last=ended, restarts=crashes)

    def _back_off(self, pod: Mapping[str, Any] | None, ended: Mapping[str, Any], failures: int) -> Script:
        """Wait as long as a container that crashes again and again has to."""
        container = mappings(at(pod, "spec", "containers"))[0].get("name") if pod else ""
        where = f"{self.key[1]}_{self.key[0]}({self.uid})"
        seconds = back_off_seconds(self._host.times.restart_backoff_seconds, failures)
        text = f"back-off {duration(seconds)} restarting failed container={container} pod={where}"
        self._host.tell(
            self.key, "BackOff", f"Back-off restarting failed container {container} in pod {where}", warning=True
        )
        self._put(container=waiting("CrashLoopBackOff", text), last=ended, ready=False)
        yield seconds

    def _end(self) -> Script:
        """Stop what runs, within the grace period, and take the pod away."""
        running = self._stage.container.get("running")
        node = self.node
        if "running" in (self._stage.init or {}):
            self._host.tell(self.key, "Killing", "Stopping container wait-gcs-ready")
        if running is not None and node is not None:
            pod = self._host.read(self.key)
            container = mappings(at(pod, "spec", "containers"))[0].get("name") if pod else ""
            self._host.tell(self.key, "Killing", f"Stopping container {container}")
            grace = at(pod, "metadata", "deletionGracePeriodSeconds")
            node.stop(_GRACE_SECONDS if grace is None else float(grace))
            node.poll()
            while node.exit_code is None:
                yield _POLL
                node.poll()
            started = running["startedAt"]
            ended = {"exitCode": _KILLED, "reason": "Error", "startedAt": started, "finishedAt": self._moment()}
            self._put(phase="Failed", container={"terminated": ended}, ready=False, ended=True)
            yield _STARTING
        if node is not None:
            node.close()
        self._host.remove(self.key)
