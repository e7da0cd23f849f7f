"""Cells of the fault matrix: what comes and goes, or stays, while a cluster starts."""

from fault_evidence import KUBERAY_TESTS, LOST_HEAD, STEP_TESTS, with_ids
from fault_terms import (
    BY_LOCK,
    BY_STEP,
    CLEANUP,
    CONNECT,
    CRASHES,
    CREATE,
    DENIED,
    GOES_ON,
    JOB,
    KUBE_PIPES,
    NO_KUBERNETES,
    NO_SECRET,
    NOTICES_NOTHING,
    PHASES,
    PIPES,
    REGISTRY,
    REQUEUED,
    RUN,
    SENSOR,
    SHARED,
    SIDECAR,
    SUBMIT,
    TICK,
    UNCHANGED,
    WAIT,
    Cell,
)

_PASSING = f"{KUBERAY_TESTS}/steps/test_faults_passing.py"
_PATIENCE = f"{KUBERAY_TESTS}/steps/test_wait_patience.py"
_STATE = f"{KUBERAY_TESTS}/steps/test_wait_state.py"
_LASTING = f"{_STATE}::test_what_is_wrong_is_hopeless_once_it_has_lasted"
_PIPES = f"{KUBERAY_TESTS}/pipes/test_pipes_client.py"
_SIDECARS = f"{_PASSING}::test_a_sidecar_that_crashes_again_and_again_keeps_no_driver_from_the_head"
_VERSIONS = ("1.4.2", "1.7.0")
_EVERY_WAIT = {JOB: (WAIT,), SHARED: (WAIT,), KUBE_PIPES: (WAIT,)}
_AT_ITS_END = "The step deletes what it has made within 20 s. A shared cluster is deleted by its maker."

