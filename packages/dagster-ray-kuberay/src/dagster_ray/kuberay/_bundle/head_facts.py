"""Reads what the head of a cluster knows of the jobs of failed steps: tasks, actors, and the logs of drivers."""

import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

from dagster_ray.core import Deadline
from dagster_ray.core.failures.causes import Failure
from dagster_ray.kuberay._bundle.collected import Driver
from dagster_ray.kuberay._bundle.parts import Parts
from dagster_ray.kuberay._head.dashboard import Metadata, fetch, read_answer
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, json_of, mapping, mappings, text

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_LOG_LINES = 500
_LIMIT_BYTES = 1_000_000
_MOST_ROWS = 100
# A worker reports its tasks to the head once a second (RAY_task_events_report_interval_ms).
_REPORT_SECONDS = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class OfJob:
    """What the head knows of the job of one step.

    Attributes:
        tasks, actors: Failed ones, as Ray's state API lists them.
        driver_log: The end of the log of a driver in the cluster; None: the driver was in the step.
        unread: Why a part could not be read, by the part.
    """

    tasks: Sequence[Manifest] = ()
    actors: Sequence[Manifest] = ()
    driver_log: str | None = None
    unread: Mapping[str, str] = field(default_factory=dict[str, str])


class Head:
    """Asks the head of a cluster about the jobs of steps that failed on it."""

    def __init__(self, step: "StepCluster", parts: Parts) -> None:
        """Take the cluster; nothing is read yet.

        Args:
            step: The cluster of the steps.
            parts: What is about the cluster; the parts of each job are apart from these.
        """
        self._step, self._parts = step, parts
        self._has_waited = False
        self._known: dict[str, Manifest] = {}
        """What the job server says of a job, by its submission id."""
        self._listed: dict[str, list[Manifest]] = {}
        """What the state API lists, by the query: steps in one process have one driver."""

    def of_job(self, failure: Failure, driver: Driver) -> OfJob:
        """Return what can be read of the job of a step.

        Args:
            failure: The step that failed.
            driver: Its driver.
        """
        parts = self._parts.of_another()
        tasks, actors = self._failed(parts, failure, driver)
        log, submission_id = None, driver.submission_id
        if submission_id is not None:
            log = parts.read("the driver's log", lambda d: self._driver_log(submission_id, d), None, "head")
        return OfJob(tasks=tasks, actors=actors, driver_log=log, unread=parts.unread)

    def metadata(self, deadline: Deadline) -> Metadata | None:
        """Return the versions of the cluster; None if the answer has none. Raises whatever the connection raises."""
        answer = read_answer(200, self._ask("/api/v0/cluster_metadata", deadline))
        return answer if isinstance(answer, Metadata) else None

    def _ask(self, path: str, deadline: Deadline) -> bytes:
        route = self._step.route
        url = route.dashboard_url if route is not None else None
        if url is None:
            raise LookupError("the head was not reached")
        status, body = fetch(url, path, self._step.token, deadline.remaining_seconds(), _LIMIT_BYTES)
        if status != 200:
            raise LookupError(f"the dashboard answered {status}: {body[:200].decode(errors='replace')}")
        return body

    def _failed(self, parts: Parts, failure: Failure, driver: Driver) -> tuple[list[Manifest], list[Manifest]]:
        """Return failed tasks and dead actors of a step. On a cluster of its own they are all that there are."""
        job_id, submission_id = driver.job_id, driver.submission_id
        has_others = driver.has_others or self._step.is_shared
        if job_id is None and has_others and submission_id is not None:
            job_id = parts.read(
                "the job's id in Ray", lambda d: text(self._submitted(submission_id, d), "job_id") or None, None, "head"
            )
        if job_id is None and has_others:
            why = "the job's id in Ray is not known, and the cluster has tasks of other steps"
            parts.unread |= dict.fromkeys(("Ray's tasks", "Ray's actors"), why)
            return [], []
        is_of_task = "RayTaskError" in failure.error
        return self._rows(parts, "tasks", job_id, is_of_task=is_of_task), self._rows(parts, "actors", job_id)

    def _submitted(self, submission_id: str, deadline: Deadline) -> Manifest:
        """Return what the job server says of a job; once it names the node of the driver, nothing more will follow."""
        if submission_id not in self._known:
            self._known[submission_id] = mapping(json_of(self._ask(f"/api/jobs/{submission_id}", deadline)))
        return self._known[submission_id]

    def _rows(self, parts: Parts, resource: str, job_id: str | None, *, is_of_task: bool = False) -> list[Manifest]:
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
        known = self._listed.get(path)
        found = parts.read(name, read, [], "head") if known is None else known
        if not found and name not in parts.unread and is_of_task and not self._has_waited:
            self._has_waited = True  # what failed before is known by then too
            parts.deadline.sleep(_REPORT_SECONDS)
            found = parts.read(name, read, [], "head")
        if name not in parts.unread:
            self._listed[path] = found
        return found if resource == "tasks" else [row for row in found if is_failure(row)]

    def _driver_log(self, submission_id: str, deadline: Deadline) -> str:
        """Return the end of the driver's log; of long lines as many as fit, for an answer that is cut lacks the end.

        Ray serves it only to those who name the node too, although the job's id would tell it: without one
        `GetLogOptions` (ray/util/state/common.py) raises, and the dashboard answers 500 (run with 2.60).
        """
        node = text(self._submitted(submission_id, deadline), "driver_node_id")
        if not node:
            raise LookupError("the job has no driver on a node yet")
        # ray/dashboard/modules/job/common.py, JOB_LOGS_PATH_TEMPLATE
        file = {"node_id": node, "filename": f"job-driver-{submission_id}.log"}
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
