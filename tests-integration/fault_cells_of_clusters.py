"""Cells of the fault matrix: what the other parts do, operator, head, dashboard, API server, clocks and disks."""

from fault_evidence import (
    ASKS_NOTHING,
    CANNOT_STOP,
    FORGOTTEN_JOB,
    FORWARDED,
    FULL_DISK_OF_STEP,
    FULL_DISK_UNNOTICED,
    JOB_TESTS,
    KUBERAY_TESTS,
    LONG_OUTAGE,
    LOST_HEAD,
    LOST_HEADS_OF_JOBS,
    NOT_MISSED,
    PIPES_TESTS,
    RETRIED_STEPS,
    SERVER_DOWN,
    SHARING_MODEL,
    SILENT_DASHBOARD,
    SILENT_OPERATOR,
    SILENT_OPERATOR_OF_JOB,
    STAYS_AWAY,
    STEP_TESTS,
    TICK_WITHOUT_SERVER,
    UNREADABLE_LOG,
    WRONG_CLOCK,
    WRONG_CLOCKS,
    jobs_whose_kubernetes_meets,
    jobs_whose_server_meets,
    steps_that_meet,
    with_ids,
)
from fault_terms import (
    BY_LOCK,
    BY_STEP,
    CLEANUP,
    CONNECT,
    CREATE,
    DASHBOARD,
    DISK,
    FROZEN,
    GOES_ON,
    HEAD,
    JOB,
    KUBE_PIPES,
    NO_KUBERNETES,
    NOTICES_NOTHING,
    PHASES,
    PIPES,
    RESTARTED,
    RUN,
    SENSOR,
    SERVER,
    SHARED,
    SKEW,
    SUBMIT,
    TICK,
    UNCHANGED,
    WAIT,
    Cell,
)

