"""Whether a step has left anything on a cluster: what Ray's dashboard says of jobs, actors, placement groups. Pure."""

from typing import cast
from urllib.parse import urlencode

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, json_of, mapping, mappings, text, whole


def _listed(what: str, without: str) -> str:
    """Return the path of the state API that lists what is in another state than one."""
    asked = {"filter_keys": "state", "filter_predicates": "!=", "filter_values": without}
    return f"/api/v0/{what}?" + urlencode({**asked, "limit": "1000", "timeout": "5"})


ACTORS_PATH = _listed("actors", "DEAD")
GROUPS_PATH = _listed("placement_groups", "REMOVED")
JOBS_PATH = "/api/jobs/"
LIMIT_BYTES = 16 * 1024 * 1024
"""What an answer may have; a longer one cannot be read, so that it proves nothing."""

_RUNNING = {"PENDING", "RUNNING"}
# Ray Data's own, one of each on a cluster: detached, without CPU, and for every driver (ray/data/_internal, Ray 2.60:
# stats.py, stats_summary_actor.py, usage/actor.py, execution/autoscaling_requester.py,
# execution/node_trackers/actor_location.py, cluster_autoscaler/default_autoscaling_coordinator.py). And Ray Train's,
# with RAY_TRAIN_ENABLE_STATE_TRACKING (ray/train/v2/_internal/state/state_actor.py).
_OF_LIBRARIES = {
    "ActorLocationTracker",
    "AutoscalingCoordinator",
    "AutoscalingRequester",
    "DataUsageCollectionActor",
    "_dataset_stats_actor",
    "_dataset_stats_summary_actor",
    "_train_state_actor",
}
_SHOWN = 3


def jobs_left(status: int, body: bytes) -> str | None:
    """Return which jobs run, by the answer to `JOBS_PATH`; None if none does. An answer that tells nothing is no proof.

    The list has drivers as well as submitted jobs (ray/dashboard/modules/job/job_head.py).
    """
    answer = json_of(body) if status == 200 else None
    if not isinstance(answer, list):
        return f"its jobs could not be listed (HTTP {status})"
    jobs = mappings(cast("object", answer))
    running = [one for one in jobs if one.get("status") in _RUNNING]
    names = [text(one, "submission_id") or text(one, "job_id") or "a driver" for one in running]
    return f"jobs still run: {_several(names)}" if names else None


def actors_left(status: int, body: bytes) -> str | None:
    """Return which actors live, by the answer to `ACTORS_PATH`; None if none does.

    Those that Ray Data and Ray Train have for themselves do not count. A list that is cut off proves nothing.
    """
    found, fault = _rows(status, body, "actors")
    living = [one for one in found if one.get("state") != "DEAD" and text(one, "ray_namespace") not in _OF_LIBRARIES]
    names = [text(one, "name") or text(one, "class_name") or "an actor" for one in living]
    return f"actors still live: {_several(names)}" if names else fault


def groups_left(status: int, body: bytes) -> str | None:
    """Return which placement groups reserve resources, by the answer to `GROUPS_PATH`; None if none does.

    Ray removes those of a driver with it, but for detached ones (ray/util/placement_group.py, Ray 2.60). One that still
    waits for its resources would take those of the next step. Fields are those of PlacementGroupState
    (ray/util/state/common.py).
    """
    found, fault = _rows(status, body, "placement groups")
    left = [one for one in found if one.get("state") != "REMOVED"]
    names = [text(one, "name") or text(one, "placement_group_id") or "one without a name" for one in left]
    return f"placement groups still reserve resources: {_several(names)}" if names else fault


def _rows(status: int, body: bytes, what: str) -> tuple[list[Manifest], str | None]:
    """Return the rows of an answer of the state API, and why they prove nothing; None if they are complete."""
    result: Manifest = mapping(at(json_of(body), "data", "result") if status == 200 else None)
    if not isinstance(result.get("result"), list):
        return [], f"its {what} could not be listed (HTTP {status})"
    found = mappings(result.get("result"))
    is_cut = whole(result, "num_filtered") > len(found)
    return found, f"its {what} could not all be listed (HTTP {status})" if is_cut else None


def _several(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
