"""Which RayJob or RayCluster of an earlier attempt a step with `driver="cluster"` goes on with. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS, Kind
from dagster_ray.kuberay._labels import CLEANUP_LABEL
from dagster_ray.kuberay._status.cluster_state import Created, Ended, created
from dagster_ray.kuberay._steps.ending import OUTCOME_LABEL
from dagster_ray.pipes.drivers import EarlierAttempts


@dataclass(frozen=True, slots=True)
class Left:
    """What earlier attempts of a step have left.

    Attributes:
        followed: What this attempt goes on with: its body may still run there. None: there is nothing of this kind.
        is_complete: Whether the job of the RayJob has succeeded, so that only what it has written is of interest.
        leftovers: What nobody uses any more, and what the lifecycle of its attempt would have deleted.
    """

    followed: Created | None = None
    is_complete: bool = False
    leftovers: tuple[Created, ...] = ()


def choose_left(kind: Kind, namespace: str, found: Sequence[Manifest], earlier: EarlierAttempts) -> Left:
    """Return what to do with the objects that earlier attempts of this step have made in this run.

    An attempt that came to its end in any way has deleted its object, or noted its outcome there, or left it to the
    operator. So what is without all these was left by a process that was killed, perhaps with a body that runs on. A
    RayJob is followed unless its body has ended that attempt itself, or the attempt could not use the job: it serves
    one job only. A RayCluster serves any number, so that its job server tells which job is followed.

    Args:
        kind: RAYJOBS or RAYCLUSTERS.
        namespace: Theirs.
        found: All objects of the step, its run and its resource.
        earlier: What the log of the run tells.
    """
    followed: list[Created] = []
    leftovers: list[Created] = []
    for one in sorted(found, key=lambda one: text(one, "metadata", "creationTimestamp"), reverse=True):
        own = created(kind, namespace, one)
        if at(one, "metadata", "deletionTimestamp") or at(one, "metadata", "labels", OUTCOME_LABEL):
            continue
        if followed or _is_spent(own, earlier):
            leftovers.append(own)
        elif _is_usable(own):
            followed.append(own)
    kept = tuple(one for one in leftovers if at(one.manifest, "metadata", "labels", CLEANUP_LABEL) != "never")
    if not followed:
        return Left(leftovers=kept)
    return Left(followed[0], isinstance(followed[0].state_of(followed[0].manifest), Ended), kept)


def _is_spent(own: Created, earlier: EarlierAttempts) -> bool:
    """Return whether the job of a RayJob is over for the step, whatever its status."""
    if own.kind is not RAYJOBS:
        return False
    return own.uid in earlier.rejected or text(own.manifest, "spec", "jobId") in earlier.ended


def _is_usable(own: Created) -> bool:
    """Return whether a body may run there, or has succeeded there; other ends are what the operator deals with."""
    state = own.state_of(own.manifest)
    if not isinstance(state, Ended):
        return text(own.manifest, "status", "jobStatus") not in {"FAILED", "STOPPED"}
    return state.status == "Complete" and text(own.manifest, "status", "jobStatus") == "SUCCEEDED"
