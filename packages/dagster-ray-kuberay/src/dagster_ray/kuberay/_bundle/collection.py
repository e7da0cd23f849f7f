"""Reads what is known of a failure, part by part: what cannot be read is named, and costs nothing but itself."""

import http.client
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlencode

from dagster_ray.core import DagsterRayError, Deadline, identity_of
from dagster_ray.core.failures.causes import Failure
from dagster_ray.kuberay._bundle.collected import About, Collected, ContainerLog
from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, is_head
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._head.dashboard import Metadata, fetch, read_answer
from dagster_ray.kuberay._kubernetes.errors import UnavailableError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, json_of, mapping, mappings, name_of, text, time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_READ_SECONDS = 6.5
_PART_SECONDS = 2.5
_MOST_LOGS = 6
_LOG_LINES = 500
_LIMIT_BYTES = 1_000_000
_MOST_ROWS = 100
# A worker reports its tasks to the head once a second (RAY_task_events_report_interval_ms).
_REPORT_SECONDS = 1.2
_PACKAGES = ("dagster", "dagster-ray-kuberay", "ray")
_VERSION_ANNOTATION = "ray.io/kuberay-version"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Driver:
    """Where the driver of the step was.

    Attributes:
        job_id: Ray's id of a driver in the step; None: it is in the cluster, or there was none.
        submission_id: The id of the Ray job; None: the driver was in the step.
        in_cluster: Whether it was to be in the cluster.
    """

    job_id: str | None = None
    submission_id: str | None = None
    in_cluster: bool = False

    @property
    def sentence(self) -> str:
        """Where it was, for people."""
        if not self.in_cluster:
            return "in the step's own process, so its output is in the step's compute log"
        return f"the Ray job {self.submission_id}" if self.submission_id else "to be a Ray job, which was not submitted"


