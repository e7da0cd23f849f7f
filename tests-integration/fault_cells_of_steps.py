"""Cells of the fault matrix: what ends the step's process, and what happens to its calls."""

from fault_evidence import (
    ASKS_NOTHING,
    JOB_TESTS,
    KUBERAY_TESTS,
    LEFT_BY_KILLED_STEP,
    LONG_OUTAGE,
    PIPES_TESTS,
    PROCESSES_DIE,
    SIGTERM_STOPS_JOB,
    STEP_TESTS,
    TICK_WITHOUT_SERVER,
    WATCH_ENDS,
    jobs_whose_kubernetes_meets,
    jobs_whose_server_meets,
    steps_that_meet,
    with_ids,
)
from fault_terms import (
    BURST,
    BY_LOCK,
    BY_STEP,
    CLEANUP,
    CONNECT,
    CREATE,
    DROPPED,
    EXPIRED,
    GOES_ON,
    JOB,
    KUBE_PIPES,
    NOTICES_NOTHING,
    PHASES,
    PIPES,
    RESETS,
    RUN,
    SENSOR,
    SHARED,
    SIGKILL,
    SIGTERM,
    SUBMIT,
    TICK,
    UNCHANGED,
    WAIT,
    Cell,
)

STEP_CELLS: tuple[Cell, ...] = (
    Cell(
        SIGTERM,
        {JOB: PHASES[JOB]},
        "The run is canceled; it has failed if nobody canceled it.",
        BY_STEP,
        with_ids(
            f"{KUBERAY_TESTS}/steps/test_signals.py::test_sigterm_leaves_no_cluster",
            CREATE,
            WAIT,
            CONNECT,
            "body",
            CLEANUP,
        ),
    ),
    Cell(
        SIGTERM,
        {SHARED: (CREATE, WAIT)},
        "The run is canceled; it has failed if nobody canceled it.",
        "The step removes its lock, and deletes the cluster if it has made it and nobody else holds it, within 20 s.",
        with_ids(
            f"{KUBERAY_TESTS}/steps/test_signals.py::test_sigterm_before_a_shared_cluster_serves_leaves_none",
            CREATE,
            WAIT,
        ),
    ),
    Cell(
        SIGTERM,
        {SHARED: (CONNECT, RUN, CLEANUP)},
        "The run is canceled; it has failed if nobody canceled it.",
        f"The cluster stays for other steps. {BY_LOCK}",
        (
            *with_ids(
                f"{STEP_TESTS}::test_sigterm_leaves_a_shared_cluster_that_serves_to_its_lock", CONNECT, RUN, CLEANUP
            ),
            f"{KUBERAY_TESTS}/steps/test_signals.py::"
            "test_a_shared_cluster_outlives_a_step_that_is_stopped_by_the_time_of_its_lock[SIGTERM]",
        ),
    ),
    Cell(
        SIGTERM,
        {SENSOR: (TICK,)},
        "The tick is not recorded.",
        "Deletes that were sent are carried out; the next tick does the rest.",
        (PROCESSES_DIE,),
    ),
    Cell(
        SIGTERM,
        {KUBE_PIPES: (CREATE, WAIT)},
        "The run is canceled; it has failed if nobody canceled it.",
        BY_STEP,
        with_ids(
            f"{KUBERAY_TESTS}/pipes/test_pipes_signals.py::test_sigterm_stops_the_job_and_leaves_no_cluster",
            CREATE,
            WAIT,
        ),
    ),
    Cell(
        SIGTERM,
        {KUBE_PIPES: (SUBMIT, RUN, CLEANUP)},
        "The run is canceled; it has failed if nobody canceled it.",
        "The step stops the job, for which it waits `termination_timeout` (30 s), then deletes the `RayJob` within "
        "20 s. With `forward_termination=False` both go on, and a retry follows the job.",
        (
            *with_ids(SIGTERM_STOPS_JOB, *(f"pipes on a RayJob-{phase}" for phase in (SUBMIT, RUN, CLEANUP))),
            f"{KUBERAY_TESTS}/pipes/test_pipes_signals.py::test_sigterm_stops_the_job_and_leaves_no_cluster[job]",
            f"{KUBERAY_TESTS}/pipes/test_pipes_signals.py::test_with_forwarding_off_the_job_outlives_the_step",
        ),
    ),
    Cell(
        SIGTERM,
        {PIPES: PHASES[PIPES]},
        "The run is canceled; it has failed if nobody canceled it.",
        "The step stops the job, for which it waits `termination_timeout` (30 s). With `forward_termination=False` the "
        "job goes on, and a retry follows it.",
        with_ids(SIGTERM_STOPS_JOB, *(f"pipes-{phase}" for phase in PHASES[PIPES])),
    ),
    Cell(
        SIGKILL,
        {JOB: (CREATE, WAIT, CONNECT)},
        "The step has failed.",
        "The operator ends the `RayJob` at its `preRunningDeadlineSeconds`, 660 s after the cluster's start, and "
        "deletes the cluster 60 s later (KubeRay 1.6 or later). Before 1.6: the sensor, an hour and a tick after the "
        "start. Kubernetes does it sooner where the step's pod owns the `RayJob` and is deleted.",
        (
            *with_ids(
                f"{KUBERAY_TESTS}/steps/test_signals.py::test_sigkill_leaves_a_rayjob_that_the_operator_will_end",
                CREATE,
                WAIT,
                CONNECT,
            ),
            *with_ids(LEFT_BY_KILLED_STEP, WAIT),
            f"{KUBERAY_TESTS}/collector/test_collector.py::test_a_rayjob_waits_in_vain_while_its_run_goes_on",
        ),
    ),
    Cell(
        SIGKILL,
        {JOB: (RUN, CLEANUP)},
        "The step has failed.",
        "Ray ends the driver after 30 s, or after two minutes if its node was lost; the operator then does what it "
        "does after a success: it deletes the cluster 60 to 65 s later. While a pod of the cluster is missing, the "
        "operator looks at no driver. The sensor then deletes the cluster after 15 minutes without a sign of life; in "
        "a run that goes on, not before an hour after the start.",
        (
            *with_ids(LEFT_BY_KILLED_STEP, RUN),
            *with_ids(
                f"{KUBERAY_TESTS}/steps/test_signals.py::test_sigkill_leaves_a_rayjob_that_the_operator_will_end",
                "body",
                CLEANUP,
            ),
            f"{KUBERAY_TESTS}/collector/test_collector_copies.py::test_life_outweighs_a_storage_that_may_be_a_copy"
            "[failed run, RayJob with a driver and without all pods, silent since]",
        ),
    ),
    Cell(
        SIGKILL,
        {SHARED: PHASES[SHARED]},
        "The step has failed.",
        BY_LOCK,
        (
            PROCESSES_DIE,
            f"{KUBERAY_TESTS}/steps/test_signals.py::"
            "test_a_shared_cluster_outlives_a_step_that_is_stopped_by_the_time_of_its_lock[SIGKILL]",
        ),
    ),
    Cell(
        SIGKILL,
        {SENSOR: (TICK,)},
        "The tick is not recorded.",
        "Deletes that were sent are carried out; the next tick does the rest.",
        (PROCESSES_DIE,),
    ),
    Cell(
        SIGKILL,
        {KUBE_PIPES: (CREATE, WAIT, SUBMIT)},
        "The step has failed. A retry goes on with the `RayJob`.",
        "Without a retry: the operator, as for a `RayJob` whose driver never came.",
        (
            f"{KUBERAY_TESTS}/pipes/test_pipes_signals.py::test_a_retry_of_a_killed_step_goes_on_with_its_rayjob[create]",
            *with_ids(LEFT_BY_KILLED_STEP, WAIT),
        ),
    ),
    Cell(
        SIGKILL,
        {KUBE_PIPES: (RUN, CLEANUP)},
        "The step has failed; the job goes on, and a retry follows it.",
        "Without a retry: the operator deletes the cluster 600 s after the job's end.",
        (
            f"{KUBERAY_TESTS}/pipes/test_pipes_signals.py::test_a_retry_of_a_killed_step_goes_on_with_its_rayjob[job]",
            *with_ids(
                f"{KUBERAY_TESTS}/pipes/test_pipes_client.py::test_a_time_to_live_of_the_user_holds_once_all_is_read",
                "30",
            ),
        ),
    ),
    Cell(
        SIGKILL,
        {PIPES: PHASES[PIPES]},
        "The step has failed; the job goes on, and a retry follows it.",
        "Nothing: without a retry the job runs to its end.",
        (
            "tests-integration/test_pipes.py::test_a_step_that_was_killed_finds_its_job_when_it_is_retried",
            *with_ids(
                f"{PIPES_TESTS}/test_reattach.py::test_which_job_a_call_is_about",
                "one that waits is followed",
                "one that runs is followed",
                "one that has succeeded is read again",
            ),
        ),
    ),
    Cell(
        BURST,
        {JOB: (CREATE, WAIT, CONNECT, CLEANUP), SHARED: PHASES[SHARED]},
        f"{GOES_ON} Where it takes longer than what is left of `timeout`: "
        "[kubernetes-unavailable](errors/kubernetes-unavailable.md).",
        f"{UNCHANGED} A cleanup is tried for 20 s; what it could not delete goes as after SIGKILL.",
        (
            *steps_that_meet("burst of 429, 500, 503", JOB, CREATE, WAIT, CONNECT, CLEANUP),
            *steps_that_meet("burst of 429, 500, 503", SHARED, *PHASES[SHARED]),
            LONG_OUTAGE,
        ),
    ),
    Cell(
        BURST,
        {JOB: (RUN,)},
        "Nothing: a step that runs asks the API server for nothing, except a sign of life every 10 minutes if a pod "
        "was missing when it connected.",
        UNCHANGED,
        (ASKS_NOTHING,),
    ),
    Cell(
        BURST,
        {SENSOR: (TICK,)},
        "What could not be asked is named in the tick; a tick that could list nothing has failed.",
        "The next tick does the rest.",
        (
            f"{TICK_WITHOUT_SERVER}[burst of 503]",
            f"{KUBERAY_TESTS}/collector/test_collector.py::test_a_page_that_cannot_be_read_is_left_to_the_next_tick",
            f"{KUBERAY_TESTS}/collector/test_collector.py::test_a_delete_that_fails_stops_nothing_else",
        ),
    ),
    Cell(
        BURST,
        {KUBE_PIPES: PHASES[KUBE_PIPES]},
        f"{GOES_ON} So it is with a burst of the job server.",
        f"{UNCHANGED} A cleanup is tried for 20 s; what it could not delete goes as after SIGKILL.",
        (
            *jobs_whose_kubernetes_meets("burst of 429, 500, 503", CREATE, WAIT, RUN, CLEANUP),
            *jobs_whose_server_meets("burst of 429, 500, 503", KUBE_PIPES, SUBMIT, RUN),
            f"{SIGTERM_STOPS_JOB}[pipes on a RayJob-cleanup]",
        ),
    ),
    Cell(
        BURST,
        {PIPES: PHASES[PIPES]},
        f"{GOES_ON} A submission, or a stop, that gets no answer for 30 s: "
        "[job-server-unavailable](errors/job-server-unavailable.md), or a warning.",
        UNCHANGED,
        (
            *jobs_whose_server_meets("burst of 429, 500, 503", PIPES, SUBMIT, RUN),
            f"{SIGTERM_STOPS_JOB}[pipes-cleanup]",
            f"{JOB_TESTS}::test_a_job_server_that_is_away_for_longer_than_a_call_may_take_is_named_and_gets_no_job",
        ),
    ),
    Cell(
        RESETS,
        {JOB: (CREATE, WAIT, CONNECT, CLEANUP), SHARED: PHASES[SHARED]},
        GOES_ON,
        f"{UNCHANGED} A cleanup is tried for 20 s; what it could not delete goes as after SIGKILL.",
        (
            *steps_that_meet("resets", JOB, CREATE, WAIT, CONNECT, CLEANUP),
            *steps_that_meet("resets", SHARED, *PHASES[SHARED]),
        ),
    ),
    Cell(
        RESETS,
        {JOB: (RUN,)},
        "Nothing: a step that runs asks the API server for nothing, except a sign of life every 10 minutes if a pod "
        "was missing when it connected.",
        UNCHANGED,
        (ASKS_NOTHING,),
    ),
    Cell(
        RESETS,
        {SENSOR: (TICK,)},
        "What could not be asked is named in the tick; a tick that could list nothing has failed.",
        "The next tick does the rest.",
        (f"{TICK_WITHOUT_SERVER}[resets]",),
    ),
    Cell(
        RESETS,
        {KUBE_PIPES: PHASES[KUBE_PIPES], PIPES: PHASES[PIPES]},
        f"{GOES_ON} No message and no line of the log comes twice.",
        UNCHANGED,
        (
            *jobs_whose_kubernetes_meets("resets", CREATE, WAIT, RUN, CLEANUP),
            *jobs_whose_server_meets("resets", KUBE_PIPES, SUBMIT, RUN),
            *jobs_whose_server_meets("resets", PIPES, SUBMIT, RUN),
            *with_ids(SIGTERM_STOPS_JOB, "pipes-cleanup", "pipes on a RayJob-cleanup"),
            *with_ids(
                "tests-integration/test_pipes.py::"
                "test_each_message_comes_once_and_in_order_through_connections_that_break",
                "agent",
                "dashboard",
            ),
        ),
    ),
    *(
        Cell(
            fault,
            {JOB: (WAIT,), SHARED: (WAIT,), KUBE_PIPES: (WAIT, SUBMIT, RUN)},
            f"{NOTICES_NOTHING} The watch is taken up again{how}.",
            UNCHANGED,
            (
                *with_ids(WATCH_ENDS, *ids),
                *jobs_whose_kubernetes_meets(words, WAIT, RUN),
            ),
        )
        for fault, how, ids, words in (
            (
                DROPPED,
                " where it has ended",
                ("job-drop_watches", "job-cut_watches", "shared-drop_watches"),
                "watches dropped",
            ),
            (
                EXPIRED,
                " by a list, which needs the right to list",
                ("job-expire_watches", "shared-expire_watches"),
                "watches expired",
            ),
        )
    ),
    *(
        Cell(
            fault,
            {
                JOB: (CREATE, CONNECT, RUN, CLEANUP),
                SHARED: (CREATE, CONNECT, RUN, CLEANUP),
                KUBE_PIPES: (CREATE, CLEANUP),
                PIPES: PHASES[PIPES],
            },
            NOTICES_NOTHING,
            UNCHANGED,
            reason="No watch is open in these phases, or nothing that it says is waited for.",
        )
        for fault in (DROPPED, EXPIRED)
    ),
    Cell(
        DROPPED,
        {SENSOR: (TICK,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="The sensor reads lists and has no watch.",
    ),
    Cell(
        EXPIRED,
        {SENSOR: (TICK,)},
        f"{NOTICES_NOTHING} A list whose next page the server has forgotten begins again.",
        UNCHANGED,
        (f"{KUBERAY_TESTS}/collector/test_collector.py::test_a_list_that_the_server_has_forgotten_begins_again",),
    ),
)
