"""Cells of the fault matrix: a run of `kuberay_executor` whose cluster is up."""

from fault_terms import (
    BURST,
    COPY,
    CRASHES,
    DASHBOARD,
    DENIED,
    DISK,
    DROPPED,
    EXECUTOR,
    EXPIRED,
    FROZEN,
    HEAD,
    LOST,
    NO_SECRET,
    NOTICES_NOTHING,
    REDIRECT,
    REFUSED,
    REGISTRY,
    REQUEUED,
    RESETS,
    RESTARTED,
    ROTATED,
    RUN,
    SERVER,
    SIDECAR,
    SIGKILL,
    SIGTERM,
    SKEW,
    TOGETHER,
    UNCHANGED,
    UNMEASURED,
    UPDATES,
    Cell,
    Fault,
)

_HERE = {EXECUTOR: (RUN,)}
_TESTS = "packages/dagster-ray-kuberay/tests/runs/test_kuberay_executor.py"
_JOBS = "packages/dagster-ray-pipes/tests/test_executor.py"
_HEALTH = "packages/dagster-ray-pipes/tests/test_executor_health.py"
_BY_RUN = "The run's worker deletes the cluster within 20 s."
_LATER = (
    "The run goes on. If the Kubernetes API is away at its end, the lock cannot be removed, and the sensor deletes the "
    "cluster when the lock has ended."
)


def _unnoticed(fault: Fault, reason: str) -> Cell:
    return Cell(fault, _HERE, NOTICES_NOTHING, UNCHANGED, reason=reason)


_NO_CALLS = (
    "While jobs run, the run's worker asks the Kubernetes API only for its lock, and for a watch on the cluster every "
    "240 s."
)
_STARTS = "It concerns the start of a cluster, which is that of a shared `KubeRayCluster`."

RUN_CELLS: tuple[Cell, ...] = (
    Cell(
        SIGTERM,
        _HERE,
        "The run is canceled, and its jobs are stopped; it has failed if nobody canceled it.",
        _BY_RUN,
        (f"{_TESTS}::test_a_run_that_is_terminated_stops_its_jobs_and_deletes_its_cluster",),
    ),
    Cell(
        SIGKILL,
        _HERE,
        "The jobs go on. A run that is resumed finds cluster and jobs; otherwise it has failed.",
        "At the end of a resumed run, its worker deletes the cluster. Otherwise the sensor does so, when the run has "
        "failed and the lock has ended.",
        (
            f"{_TESTS}::test_a_resumed_run_finds_its_cluster_and_the_steps_that_run_there",
            f"{_TESTS}::test_the_cluster_of_a_run_whose_worker_was_killed_goes_with_the_run",
        ),
    ),
    Cell(
        HEAD,
        _HERE,
        "The steps on it fail with [ray-job-lost](errors/ray-job-lost.md), by their retry policies. Retries and later "
        "steps get a cluster that serves.",
        _BY_RUN,
        (f"{_TESTS}::test_a_cluster_that_is_deleted_fails_its_steps_and_their_retries_get_another",),
    ),
    Cell(
        DASHBOARD,
        _HERE,
        "Steps that run go on; those that are to be submitted wait.",
        _BY_RUN,
        (
            f"{_JOBS}::test_a_submission_whose_answer_is_lost_is_found_again_and_runs_once",
            f"{_HEALTH}::test_a_server_that_is_away_for_60_s_is_asked_once_in_10_s_for_all_steps",
        ),
    ),
    *(Cell(fault, _HERE, NOTICES_NOTHING, _LATER, reason=_NO_CALLS) for fault in (SERVER, REDIRECT, ROTATED, TOGETHER)),
    *(_unnoticed(fault, _NO_CALLS) for fault in (BURST, RESETS, DROPPED, EXPIRED, LOST, REFUSED, FROZEN, RESTARTED)),
    *(_unnoticed(fault, _STARTS) for fault in (SIDECAR, CRASHES, REGISTRY, NO_SECRET, DENIED, REQUEUED)),
    _unnoticed(UPDATES, "A lock that is not renewed ends, but the run keeps its cluster."),
    _unnoticed(SKEW, "All times on the cluster are the API server's."),
    _unnoticed(UNMEASURED, "The cluster of a run is not measured."),
    _unnoticed(DISK, "What a step prints is Dagster's own matter."),
    _unnoticed(COPY, "The lock is renewed, and a cluster that shows life is kept by the copy's sensor."),
)
