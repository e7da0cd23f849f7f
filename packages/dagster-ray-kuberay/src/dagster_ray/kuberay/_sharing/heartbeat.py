"""The thread that renews a lock while its step lives."""

import logging
import threading
from typing import TYPE_CHECKING

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.errors import InvalidObjectError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._status.created import Created

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_CALL_SECONDS = 10.0
_AGAIN_SECONDS = 3.0
_JOIN_SECONDS = 12.0


def lock_patch(own: Created, key: str, text: str | None) -> dict[str, object]:
    """Return the merge patch that sets a step's own lock, or removes it.

    It names the uid, so that a cluster that was made anew under the name is not meant, and no version: any number of
    steps lock at once without a conflict (run with kube-apiserver 1.36).
    """
    return {"metadata": {"uid": own.uid, "annotations": {key: text}}}


def renew(api: "KubernetesApi", own: Created, lock: Lock, deadline: Deadline) -> Lock | None:
    """Write a lock with the API server's time of now; return it, or None if the cluster is gone or going.

    Raises:
        DagsterRayError: It could not be written, which may be tried again.
    """
    renewed = lock.renewed(api.server_time())
    try:
        answer = api.patch(own.kind, own.namespace, own.name, lock_patch(own, lock.key, renewed.text()), deadline)
    except (NotFoundError, InvalidObjectError):
        return None
    return None if at(answer, "metadata", "deletionTimestamp") else renewed


class Heartbeat:
    """Renews one lock at an interval, from its construction until `stop`.

    While the API server is away it tries again every few seconds: no collector can act meanwhile either. A cluster that
    is gone or going ends it.

    Args:
        api: The Kubernetes cluster.
        own: The RayCluster.
        lock: The lock as it was applied.
        interval_seconds: Seconds between renewals.
        log: Where trouble is told, once each time it begins.
    """

    def __init__(
        self, api: "KubernetesApi", own: Created, lock: Lock, interval_seconds: float, log: logging.Logger
    ) -> None:
        """Start."""
        self._api, self._own, self._lock, self._log = api, own, lock, log
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()
        self._is_told = False
        self._thread = threading.Thread(target=self._run, name="dagster-ray lock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a renewal that is under way is waited for."""
        self._stopped.set()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        pause = self._interval_seconds
        while not self._stopped.wait(pause):
            try:
                if not self._renew():
                    return
            except DagsterRayError as error:
                self._tell("the lock could not be renewed, which is tried again: %s", error)
                pause = min(_AGAIN_SECONDS, self._interval_seconds)
            else:
                pause, self._is_told = self._interval_seconds, False

    def _renew(self) -> bool:
        """Write the lock with the time of now; return whether the cluster is still there to be locked."""
        renewed = renew(self._api, self._own, self._lock, Deadline(_CALL_SECONDS))
        if renewed is None:
            self._tell("somebody deletes it while this step uses it%s", "")
            return False
        self._lock = renewed
        return True

    def _tell(self, text: str, detail: object) -> None:
        if not self._is_told:
            self._is_told = True
            self._log.warning(f"%s: {text}", self._own.target, detail)
