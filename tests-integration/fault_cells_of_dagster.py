"""Cells of the fault matrix: what goes wrong with Dagster's own database."""

from fault_evidence import KUBERAY_TESTS, with_ids
from fault_terms import (
    CLEANUP,
    CONNECT,
    COPY,
    CREATE,
    JOB,
    KUBE_PIPES,
    NO_KUBERNETES,
    NOTICES_NOTHING,
    PHASES,
    PIPES,
    RUN,
    SENSOR,
    SHARED,
    SUBMIT,
    TICK,
    UNCHANGED,
    UNMEASURED,
    WAIT,
    Cell,
)

_COPIES = f"{KUBERAY_TESTS}/collector/test_collector_copies.py"
_SIGNS = f"{_COPIES}::test_life_outweighs_a_storage_that_may_be_a_copy"
_BY_LOCKS = (
    f"{KUBERAY_TESTS}/collector/test_collector_plan.py::test_a_shared_cluster_goes_by_its_locks_whatever_its_run_does"
)
_OUTLIVES = f"{_COPIES}::test_what_production_uses_outlives_every_tick_of_its_copy"

_MEASURED = f"{KUBERAY_TESTS}/hours/test_measured_steps.py"

DAGSTER_CELLS = (
    Cell(
        UNMEASURED,
        {JOB: PHASES[JOB], SHARED: PHASES[SHARED], KUBE_PIPES: PHASES[KUBE_PIPES]},
        "Figures are missing, or marked `dagster_ray/estimated`; `dagster_ray/hours_unknown` says why. The step "
        "does not fail.",
        UNCHANGED,
        (
            f"{_MEASURED}::test_pods_that_may_not_be_listed_fail_no_step",
            f"{_MEASURED}::test_a_watch_that_is_refused_leaves_an_estimate",
            *with_ids(
                "packages/dagster-ray-core/tests/test_step_report.py::test_a_measurement_that_raises_fails_no_step",
                "measure",
                "read",
                "close",
            ),
        ),
    ),
    Cell(
        UNMEASURED,
        {SENSOR: (TICK,), PIPES: PHASES[PIPES]},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="It has no figures.",
    ),
    Cell(
        COPY,
        {JOB: (CREATE, WAIT, CONNECT), KUBE_PIPES: (CREATE, WAIT, SUBMIT)},
        NOTICES_NOTHING,
        f"{UNCHANGED} A `RayJob` is kept for an hour, while it is queued, and until its operator ends its wait.",
        with_ids(
            _SIGNS,
            "unknown run, RayJob without a driver for less",
            "unknown run, RayJob that the operator will end",
            "unknown run, RayJob in a queue",
            "failed run, RayJob in a queue",
        ),
    ),
    Cell(
        COPY,
        {JOB: (RUN, CLEANUP), KUBE_PIPES: (RUN, CLEANUP)},
        NOTICES_NOTHING,
        f"{UNCHANGED} If somebody cancels in the copy what was in progress at the dump, the `RayJob` of an interactive "
        "step is deleted, unless the copy has [an id of its own](kuberay-restored-database.md).",
        (
            _OUTLIVES,
            f"{_COPIES}::test_a_copy_with_an_id_of_its_own_leaves_everything_of_its_original",
            *with_ids(
                _SIGNS,
                "unknown run, RayJob of Pipes with a job",
                "canceled run, RayJob with a driver that came before the end",
                "finished run, RayJob of Pipes whose step was heard of after the end",
            ),
        ),
    ),
    Cell(
        COPY,
        {SHARED: PHASES[SHARED]},
        NOTICES_NOTHING,
        f"{UNCHANGED} Locks are the same for both instances.",
        with_ids(_BY_LOCKS, "gone-a live lock", "failed-a live lock"),
    ),
    Cell(
        COPY,
        {SENSOR: (TICK,)},
        "The tick names what it keeps because it shows life although its run is unknown or has failed here.",
        "What the original has left is deleted by either of them. With an id of its own the sensor deletes only what "
        "belongs to its own runs, a step that was never told that its run is canceled included.",
        (
            _OUTLIVES,
            f"{_COPIES}::test_what_production_has_left_goes_all_the_same",
            f"{_COPIES}::test_a_canceled_run_whose_step_was_never_told_goes_by_the_instances_own_id",
        ),
    ),
    Cell(COPY, {PIPES: PHASES[PIPES]}, NOTICES_NOTHING, UNCHANGED, reason=NO_KUBERNETES),
)
