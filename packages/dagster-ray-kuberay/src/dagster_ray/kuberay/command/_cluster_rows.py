"""What `dagster-ray clusters` tells of each RayCluster and RayJob, and tables as plain text. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from dagster_ray.kuberay._collector.candidate import Candidate, candidate_of
from dagster_ray.kuberay._collector.plan import Plan
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, name_of, text, time_of, time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, Kind
from dagster_ray.kuberay._labels import POOL_NAME_LABEL
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._pool.members import member_of
from dagster_ray.kuberay._pool.schedule import InForce
from dagster_ray.kuberay._sharing.locks import AnyLock, Lock
from dagster_ray.kuberay._status.cluster_state import HEAD_READY, condition_of

_GAP = "  "
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a header, in columns as wide as their widest cell."""
    everything = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(header))]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    )


def duration(seconds: float | None) -> str:
    """Return a time span in its two largest units, as kubectl shows an age; `?` if it is not known."""
    if seconds is None:
        return "?"
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return _pair(whole, _MINUTE, "m", 1, "s")
    if whole < _DAY:
        return _pair(whole, _HOUR, "h", _MINUTE, "m")
    return _pair(whole, _DAY, "d", _HOUR, "h")


def _pair(whole: int, large: int, large_name: str, small: int, small_name: str) -> str:
    first, rest = divmod(whole, large)
    second = rest // small
    return f"{first}{large_name}{second}{small_name}" if second else f"{first}{large_name}"


Use = Literal["own", "shared", "run", "backfill", "pool", "adopted"]
_OVER = {"Succeeded", "Failed"}
_SHOWN_ID = 8
HEADER = ("NAME", "USE", "STATUS", "HEAD", "LOCKS", "AGE", "RUN", "STEP", "POD-HOURS", "COLLECTOR")


@dataclass(frozen=True, slots=True)
class Row:
    """One RayCluster or RayJob.

    Attributes:
        what: What the collector sees in it.
        use: `own`: of one step. `shared`: of many. `run`: of the steps of one run. `pool`: of one step
            after the other. `adopted`: not made by dagster-ray.
        status: The operator's word.
        head: The head pod, and whether it is ready.
        pod_hours: The time that its pods have run, those that are gone not counted; None where pods may not be listed.
        goes: Whether the collector would delete it now.
        because: Why, or why not.
        uses: How many steps have given a cluster of a pool back; None for what belongs to no pool.
        pool: What its configuration calls the pool; None for what belongs to none.
        wanted: The size that the pool keeps now; None for what belongs to none, and where it is not known.
    """

    what: Candidate
    use: Use
    status: str
    head: str
    pod_hours: float | None
    goes: bool
    because: str
    uses: int | None = None
    pool: str | None = None
    wanted: InForce | None = None

    def plain(self, now: datetime) -> Mapping[str, Any]:
        """Return it as plain data."""
        what, until = self.what, None if self.wanted is None else self.wanted.until
        return {
            "kind": what.kind.kind,
            "namespace": what.namespace,
            "name": what.name,
            "use": self.use,
            "pool": self.pool,
            "uses": self.uses,
            "pool_size": None if self.wanted is None else self.wanted.size,
            "pool_size_until": until and time_text(until),
            "status": self.status,
            "head": self.head,
            "locks": [_plain_lock(lock, now) for lock in what.locks],
            "age_seconds": _age(what, now),
            "run_id": what.run_id,
            "step_key": what.step_key,
            "pod_hours": None if self.pod_hours is None else round(self.pod_hours, 3),
            "would_be_deleted": self.goes,
            "because": self.because,
        }

    def cells(self, now: datetime) -> tuple[str, ...]:
        """Return it as cells under `HEADER`."""
        what = self.what
        return (
            f"{what.kind.kind} {what.namespace}/{what.name}",
            self.use if self.uses is None else self._pool_in_words(),
            self.status or "-",
            self.head or "-",
            _locks_in_words(what.locks, now),
            duration(_age(what, now)),
            (what.run_id or "-")[:_SHOWN_ID],
            what.step_key or "-",
            "?" if self.pod_hours is None else f"{self.pod_hours:.2f}",
            f"{'would delete' if self.goes else 'keeps'}: {self.because}",
        )

    def _pool_in_words(self) -> str:
        words = f"{self.use} {self.pool}, used {self.uses} times"
        if self.wanted is None:
            return words
        until = "" if self.wanted.until is None else f" until {time_text(self.wanted.until)}"
        return f"{words}, size {self.wanted.size}{until}"


def candidates_of(rayclusters: Iterable[Manifest], rayjobs: Iterable[Manifest]) -> list[tuple[Candidate, Manifest]]:
    """Return what dagster-ray has made or holds by a lock; clusters of RayJobs stand for their RayJob."""
    both: list[tuple[Kind, Manifest]] = [(RAYJOBS, one) for one in rayjobs]
    both += [(RAYCLUSTERS, one) for one in rayclusters]
    found = [(candidate_of(kind, one), one) for kind, one in both]
    return [(what, one) for what, one in found if (what.is_ours or what.locks) and not what.is_of_rayjob]