class Collection:
    """Reads the facts about one failure."""

    def __init__(self, step: "StepCluster", driver: Driver, deadline: Deadline) -> None:
        """Take the cluster and its driver; nothing is read yet.

        Args:
            step: The cluster of the step.
            driver: Its driver.
            deadline: Ends the reads, with some seconds left for writing.
        """
        self._step, self._driver = step, driver
        self._deadline = Deadline(min(_READ_SECONDS, deadline.remaining_seconds()))
        self._unread: dict[str, str] = {}
        self._silent: dict[str, str] = {}
        """Why the head, or the API server, does not answer: nothing more is asked of it."""

    def facts(self, target: str, failures: Sequence[Failure], secrets: Iterable[str]) -> Collected:
        """Return what can be read.

        Args:
            target: The cluster, for people.
            failures: The steps that failed.
            secrets: Values that nobody may read.
        """
        rows = self._failed(failures)
        driver_log = (
            self._part("the driver's log", self._driver_log, None, "head") if self._driver.submission_id else None
        )
        found, diagnosis = self._objects()
        logs = [log for pod in _telling(found.pods)[:_MOST_LOGS] for log in self._logs(pod)]
        own = self._step.own
        return Collected(
            about=self._about(target, found),
            failures=failures,
            rayjob=found.rayjob,
            raycluster=found.raycluster,
            pods=found.pods,
            events=found.events,
            workloads=[one for one in found.workloads or () if own is not None and _is_of(one, own.name)],
            diagnosis=diagnosis,
            logs=logs,
            driver_log=driver_log,
            tasks=rows[0],
            actors=rows[1],
            unread=self._unread,
            secrets=frozenset({*secrets, *((self._step.token,) if self._step.token else ())}),
        )

    def _part(self, name: str, read: Callable[[Deadline], T], otherwise: T, of: str = "Kubernetes") -> T:
        """Read one part of what the head or Kubernetes knows; what is raised becomes the reason why it is missing."""
        why = "no time was left" if self._deadline.is_over() else self._silent.get(of)
        if why is not None:
            self._unread[name] = why
            return otherwise
        try:
            return read(Deadline(min(_PART_SECONDS, self._deadline.remaining_seconds())))
        except Exception as error:  # noqa: BLE001 - each part fails alone, whatever it raises
            said = error.problem if isinstance(error, DagsterRayError) else f"{type(error).__name__}: {error}"
            self._unread[name] = said
            if isinstance(error, (OSError, http.client.HTTPException, UnavailableError)):
                self._silent[of] = said
            return otherwise

    # Kubernetes

    def _objects(self) -> tuple[Facts, Diagnosis | None]:
        own = self._step.own
        if own is None:
            self._unread["Kubernetes objects"] = "the step has no RayJob or RayCluster"
            return Facts(), None
        evidence = Evidence(self._step.api, own, self._step.log)
        manifest = self._part(f"the {own.kind.kind}", self._own, own.manifest)
        cluster = self._step.cluster_name or text(manifest, "status", "rayClusterName") or None
        name = cluster if own.kind is RAYJOBS else own.name
        head = (self._step.head_pod,) if self._step.head_pod else ()
        asked = Question(manifest, name, is_queued=_is_suspended(manifest), pods=head)
        nothing = Facts(rayjob=manifest) if own.kind is RAYJOBS else Facts(raycluster=manifest)
        found = self._part("Kubernetes objects", lambda deadline: evidence.gathered(asked, deadline), nothing)
        diagnosis = self._part("the diagnosis", lambda deadline: evidence.explained(found, deadline), None)
        self._unread |= evidence.unread
        return found, diagnosis

    def _own(self, deadline: Deadline) -> Manifest:
        own = self._step.made
        return self._step.api.get(own.kind, own.namespace, own.name, deadline)

    def _logs(self, pod: Manifest) -> Iterator[ContainerLog]:
        name = name_of(pod)
        restarted = {
            text(status, "name")
            for status in mappings(at(pod, "status", "containerStatuses"))
            if status.get("restartCount") or at(status, "lastState", "terminated")
        }
        started = {
            text(status, "name") for status in mappings(at(pod, "status", "containerStatuses")) if _began(status)
        }
        for container in started:
            for previous in (False, True) if container in restarted else (False,):
                what = f"the log of {name}, container {container}" + (", before its restart" if previous else "")
                said = self._part(what, lambda d, c=container, p=previous: self._log(name, c, p, d), "")
                yield ContainerLog(name, container, said, previous)

    def _log(self, pod: str, container: str, previous: bool, deadline: Deadline) -> str:
        return self._step.api.pod_log(
            self._step.made.namespace,
            pod,
            deadline,
            container=container,
            previous=previous,
            tail_lines=_LOG_LINES,
            limit_bytes=_LIMIT_BYTES,
        )

    # The head

    def _ask(self, path: str, deadline: Deadline) -> bytes:
        route = self._step.route
        url = route.dashboard_url if route is not None else None
        if url is None:
            raise LookupError("the head was not reached")
        status, body = fetch(url, path, self._step.token, deadline.remaining_seconds(), _LIMIT_BYTES)
        if status != 200:
            raise LookupError(f"the dashboard answered {status}: {body[:200].decode(errors='replace')}")
        return body

    def _failed(self, failures: Sequence[Failure]) -> tuple[list[Manifest], list[Manifest]]:
        """Return failed tasks and dead actors of this step. On a cluster of its own they are all that there are."""
        job_id, is_shared = self._driver.job_id, self._step.is_shared
        if job_id is None and is_shared and self._driver.submission_id is not None:
            job_id = self._part("the job's id in Ray", self._submitted_job, None, "head")
        if job_id is None and is_shared:
            why = "the job's id in Ray is not known, and the cluster has tasks of other steps"
            self._unread |= dict.fromkeys(("Ray's tasks", "Ray's actors"), why)
            return [], []
        return self._rows("tasks", failures, job_id), self._rows("actors", (), job_id)

    def _submitted_job(self, deadline: Deadline) -> str | None:
        """Return Ray's id of the job that was submitted; None if it has not come as far as a driver."""
        return text(self._submitted(deadline), "job_id") or None

    def _submitted(self, deadline: Deadline) -> Manifest:
        return mapping(json_of(self._ask(f"/api/jobs/{self._driver.submission_id}", deadline)))

    def _rows(self, resource: str, failures: Sequence[Failure], job_id: str | None) -> list[Manifest]:
        """Return failed tasks, or dead actors. A task that has just failed may not be known yet."""
        state = "FAILED" if resource == "tasks" else "DEAD"
        filters = [("state", "=", state)]
        if job_id is not None:
            filters.append(("job_id", "=", job_id))
        query = [("detail", "true"), ("limit", str(_MOST_ROWS)), ("timeout", "2")]
        for key, predicate, value in filters:
            query += [("filter_keys", key), ("filter_predicates", predicate), ("filter_values", value)]
        path = f"/api/v0/{resource}?{urlencode(query)}"

        def read(deadline: Deadline) -> list[Manifest]:
            return rows_of(self._ask(path, deadline))

        name = f"Ray's {resource}"
        found = self._part(name, read, [], "head")
        if not found and name not in self._unread and any("RayTaskError" in one.error for one in failures):
            self._deadline.sleep(_REPORT_SECONDS)
            found = self._part(name, read, [], "head")
        return found if resource == "tasks" else [row for row in found if is_failure(row)]

    def _driver_log(self, deadline: Deadline) -> str:
        """Return the end of the driver's log; of long lines as many as fit, for an answer that is cut lacks the end.

        Ray serves it only to those who name the node too, although the job's id would tell it: without one
        `GetLogOptions` (ray/util/state/common.py) raises, and the dashboard answers 500 (run with 2.60).
        """
        node = text(self._submitted(deadline), "driver_node_id")
        if not node:
            raise LookupError("the job has no driver on a node yet")
        # ray/dashboard/modules/job/common.py, JOB_LOGS_PATH_TEMPLATE
        file = {"node_id": node, "filename": f"job-driver-{self._driver.submission_id}.log"}
        said = b""
        for lines in _LOG_LINES, _LOG_LINES // 10, _LOG_LINES // 100:
            query = urlencode({**file, "lines": lines, "timeout": 2})
            try:
                said = self._ask(f"/api/v0/logs/file?{query}", deadline)
            except (OSError, http.client.HTTPException, LookupError):
                if not said:
                    raise
                break  # lines without their end are better than none
            if len(said) < _LIMIT_BYTES:
                break
        return said.decode(errors="replace")

    # What it is about

    def _about(self, target: str, found: Facts) -> About:
        identity = identity_of(self._step.context, attempt=0)
        head = next(filter(is_head, found.pods), None) or {}
        versions = {"python": platform.python_version(), **_installed()}
        ray = self._part("the cluster's versions", self._ray, None, "head")
        if ray is not None:
            versions |= {
                "ray of the cluster": ray.ray_version or "?",
                "python of the cluster": ray.python_version or "?",
            }
        kuberay = text(head, "metadata", "annotations", _VERSION_ANNOTATION)
        if kuberay:
            versions["kuberay"] = kuberay
        kubernetes = self._part("the version of Kubernetes", lambda d: self._step.api.read("/version", d), {})
        if said := text(kubernetes, "gitVersion"):
            versions["kubernetes"] = said
        return About(
            run_id=identity.run_id or "",
            job=identity.job or "",
            target=target,
            driver=self._driver.sentence,
            time=time_text(self._now()),
            versions=versions,
        )

    def _now(self) -> datetime:
        try:
            return self._step.api.server_time()
        except DagsterRayError:  # it has not answered yet
            return datetime.now(UTC)

    def _ray(self, deadline: Deadline) -> Metadata | None:
        answer = read_answer(200, self._ask("/api/v0/cluster_metadata", deadline))
        return answer if isinstance(answer, Metadata) else None


