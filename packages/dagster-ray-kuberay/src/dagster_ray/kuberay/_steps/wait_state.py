"""What is known of a cluster that is waited for, and what follows from it. Pure.

Times are seconds of one clock of the caller, which never stands still.
"""

from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._diagnosis.containers import ray_container_of
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis, explain_head
from dagster_ray.kuberay._diagnosis.patience import Suspicion, is_proven, look_is_due, suspect_look_is_due
from dagster_ray.kuberay._kubernetes.fields import text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._status.cluster_state import (
    ClusterState,
    Created,
    Ended,
    Head,
    Queued,
    Starting,
    head_of_raycluster,
)

# An operator from 1.5.1 on mirrors the cluster's status within 0.2 s (run with 1.7.0).
_MIRROR_SECONDS = 1.5
# What is called fatal was looked at this long ago at most.
_FRESH_SECONDS = 1.0


class WaitState:
    """A RayJob or RayCluster as it was seen last, its head, and what may be wrong.

    Attributes:
        manifest: The object as it was seen last.
        state: What it means for a step that waits.
        head: Where the head is; None while no RayCluster is known.
        diagnosis: Why the cluster is not there; None if nothing that is known keeps it away.
    """

    def __init__(self, awaited: Created, *, even_if_complete: bool = False) -> None:
        """Take what is awaited, and whether a job that has succeeded leaves a cluster that is a goal as well."""
        self._awaited, self._even_if_complete = awaited, even_if_complete
        self._ray_container = ray_container_of(awaited.cluster_spec)
        self.manifest: Mapping[str, Any] = awaited.manifest
        self.state: ClusterState = awaited.state_of(awaited.manifest)
        self.head: Head | None = None
        self.diagnosis: Diagnosis | None = None
        self._named_at: float | None = None
        self._is_watched = self._cluster_was_read = False
        self._moved_at = self._looked_at = 0.0
        self._looks = 0
        self._suspicion = Suspicion()

    @property
    def cluster(self) -> str | None:
        """The RayCluster's name; None while it is not known."""
        return self.head.cluster if self.head is not None else None

    @property
    def is_operator_ready(self) -> bool:
        """Whether the operator has seen all pods ready."""
        return isinstance(self.state, Starting) and self.state.operator_ready

    # What is seen

    def note(self, manifest: Mapping[str, Any], at_seconds: float, *, deleted: bool = False) -> None:
        """Take in the object as it was at some time."""
        if text(manifest, "metadata", "uid") not in {"", self._awaited.uid}:
            self._note_another(deleted=deleted)
            return
        self.manifest = manifest
        self.state = self._awaited.state_of(manifest, deleted=deleted)
        if self._even_if_complete and isinstance(self.state, Ended) and self.state.status == "Complete":
            self.state = Starting("the job is complete", self._awaited.head_of(manifest), operator_ready=True)
        named = self._awaited.head_of(manifest)
        if isinstance(self.state, Queued) or named is None or named.cluster != self.cluster:
            self._forget_cluster()
        if isinstance(self.state, Starting) and self.state.head is not None:
            if not self._is_watched:
                self._see(self.state.head)
            if self._named_at is None:
                self._named_at = at_seconds
        self._move(at_seconds)

    def _note_another(self, *, deleted: bool) -> None:
        """Take in that an object of the same name is another one: what is awaited is gone, whatever the other does."""
        if not deleted:
            self.state = Ended("Deleted", "Deleted", "it was deleted by somebody else, and another object has its name")

    def note_cluster(self, raycluster: Mapping[str, Any], at_seconds: float) -> None:
        """Take in the RayCluster of a RayJob, unless the RayJob has another one by now."""
        head = head_of_raycluster(raycluster)
        if head.cluster == self.cluster:
            self._see(head)
            self._move(at_seconds)

    def note_head(self, manifest: Mapping[str, Any]) -> None:
        """Take in where the head is by the object as it was read after the wait, unless the cluster itself told it."""
        head = self._awaited.head_of(manifest)
        if head is not None and not (self._cluster_was_read and head.cluster == self.cluster):
            self._see(head)

    def note_head_of_cluster(self, raycluster: Mapping[str, Any]) -> None:
        """Take in where the head is by the RayCluster as it was read after the wait."""
        self._cluster_was_read = True
        self._see(head_of_raycluster(raycluster))

    def watched(self) -> None:
        """Note that the RayCluster itself is watched, which knows more than the RayJob's copy."""
        self._is_watched = True

    def needs_cluster_watch(self, at_seconds: float, *, missing_pod: str | None, tried_seconds: float) -> bool:
        """Return whether the RayCluster must be watched, because the RayJob does not tell where the head is.

        Before 1.5.1 the operator does not mirror the cluster's status at all; after, the copy stands still once the
        RayJob is Waiting, also if the head got its address, or was replaced, only then (run with 1.7.0).

        Args:
            at_seconds: The time.
            missing_pod: The pod that does not exist any more, by what the API server said to a port-forward.
            tried_seconds: For how long the head has been dialed.
        """
        head = self.head
        if self._awaited.kind is not RAYJOBS or self._is_watched or head is None or self._named_at is None:
            return False
        is_left = head.pod == missing_pod or (self.is_operator_ready and tried_seconds >= _MIRROR_SECONDS)
        if head.is_placed and not is_left:
            return False
        is_late = head.service is None and at_seconds - self._named_at >= _MIRROR_SECONDS
        return self.is_operator_ready or is_late

    def _forget_cluster(self) -> None:
        """Begin anew: a queue took the cluster back, and KubeRay makes another one after the next admission."""
        self.head, self._named_at = None, None
        self._is_watched = self._cluster_was_read = False
        self.diagnosis, self._suspicion = None, Suspicion()

    def _see(self, head: Head) -> None:
        if self.head is None or head.service is not None or head.cluster != self.head.cluster:
            self.head = head

    def _move(self, at_seconds: float) -> None:
        """Note that something has changed; what was found before holds only as far as it may be fatal."""
        self._moved_at, self._looks = at_seconds, 0
        known, said = self.diagnosis, explain_head(self.head, self._ray_container)
        if known is not None and (known.proof is not None if said is None else _says_more(known, said)):
            return
        self.diagnosis = said

    # What is found

    def looked(self, found: Diagnosis | None, at_seconds: float) -> None:
        """Take in what pods and events say; None if they do not say why, or may not be read."""
        self._looks += 1
        self._looked_at = at_seconds
        self.diagnosis = found or explain_head(self.head, self._ray_container)

    def needs_look(self, at_seconds: float) -> bool:
        """Return whether pods and events are to be read now."""
        last = max(self._looked_at, self._moved_at)
        if self.diagnosis is not None and self.diagnosis.proof is not None:
            return suspect_look_is_due(at_seconds - last, self._looks)
        is_told = self._awaited.kind is RAYJOBS and not self._is_watched
        reason = self.head.reason if self.head is not None else ""
        return look_is_due(at_seconds - self._moved_at, self._looks, reason, is_told=is_told)

    def is_fresh(self, at_seconds: float) -> bool:
        """Return whether pods and events were read just now."""
        return self._looks > 0 and at_seconds - self._looked_at <= _FRESH_SECONDS

    def is_hopeless(self, at_seconds: float) -> bool:
        """Return whether what is wrong has been seen often or long enough to be called fatal."""
        found = self.diagnosis
        suspect = None if found is None or found.proof is None else found
        seconds = self._suspicion.seen(None if suspect is None else suspect.code, at_seconds)
        if suspect is None or suspect.proof is None:
            return False
        return is_proven(suspect.proof, seconds=seconds, attempts=suspect.attempts)

    # What is said

    @property
    def sentence(self) -> str:
        """How far it is, for people."""
        sentence = self.state.message if isinstance(self.state, Ended) else self.state.sentence
        if (found := self.diagnosis) is not None:
            return f"{sentence}; {found.reason}: {found.sentence}"
        if isinstance(self.state, Starting) and self.head is not None and self.head.pod is not None:
            return f"{sentence}; head pod {self.head.pod}" + (f" ({self.head.reason})" if self.head.reason else "")
        return sentence

    @property
    def topic(self) -> str:
        """What a line of the log is about; the reason alone changes with every attempt to pull an image."""
        found = self.diagnosis
        if found is None or isinstance(self.state, Ended):
            return self.sentence
        return f"{self.state.sentence} {found.code} {found.sentence}"


def _says_more(known: Diagnosis, said: Diagnosis) -> bool:
    """Return whether what was found in pods is told in place of what the head's condition says now."""
    return known.code == said.code or (said.code == "image-pull" and known.code.startswith("image-"))
