"""Whether the cluster of a step's RayJob can still come up: what a wait for it decides, from one look to the next."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._steps.wait_state import Do, Fail, Pause, Sought, WaitState

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_PLACE = "the operator"


class StepStart:
    """The start of one RayJob, up to the submission of its job: the operator submits it when all pods are ready."""

    def __init__(
        self, api: "KubernetesApi", own: Created, timeout: float, queue_timeout: float, log: logging.Logger
    ) -> None:
        """Begin to wait.

        Args:
            api: The Kubernetes API.
            own: The RayJob, as it was created or found.
            timeout: Seconds until its job must be submitted; the time in a queue does not count.
            queue_timeout: Seconds that a queue may hold it.
            log: Where it is told what could not be read.
        """
        sought = Sought(needs_workers=True, is_dashboard=True, queue_seconds=queue_timeout)
        self._known = WaitState(own, sought)
        self._evidence = Evidence(api, own, log)
        self._deadline, self._clock = Deadline(timeout), Deadline(float("inf"))

    @property
    def sentence(self) -> str:
        """How far it is, for people."""
        return self._known.sentence

    def fault(self, rayjob: Mapping[str, Any], *, may_read: bool) -> Exception | None:
        """Return why the job will never be submitted; None while it may be.

        Args:
            rayjob: The RayJob as it was seen last.
            may_read: Whether pods and events may be read now, which takes up to 5 s.
        """
        known, now = self._known, self._clock.spent_seconds()
        known.note(rayjob, now)
        while True:
            step = known.next(now, self._deadline.remaining_seconds())
            if known.is_queued:
                self._deadline.pause()
            else:
                self._deadline.resume()
            match step:
                case Fail(error):
                    return error
                case Do.DIAL:
                    known.dialed(answers=False)  # whether the head answers is the operator's matter
                case Do.WATCH_CLUSTER:
                    known.watched()  # where the head is, too
                case Pause() | Do.RETURN:
                    return None
                case _ if not may_read:
                    return None
                case _:
                    self._read(step, now)

    def _read(self, step: Do, now: float) -> None:
        known, evidence = self._known, self._evidence
        question = Question(known.manifest, known.cluster, known.is_seen, known.is_queued)
        match step:
            case Do.LOOK:
                known.looked(evidence.look(question), now)
            case Do.LAST_LOOK:
                known.looked_last(evidence.look(question), now, _PLACE, self._deadline.budget_seconds)
            case _:
                known.log_read(evidence.head_log(question))
