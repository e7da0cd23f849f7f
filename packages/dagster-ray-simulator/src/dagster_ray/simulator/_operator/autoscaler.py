"""A second worker for clusters whose jobs wait for one: the part of Ray's autoscaler that examples need.

The first worker is started with the cluster (`autoscaler_request`). A job that holds its CPU and waits for tasks of its
own would stand still for ever then.
"""

import copy
import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.simulator._kubelet.nodes import DASHBOARD_PORT
from dagster_ray.simulator._operator.dashboard import Dashboard, DashboardCall, token_of
from dagster_ray.simulator._operator.names import name_of, namespace_of
from dagster_ray.simulator._operator.objects import auth_secret_name
from dagster_ray.simulator._operator.writes import ObjectStore

MOST_WORKERS = 2
"""More would only be slower: all of them are on this machine."""
_PERIOD_SECONDS = 2.0
# /api/cluster_status would say it too, but not on every head.
_WAITING_TASKS = "/api/v0/tasks?filter_keys=state&filter_predicates=%3D&filter_values=PENDING_NODE_ASSIGNMENT&limit=1"
_log = logging.getLogger("dagster_ray")


def has_demand(text: str) -> bool:
    """Return whether tasks or actors wait for a node, by what the state API says of tasks (run with Ray 2.60)."""
    try:
        answer: object = json.loads(text)
    except ValueError:
        return False
    return bool(at(answer, "data", "result", "num_filtered"))


def scaled_up(cluster: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the cluster with one worker more; None if it is not to have one."""
    groups = mappings(at(cluster, "spec", "workerGroupSpecs"))
    is_on = at(cluster, "spec", "enableInTreeAutoscaling") is True and at(cluster, "status", "state") == "ready"
    if not groups or not is_on or at(cluster, "metadata", "deletionTimestamp"):
        return None
    replicas, most = groups[0].get("replicas") or 0, groups[0].get("maxReplicas")
    ready = at(cluster, "status", "availableWorkerReplicas") or 0
    if replicas < 1 or ready < replicas or replicas >= min(MOST_WORKERS, MOST_WORKERS if most is None else most):
        return None
    wanted = copy.deepcopy(dict(cluster))
    wanted["spec"]["workerGroupSpecs"][0]["replicas"] = replicas + 1
    return wanted


class Autoscaler:
    """Looks at every cluster of a store every two seconds.

    A demand counts when it is seen twice, since a busy cluster has one for moments.
    """

    def __init__(self, store: ObjectStore, dashboard: Dashboard) -> None:
        self._store, self._dashboard = store, dashboard
        self._waiting: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autoscaler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_PERIOD_SECONDS):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a cluster that changes meanwhile must not end the loop
                _log.debug("The simulator's autoscaler could not act", exc_info=True)

    def look(self) -> None:
        """Look at every cluster once."""
        waited, self._waiting = self._waiting, set()
        for cluster in self._store.list("rayclusters"):
            wanted = scaled_up(cluster)
            if wanted is None or not self._is_waiting(cluster):
                continue
            uid = str(at(cluster, "metadata", "uid"))
            if uid in waited:
                self._store.replace("rayclusters", wanted)
            else:
                self._waiting.add(uid)

    def _is_waiting(self, cluster: Mapping[str, Any]) -> bool:
        token = None
        if at(cluster, "spec", "authOptions", "mode") == "token":
            token = token_of(self._store, cluster, auth_secret_name(cluster))
        port = str(mapping(at(cluster, "status", "endpoints")).get("dashboard") or DASHBOARD_PORT)
        call = DashboardCall(namespace_of(cluster), name_of(cluster), int(port), "GET", _WAITING_TASKS, token=token)
        try:
            status, text = self._dashboard(call)
        except OSError:
            return False
        return status == 200 and has_demand(text)