def rows_of(
    chosen: Sequence[tuple[Candidate, Manifest]],
    rayclusters: Iterable[Manifest],
    pods: Iterable[Manifest] | None,
    plan: Plan,
    now: datetime,
    *,
    wanted: Mapping[tuple[str, str], InForce],
) -> list[Row]:
    """Return a row for each object.

    Args:
        chosen: The objects, as `candidates_of` gives them.
        rayclusters: All RayClusters, also those of RayJobs.
        pods: Pods of Ray; None if they may not be listed.
        plan: What the collector would do.
        now: The API server's time.
        wanted: The sizes that pools keep now, by namespace and digest.
    """
    clusters = {_key(one): one for one in rayclusters}
    hours = None if pods is None else _hours(pods, now)
    goes = {id(one.what): one.because for one in plan.deletes}
    stays = {id(one.what): one.because for one in plan.keeps}
    rows: list[Row] = []
    for what, manifest in chosen:
        own = text(manifest, "status", "rayClusterName") if what.kind == RAYJOBS else what.name
        cluster = clusters.get((what.namespace, own), {})
        because = goes.get(id(what), stays.get(id(what), ""))
        spent = None if hours is None else hours.get((what.namespace, own), 0.0)
        row = Row(what, _use(what), _status(what, manifest), _head(cluster), spent, id(what) in goes, because)
        if what.pool is not None:
            name = text(manifest, "metadata", "labels", POOL_NAME_LABEL)
            size = wanted.get((what.namespace, what.pool))
            row = replace(row, uses=member_of(manifest, now).uses, pool=name or what.pool, wanted=size)
        rows.append(row)
    return rows


def table_of(rows: Sequence[Row], now: datetime) -> str:
    """Return rows for people, with the sum of their pod-hours."""
    if not rows:
        return "No RayCluster or RayJob of dagster-ray."
    known = [row.pod_hours for row in rows if row.pod_hours is not None]
    lines = [table(HEADER, [row.cells(now) for row in rows])]
    if known:
        lines.append(f"{sum(known):.2f} pod-hours so far, of the pods that exist; pods that are gone are not counted.")
    return "\n".join(lines)


def _use(what: Candidate) -> Use:
    if not what.is_ours:
        return "adopted"
    if what.backfill_id is not None:
        return "backfill"
    if what.pool is not None:
        return "pool"
    return "run" if what.is_run_scoped else "shared" if what.is_shared else "own"


def _status(what: Candidate, manifest: Manifest) -> str:
    if what.is_terminating:
        return "Terminating"
    if what.kind == RAYJOBS:
        return text(manifest, "status", "jobDeploymentStatus")
    ready = condition_of(mapping(manifest.get("status")), "RayClusterProvisioned")
    return text(manifest, "status", "state") or ("ready" if ready.get("status") == "True" else "")


def _head(cluster: Manifest) -> str:
    status = mapping(cluster.get("status"))
    pod = text(status, "head", "podName")
    if not pod:
        return ""
    ready = condition_of(status, HEAD_READY)
    word = "ready" if ready.get("status") == "True" else str(ready.get("reason") or "not ready")
    return f"{pod} ({word})"


def _age(what: Candidate, now: datetime) -> float | None:
    return None if what.created_at is None else max(0.0, (now - what.created_at).total_seconds())


def _hours(pods: Iterable[Manifest], now: datetime) -> dict[tuple[str, str], float]:
    """Return the hours that the pods of each cluster have run."""
    found: dict[tuple[str, str], float] = {}
    for pod in pods:
        started = time_of(at(pod, "status", "startTime"))
        if started is None:
            continue
        key = text(pod, "metadata", "namespace"), text(pod, "metadata", "labels", CLUSTER_LABEL)
        seconds = max(0.0, (_ended(pod, now) - started).total_seconds())
        found[key] = found.get(key, 0.0) + seconds / _HOUR
    return found


def _ended(pod: Manifest, now: datetime) -> datetime:
    if text(pod, "status", "phase") not in _OVER:
        return now
    states = mappings(at(pod, "status", "containerStatuses"))
    ends = [time_of(at(state, "state", "terminated", "finishedAt")) for state in states]
    return max((end for end in ends if end is not None), default=now)


def _key(manifest: Manifest) -> tuple[str, str]:
    return text(manifest, "metadata", "namespace"), name_of(manifest)


def _plain_lock(lock: AnyLock, now: datetime) -> Mapping[str, Any]:
    if not isinstance(lock, Lock):
        return {"id": lock.id, "is_live": True, "is_readable": False}
    return {
        "id": lock.id,
        "is_live": lock.is_live(now),
        "is_readable": True,
        "run_id": lock.run_id,
        "step_key": lock.step_key,
        "renewed_at": time_text(lock.renewed_at),
        "ends_at": time_text(lock.ends_at),
    }


def _locks_in_words(locks: Sequence[AnyLock], now: datetime) -> str:
    live = [lock for lock in locks if lock.is_live(now)]
    words = [_holder(lock) for lock in live]
    ended = len(locks) - len(live)
    return "; ".join([*words, *([f"{ended} ended"] if ended else [])]) or "-"


def _holder(lock: AnyLock) -> str:
    if not isinstance(lock, Lock):
        return "one that cannot be read"
    if lock.is_common:
        return f"kept until {time_text(lock.ends_at)} after {lock.step_key or 'a process'}"
    return f"{lock.step_key or 'a process'} of run {(lock.run_id or '?')[:_SHOWN_ID]}"