CLUSTER_CELLS: tuple[Cell, ...] = (
    Cell(
        FROZEN,
        {JOB: (WAIT,), SHARED: (WAIT,), KUBE_PIPES: (WAIT,)},
        "[operator-silent](errors/operator-silent.md) at the deadline, `timeout` (600 s).",
        "The step asks for the deletion within 20 s. A RayCluster is gone at once; a `RayJob` has a finalizer of the "
        "operator's and is gone when the operator is back.",
        (*with_ids(SILENT_OPERATOR, "job", "shared"), SILENT_OPERATOR_OF_JOB),
    ),
    Cell(
        FROZEN,
        {JOB: (CONNECT, RUN, CLEANUP)},
        NOTICES_NOTHING,
        "The operator deletes the cluster when it is back, if that is later than 60 s after the driver's end.",
        with_ids(NOT_MISSED, "job-connect", "job-run", "job-cleanup"),
    ),
    Cell(
        FROZEN,
        {SHARED: (CONNECT, RUN, CLEANUP)},
        NOTICES_NOTHING,
        f"{UNCHANGED} Kubernetes itself removes the pods of a RayCluster that the sensor deletes.",
        with_ids(NOT_MISSED, "shared-connect", "shared-run", "shared-cleanup"),
    ),
    Cell(
        FROZEN,
        {SENSOR: (TICK,)},
        NOTICES_NOTHING,
        "A RayCluster is gone at once; a `RayJob` that is deleted is gone when the operator is back.",
        (*with_ids(NOT_MISSED, "shared-cleanup"), f"{SILENT_OPERATOR}[job]"),
    ),
    Cell(
        FROZEN,
        {KUBE_PIPES: (SUBMIT, RUN, CLEANUP)},
        f"{NOTICES_NOTHING} The job server is asked for the job, not the operator.",
        "The operator deletes the cluster when it is back. A `RayJob` that the step deletes stays until then.",
        (*jobs_whose_kubernetes_meets("operator restarted", RUN), SILENT_OPERATOR_OF_JOB),
    ),
    *(
        Cell(
            fault,
            {JOB: (CREATE,), SHARED: (CREATE,), KUBE_PIPES: (CREATE,)},
            NOTICES_NOTHING,
            UNCHANGED,
            reason="The API server alone takes a new object. The operator is missed in the phase wait.",
        )
        for fault in (FROZEN, RESTARTED)
    ),
    *(
        Cell(fault, {PIPES: PHASES[PIPES]}, NOTICES_NOTHING, UNCHANGED, reason=NO_KUBERNETES)
        for fault in (FROZEN, RESTARTED, SERVER)
    ),
    Cell(
        RESTARTED,
        {JOB: (WAIT,), SHARED: (WAIT,), KUBE_PIPES: (WAIT,)},
        GOES_ON,
        UNCHANGED,
        (
            *with_ids(
                f"{STEP_TESTS}::test_an_operator_that_is_restarted_while_a_cluster_comes_up_costs_its_absence",
                "job",
                "shared",
            ),
            *jobs_whose_kubernetes_meets("operator restarted", WAIT),
        ),
    ),
    Cell(
        RESTARTED,
        {
            JOB: (CONNECT, RUN, CLEANUP),
            SHARED: (CONNECT, RUN, CLEANUP),
            SENSOR: (TICK,),
            KUBE_PIPES: (SUBMIT, RUN, CLEANUP),
        },
        NOTICES_NOTHING,
        "What the operator has to delete, it deletes when it is back.",
        (
            *with_ids(NOT_MISSED, "job-connect", "job-run", "job-cleanup"),
            *with_ids(NOT_MISSED, "shared-connect", "shared-run", "shared-cleanup"),
            f"{SILENT_OPERATOR}[job]",
            *jobs_whose_kubernetes_meets("operator restarted", RUN),
            SILENT_OPERATOR_OF_JOB,
        ),
    ),
    Cell(
        HEAD,
        {JOB: (WAIT,), SHARED: (WAIT,), KUBE_PIPES: (WAIT,)},
        "The step goes on with the head that the operator makes next.",
        UNCHANGED,
        (
            *with_ids(f"{STEP_TESTS}::test_a_head_that_dies_before_it_serves_is_replaced", "job", "shared"),
            f"{KUBERAY_TESTS}/steps/test_faults_connect.py::test_a_head_that_dies_while_it_is_waited_for_is_replaced_by_the_next",
        ),
    ),
    Cell(
        HEAD,
        {JOB: (CONNECT,)},
        "While it connects, the step takes the next head, also through a port-forward. Without a next head: "
        "[not-ready](errors/not-ready.md) or [connect-failed](errors/connect-failed.md) at the deadline.",
        BY_STEP,
        (
            f"{KUBERAY_TESTS}/steps/test_faults_connect.py::"
            "test_a_head_that_dies_while_the_driver_connects_ends_the_step_at_its_deadline",
            f"{STEP_TESTS}::test_a_driver_that_connects_to_a_rayjob_by_a_port_forward_takes_the_next_head",
        ),
    ),
    Cell(
        HEAD,
        {JOB: (RUN, CLEANUP)},
        "Ray Client tries for 30 s to come back; then the step's next call of Ray raises `ConnectionError`. A step "
        "that needs Ray no more goes on. With [`retry_infrastructure`](failures.md), the step is tried again.",
        BY_STEP,
        (
            LOST_HEAD,
            *RETRIED_STEPS,
            f"{STEP_TESTS}::test_a_head_that_dies_at_the_end_keeps_no_rayjob_from_being_deleted",
        ),
    ),
    Cell(
        HEAD,
        {SHARED: (CONNECT, RUN, CLEANUP)},
        "While it connects, the step takes the next head. While it runs, its next call of Ray raises `ConnectionError` "
        "after 30 s.",
        f"Lock and cluster stay, and the next step gets the new head. {BY_LOCK}",
        (
            *with_ids(
                f"{STEP_TESTS}::test_a_shared_cluster_gets_another_head_for_the_next_step", CONNECT, RUN, CLEANUP
            ),
            LOST_HEAD,
        ),
    ),
    Cell(
        HEAD,
        {KUBE_PIPES: (SUBMIT,)},
        "The log names the pod and the reason of its end, and the job goes to the next head. Without a next head: "
        "[not-ready](errors/not-ready.md) at the end of `timeout`. If the `RayJob` is deleted meanwhile: "
        "[ray-job-lost](errors/ray-job-lost.md) at once.",
        f"As without the fault. After an error: {BY_STEP}",
        (
            f"{LOST_HEADS_OF_JOBS}::test_a_job_goes_to_the_head_that_replaces_the_one_which_it_was_submitted_to",
            f"{LOST_HEADS_OF_JOBS}::test_a_head_that_nobody_replaces_is_named_with_the_reason_of_its_end",
            f"{LOST_HEADS_OF_JOBS}::test_a_rayjob_that_is_deleted_while_its_job_is_submitted_ends_the_step",
        ),
    ),
    Cell(
        HEAD,
        {PIPES: (SUBMIT,)},
        "As while the dashboard is away: the job goes to the next head.",
        UNCHANGED,
        jobs_whose_server_meets("resets", PIPES, SUBMIT),
    ),
    Cell(
        HEAD,
        {KUBE_PIPES: (RUN, CLEANUP), PIPES: (RUN, CLEANUP)},
        "[ray-job-lost](errors/ray-job-lost.md), as soon as a new head does not know the job, the dashboard reports "
        f"the job's node as dead, or ({KUBE_PIPES}) the head's pod is gone. Through a port-forward that is seen at "
        "once. Without one, it is seen when the job server has been silent for 10 s and Kubernetes has another head "
        "pod or none. Otherwise: "
        "[job-server-unavailable](errors/job-server-unavailable.md) after `server_timeout` (30 minutes). "
        "With [`retry_infrastructure`](failures.md), the step is tried again.",
        f"{KUBE_PIPES}: the step deletes the `RayJob` within 20 s. {PIPES}: nothing is left of the job.",
        (
            *with_ids(FORGOTTEN_JOB, "pipes", "pipes on a RayJob"),
            f"{LOST_HEADS_OF_JOBS}::test_two_heads_that_go_and_then_success_give_one_materialization",
            f"{PIPES_TESTS}/test_follower.py::test_a_job_whose_node_is_dead_is_lost_although_it_is_running_for_ray",
            f"{PIPES_TESTS}/test_follower.py::test_a_server_that_stays_away_ends_the_following",
            *with_ids(CANNOT_STOP, "pipes", "pipes on a RayJob"),
            *with_ids(
                f"{LOST_HEADS_OF_JOBS}::"
                "test_a_job_whose_head_goes_is_lost_long_before_the_patience_with_a_dashboard_ends",
                "and is replaced",
                "and nobody replaces it",
            ),
        ),
    ),
    Cell(
        HEAD,
        {JOB: (CREATE,), SHARED: (CREATE,), KUBE_PIPES: (CREATE,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="There is no head yet. A shared cluster whose head was killed is taken as one whose head starts.",
    ),
    Cell(
        HEAD,
        {SENSOR: (TICK,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="The sensor judges by locks, runs and the objects; it asks no head.",
    ),
    Cell(
        DASHBOARD,
        {JOB: (WAIT,), SHARED: (WAIT,)},
        f"{NOTICES_NOTHING} Versions and token are not compared first; Ray Client reports later what does not fit.",
        UNCHANGED,
        (SILENT_DASHBOARD,),
    ),
    Cell(
        DASHBOARD,
        {JOB: (CREATE, CONNECT, RUN, CLEANUP), SHARED: (CREATE, CONNECT, RUN, CLEANUP), SENSOR: (TICK,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="A driver uses the port of Ray Client. The dashboard is asked once, at the end of the wait.",
    ),
    Cell(
        DASHBOARD,
        {KUBE_PIPES: (CREATE,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="There is no dashboard yet.",
    ),
    Cell(
        DASHBOARD,
        {KUBE_PIPES: (WAIT, SUBMIT, RUN), PIPES: (RUN,)},
        f"{GOES_ON} The job runs meanwhile, and each line of its log comes once. If it is away for "
        "longer, `timeout` (600 s) ends the step in wait, and `server_timeout` (30 minutes) in submit and run.",
        UNCHANGED,
        (
            *jobs_whose_server_meets("dashboard down for 60 s", KUBE_PIPES, WAIT, SUBMIT, RUN),
            *jobs_whose_server_meets("dashboard down for 60 s", PIPES, RUN),
            f"{PIPES_TESTS}/test_follower.py::test_a_server_that_stays_away_ends_the_following",
        ),
    ),
    Cell(
        DASHBOARD,
        {PIPES: (SUBMIT,)},
        f"{GOES_ON} If it is away for longer than `server_timeout` (30 minutes), or never answers the step within the "
        "`timeout` of `RayJobClient` (30 s): [job-server-unavailable](errors/job-server-unavailable.md).",
        UNCHANGED,
        (
            *jobs_whose_server_meets("dashboard down for 60 s", PIPES, SUBMIT),
            f"{JOB_TESTS}::test_a_job_server_that_is_away_for_longer_than_a_call_may_take_is_named_and_gets_no_job",
        ),
    ),
    Cell(
        DASHBOARD,
        {KUBE_PIPES: (CLEANUP,), PIPES: (CLEANUP,)},
        "A warning that the job could not be stopped, after `termination_timeout` (30 s).",
        f"{KUBE_PIPES}: the step deletes the `RayJob` within 20 s, and the job ends with it. {PIPES}: the job goes on.",
        with_ids(CANNOT_STOP, "pipes", "pipes on a RayJob"),
    ),
    Cell(
        SERVER,
        {JOB: (CREATE, WAIT, CONNECT), SHARED: (CREATE, WAIT, CONNECT), KUBE_PIPES: (CREATE, WAIT, SUBMIT)},
        f"{GOES_ON} Where less than five minutes are left of `timeout` (600 s): "
        "[kubernetes-unavailable](errors/kubernetes-unavailable.md).",
        f"{UNCHANGED} A step that ends meanwhile tries to delete for 20 s; what is left goes as after SIGKILL.",
        (
            *steps_that_meet(SERVER_DOWN, JOB, CREATE, WAIT, CONNECT),
            *steps_that_meet(SERVER_DOWN, SHARED, CREATE, WAIT, CONNECT),
            *jobs_whose_kubernetes_meets(SERVER_DOWN, CREATE, WAIT, SUBMIT),
            LONG_OUTAGE,
            *with_ids(STAYS_AWAY, "job", "shared"),
        ),
    ),
    Cell(
        SERVER,
        {JOB: (RUN,)},
        "Nothing where the head is reached directly, as in a pod. A port-forward breaks: after 30 s without it the "
        "step's next call of Ray raises `ConnectionError`.",
        UNCHANGED,
        (ASKS_NOTHING, LOST_HEAD),
    ),
    Cell(
        SERVER,
        {SHARED: (RUN,)},
        "As for a `RayJob`; also a warning that the lock could not be renewed.",
        "The lock is renewed within seconds when the server is back. With a `ttl_seconds` of less than the outage a "
        "tick of the sensor may come first.",
        steps_that_meet(SERVER_DOWN, SHARED, RUN),
    ),
    Cell(
        SERVER,
        {KUBE_PIPES: (RUN,)},
        "The step goes on. Where the dashboard is reached by a port-forward, its log is paused meanwhile.",
        UNCHANGED,
        (
            *jobs_whose_kubernetes_meets(SERVER_DOWN, RUN),
            FORWARDED,
            f"{KUBERAY_TESTS}/pipes/test_pipes_client.py::test_an_api_server_that_is_away_while_the_job_runs_fails_nothing",
        ),
    ),
    Cell(
        SERVER,
        {JOB: (CLEANUP,)},
        "The step's own error, and in the log that the cleanup has failed "
        "([kubernetes-unavailable](errors/kubernetes-unavailable.md)).",
        "Deleting is tried for 20 s. What is left goes as after SIGKILL: the operator deletes the cluster, since the "
        "driver has ended.",
        steps_that_meet(SERVER_DOWN, JOB, CLEANUP),
    ),
    Cell(
        SERVER,
        {SHARED: (CLEANUP,)},
        "The step's own result, and a warning if the lock was to be removed.",
        BY_LOCK,
        steps_that_meet(SERVER_DOWN, SHARED, CLEANUP),
    ),
    Cell(
        SERVER,
        {KUBE_PIPES: (CLEANUP,)},
        "The job's own result, and a warning that the `RayJob` could not be deleted.",
        "Deleting is tried for 20 s. What is left the operator deletes: the cluster, 600 s after the job's end.",
        jobs_whose_kubernetes_meets(SERVER_DOWN, CLEANUP),
    ),
    Cell(
        SERVER,
        {SENSOR: (TICK,)},
        "The tick has failed, with [kubernetes-unavailable](errors/kubernetes-unavailable.md).",
        "Nothing is deleted. The first tick afterwards does it.",
        (f"{TICK_WITHOUT_SERVER}[{SERVER_DOWN}]",),
    ),
    Cell(
        SKEW,
        {JOB: PHASES[JOB], SHARED: PHASES[SHARED], SENSOR: (TICK,), KUBE_PIPES: PHASES[KUBE_PIPES]},
        NOTICES_NOTHING,
        f"{UNCHANGED} Locks are written and judged by the API server's clock.",
        (
            *with_ids(WRONG_CLOCK, *(f"{feature}-{words}" for feature in ("job", "shared") for words in WRONG_CLOCKS)),
            *with_ids(
                f"{KUBERAY_TESTS}/collector/test_collector.py::test_only_the_servers_clock_dates_locks",
                "the server is an hour ahead",
                "the server is an hour behind",
            ),
            f"{JOB_TESTS}::test_a_job_on_a_rayjob_does_not_look_at_the_clocks_of_others",
            f"{SHARING_MODEL}[a few-no process dies]",
        ),
    ),
    Cell(
        SKEW,
        {PIPES: PHASES[PIPES]},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="The client measures durations by its monotonic clock, and takes a job's times from Ray alone.",
    ),
    Cell(
        DISK,
        {JOB: PHASES[JOB], SHARED: PHASES[SHARED]},
        "A step that prints gets `OSError` from its own `print`, and fails by it unless it catches it. Nothing of "
        "dagster-ray writes to the step's output, and a full disk of the head is the head's alone. "
        "[Evidence](evidence.md) that cannot be written costs one warning.",
        "As after any failure.",
        (
            *with_ids(FULL_DISK_UNNOTICED, "job", "shared"),
            f"{STEP_TESTS}::test_a_step_that_prints_on_a_full_disk_fails_and_leaves_no_rayjob",
            *with_ids(
                f"{KUBERAY_TESTS}/bundle/test_evidence.py::test_evidence_that_cannot_be_written_costs_one_warning",
                "KubeRayInteractiveJob",
                "KubeRayCluster",
            ),
        ),
    ),
    Cell(
        DISK,
        {SENSOR: (TICK,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="A tick writes nothing but what Dagster stores; a storage that is full is Dagster's error.",
    ),
    Cell(
        DISK,
        {KUBE_PIPES: (CREATE, WAIT, SUBMIT), PIPES: (SUBMIT,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="No log is read before the job is there.",
    ),
    Cell(
        DISK,
        {KUBE_PIPES: (RUN, CLEANUP), PIPES: (RUN, CLEANUP)},
        "The job goes on and decides the step's result. A warning at its end says that its log is not whole, "
        "for the head's side after 60 s of trying. A job that has opened a Pipes session whose end cannot be read: "
        "[pipes-messages-missing](errors/pipes-messages-missing.md).",
        UNCHANGED,
        (
            *with_ids(FULL_DISK_OF_STEP, "pipes", "pipes on a RayJob"),
            *with_ids(UNREADABLE_LOG, "pipes", "pipes on a RayJob"),
            f"{PIPES_TESTS}/test_follower.py::test_a_node_that_cannot_be_read_but_lives_is_no_end",
        ),
    ),
)