START_CELLS: tuple[Cell, ...] = (
    Cell(
        REQUEUED,
        _EVERY_WAIT,
        "The step goes on with the cluster that is there after the next admission. Time in the queue counts against "
        "`queue_timeout` and not against `timeout` (600 s).",
        UNCHANGED,
        (
            *with_ids(
                f"{_PASSING}::test_a_rayjob_that_a_queue_takes_back_and_admits_again_gets_its_next_cluster",
                "1.4.2",
                "1.5.0",
                "1.7.0",
            ),
            f"{_PASSING}::test_a_raycluster_that_a_queue_takes_back_and_admits_again_gets_its_next_head",
            f"{_STATE}::test_a_cluster_that_a_queue_takes_back_is_followed_by_the_one_that_it_admits_next",
        ),
    ),
    Cell(
        REQUEUED,
        {JOB: (CONNECT, RUN, CLEANUP)},
        "As when the head is killed. KubeRay does not suspend a `RayJob` that waits for its driver.",
        BY_STEP,
        (LOST_HEAD,),
    ),
    Cell(
        REQUEUED,
        {SHARED: (CONNECT, RUN, CLEANUP)},
        "As when the head is killed. The next step waits in the queue.",
        BY_LOCK,
        (LOST_HEAD, f"{STEP_TESTS}::test_a_shared_cluster_gets_another_head_for_the_next_step[{RUN}]"),
    ),
    Cell(
        REQUEUED,
        {KUBE_PIPES: (SUBMIT, RUN, CLEANUP)},
        "[ray-job-lost](errors/ray-job-lost.md), at once.",
        "The step deletes the `RayJob` within 20 s.",
        (
            f"{KUBERAY_TESTS}/pipes/test_pipes_job.py::"
            "test_only_an_end_that_is_not_the_jobs_own_counts[a queue takes its cluster]",
        ),
    ),
    Cell(
        SIDECAR,
        _EVERY_WAIT,
        f'{NOTICES_NOTHING} A head that accepts drivers is used. With `wait_for="workers"` the step waits for the '
        "operator, which never says ready: [not-ready](errors/not-ready.md) at the deadline, `timeout` (600 s), with "
        "the sidecar's name.",
        UNCHANGED,
        (
            *with_ids(_SIDECARS, *(f"{kind}-{version}" for kind in ("RayJob", "RayCluster") for version in _VERSIONS)),
            f"{_PIPES}::test_a_sidecar_that_crashes_again_and_again_keeps_no_job_from_the_head",
            f"{_PASSING}::test_a_sidecar_that_crashes_is_told_to_a_step_that_waits_for_the_workers",
            f"{_LASTING}[a sidecar that crashes]",
        ),
    ),
    Cell(
        CRASHES,
        _EVERY_WAIT,
        f"{GOES_ON} After 5 restarts, which take two and a half minutes or more: "
        "[cannot-start](errors/cannot-start.md) with the last lines of its log. After 3 restarts if it ran out of "
        "memory, after 2 if its command is missing.",
        _AT_ITS_END,
        (
            *with_ids(f"{_PATIENCE}::test_a_head_that_crashes_twice_before_it_serves_is_waited_for", *_VERSIONS),
            *with_ids(f"{_PATIENCE}::test_a_head_that_crashes_is_given_up_after_five_restarts", *_VERSIONS),
            *with_ids(_LASTING, "a head without memory, three times", "a head without its command, twice"),
            f"{KUBERAY_TESTS}/steps/test_faults.py::test_a_head_that_crashes_again_and_again_shows_its_last_lines",
            f"{_PIPES}::test_a_head_that_cannot_run_is_told_with_the_reason",
        ),
    ),
    Cell(
        NO_SECRET,
        _EVERY_WAIT,
        "The step's log names the Secret: [secret-missing](troubleshooting.md#secret-missing). The step goes on once "
        "it exists, and fails with [not-ready](errors/not-ready.md) at the deadline.",
        _AT_ITS_END,
        (f"{KUBERAY_TESTS}/steps/test_raycluster.py::test_a_secret_that_is_missing_is_named_and_leaves_nothing",),
    ),
    Cell(
        REGISTRY,
        _EVERY_WAIT,
        "[cannot-start](errors/cannot-start.md): if the registry does not have the image, after two pulls, within "
        "30 s; if credentials are missing or wrong (401, 403), after 2 minutes. If the registry is away or answers "
        "with 5xx or an error page, or a layer arrives damaged: the step goes on once a pull succeeds.",
        _AT_ITS_END,
        (
            *with_ids(
                f"{_PATIENCE}::"
                "test_an_image_that_does_not_exist_is_given_up_after_two_attempts_and_within_half_a_minute",
                "1.4.2",
                "1.5.0",
                "1.7.0",
                "1.7.0 without the right to read pods and events",
            ),
            *with_ids(f"{_PATIENCE}::test_credentials_that_stay_wrong_are_given_up_after_two_minutes", *_VERSIONS),
            *with_ids(f"{_PASSING}::test_a_registry_that_answers_with_a_page_twice_costs_its_back_off", *_VERSIONS),
            *with_ids(_LASTING, "a registry's error page", "a layer that is cut", "a registry that is away"),
            f"{KUBERAY_TESTS}/steps/test_raycluster.py::test_a_shared_cluster_that_cannot_start_is_deleted_by_its_maker",
        ),
    ),
    Cell(
        DENIED,
        _EVERY_WAIT,
        f"{GOES_ON} [cannot-start](errors/cannot-start.md) if a denial or a missing right lasts one minute, or a quota "
        "that is too small 10 s. A quota that is used up is waited for.",
        _AT_ITS_END,
        (
            *with_ids(_LASTING, "a webhook's denial", "the operator's rights", "a quota that is too small"),
            f"{_STATE}::test_what_was_seen_with_a_break_begins_anew",
        ),
    ),
    *(
        Cell(
            fault,
            {JOB: (CREATE,), SHARED: (CREATE,), KUBE_PIPES: (CREATE,)},
            NOTICES_NOTHING,
            UNCHANGED,
            reason="The object is only about to be created, and has neither queue nor pods.",
        )
        for fault in (REQUEUED, SIDECAR, CRASHES, REGISTRY, NO_SECRET, DENIED)
    ),
    *(
        Cell(
            fault,
            {JOB: (CONNECT, RUN, CLEANUP), SHARED: (CONNECT, RUN, CLEANUP), KUBE_PIPES: (SUBMIT, RUN, CLEANUP)},
            NOTICES_NOTHING,
            UNCHANGED,
            reason="The head serves by then. A head that dies later is [a head that is killed](#the-head-is-killed).",
        )
        for fault in (SIDECAR, CRASHES, REGISTRY, NO_SECRET, DENIED)
    ),
    *(
        Cell(
            fault,
            {SENSOR: (TICK,)},
            NOTICES_NOTHING,
            UNCHANGED,
            reason="The sensor judges by locks, runs and the objects; it reads no pods.",
        )
        for fault in (REQUEUED, SIDECAR, CRASHES, REGISTRY, NO_SECRET, DENIED)
    ),
    *(
        Cell(fault, {PIPES: PHASES[PIPES]}, NOTICES_NOTHING, UNCHANGED, reason=NO_KUBERNETES)
        for fault in (REQUEUED, SIDECAR, CRASHES, REGISTRY, NO_SECRET, DENIED)
    ),
)