def rows_of(body: bytes) -> list[Manifest]:
    """Return the rows of an answer of Ray's state API: `data.result.result` (ray/dashboard/state_api_utils.py).

    Raises:
        LookupError: It is something else.
    """
    answer = json_of(body)
    found: object = at(answer, "data", "result", "result")
    if not isinstance(found, list):
        raise LookupError(  # noqa: TRY004 - of an answer
            f"the state API answered something else: {body[:200].decode(errors='replace')}"
        )
    return mappings(cast("object", found))


def is_failure(actor: Manifest) -> bool:
    """Return whether a dead actor has died of something else than its end of use."""
    said = str(actor.get("death_cause"))
    return not any(word in said for word in ("OUT_OF_SCOPE", "REF_DELETED", "RAY_KILL", "INTENDED", "exit_actor"))


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _is_suspended(manifest: Manifest) -> bool:
    return at(manifest, "spec", "suspend") is True


def _is_of(workload: Manifest, name: str) -> bool:
    return any(owner.get("name") == name for owner in mappings(at(workload, "metadata", "ownerReferences")))


def _began(status: Manifest) -> bool:
    """Return whether a container has run at least once."""
    return bool(at(status, "state", "running") or at(status, "state", "terminated") or status.get("restartCount"))


def _telling(pods: Sequence[Manifest]) -> list[Manifest]:
    """Return pods, those first that tell more: what restarted or ended, then the head."""

    def rank(pod: Manifest) -> tuple[bool, bool]:
        statuses = mappings(at(pod, "status", "containerStatuses"))
        is_hurt = any(status.get("restartCount") or at(status, "state", "terminated") for status in statuses)
        return not is_hurt, not is_head(pod)

    return sorted(pods, key=rank)
