"""Cells of the fault matrix: `driver="cluster"`, where it differs from a job of `PipesKubeRayJobClient`."""

from fault_evidence import KUBERAY_TESTS, PIPES_TESTS, with_ids
from fault_terms import (
    CLEANUP,
    CREATE,
    DISK,
    DRIVER,
    GOES_ON,
    HEAD,
    PHASES,
    RESETS,
    RUN,
    SIGKILL,
    SIGTERM,
    SUBMIT,
    UNCHANGED,
    UPDATES,
    WAIT,
    Cell,
)

_TESTS = f"{KUBERAY_TESTS}/driver/test_driver_in_cluster.py"
_PARTS = f"{PIPES_TESTS}/test_driver_in_cluster.py"
_KILLS = f"{KUBERAY_TESTS}/driver/test_driver_kills.py"
_BODY_GOES_ON = f"{_TESTS}::test_an_attempt_after_a_crash_goes_on_with_the_body_that_runs"
_DENIED = f"{_TESTS}::test_a_policy_that_denies_updates_costs_no_body"

DRIVER_CELLS: tuple[Cell, ...] = (
    Cell(
        SIGTERM,
        {DRIVER: PHASES[DRIVER]},
        "The run is canceled; it has failed if nobody canceled it. A retry policy does not apply.",
        "The step stops the job and reads it, for 6 s each, and then deletes its own cluster within 20 s. A shared "
        "one stays.",
        (
            *with_ids(f"{_TESTS}::test_a_termination_leaves_neither_job_nor_cluster", CREATE, WAIT, "body", "drain"),
            *with_ids(
                f"{_PARTS}::test_a_termination_ends_the_worker_and_the_step_is_not_tried_again",
                "a body that sleeps",
                "a body whose lines come faster than they are stored",
            ),
        ),
    ),
    Cell(
        SIGKILL,
        {DRIVER: PHASES[DRIVER]},
        "The step has failed; its body goes on, and a retry follows it. No event is lost, and none comes twice.",
        "Without a retry: the sensor. For a `RayJob` and one step in the process also the operator, 600 s after the "
        "job's end.",
        (
            *with_ids(_BODY_GOES_ON, "interactive", "a cluster of its own", "shared", "adopted"),
            f"{_TESTS}::test_an_attempt_after_a_crash_during_the_start_uses_the_cluster_that_comes",
            f"{_TESTS}::test_a_step_that_is_a_pod_of_its_own_is_killed_and_goes_on",
            *with_ids(f"{_KILLS}::test_a_step_that_is_killed_at_any_moment_ends_as_if_nothing_had_happened", "0", "1"),
        ),
    ),
    Cell(
        RESETS,
        {DRIVER: (SUBMIT, RUN, CLEANUP)},
        f"{GOES_ON} No event is lost, and none comes twice.",
        UNCHANGED,
        (f"{_PARTS}::test_connections_that_are_cut_at_any_byte_lose_and_double_nothing",),
    ),
    Cell(
        HEAD,
        {DRIVER: (SUBMIT, RUN, CLEANUP)},
        "[ray-job-lost](errors/ray-job-lost.md), as soon as a new head does not know the job, or the job server has "
        "been silent for 10 s and Kubernetes has another head pod or none. A retry policy starts a new body. After the "
        "step's last event, nothing.",
        "The step deletes its own cluster within 20 s.",
        (
            f"{_TESTS}::test_the_death_of_the_head_ends_the_attempt_by_a_typed_error_and_the_next_one_starts_anew",
            f"{_TESTS}::test_a_head_that_comes_back_at_another_address_ends_the_attempt_long_before_the_patience_with_"
            "a_job_server",
            f"{_TESTS}::test_what_a_cluster_that_is_gone_would_still_say_after_the_steps_end_is_not_waited_for",
        ),
    ),
    Cell(
        DISK,
        {DRIVER: (RUN, CLEANUP)},
        "[driver-events-missing](errors/driver-events-missing.md) if the body's events cannot be read for 60 s after "
        "the job's end, and the retry policy applies.",
        UNCHANGED,
        (f"{_PARTS}::test_events_that_cannot_be_read_fail_the_step_by_its_policy",),
    ),
    Cell(
        UPDATES,
        {DRIVER: (RUN, CLEANUP)},
        "A warning. The job id is written again every 10 s, and once more at the step's end. Where a process runs "
        "several steps, the operator's limit is lifted in the same way, and the id is written after the last step. The "
        "operator ends a `RayJob` that never gets it, and the body with it, at `preRunningDeadlineSeconds`, 660 s "
        "after its start.",
        "The operator deletes the cluster by the time to live that the `RayJob` was created with.",
        (_DENIED,),
    ),
)
