"""What a backend promises across processes, and to clusters that are not its own."""

import os

import pytest

from dagster_ray.core.testing._backend import BackendUnderTest, Capability, ExistingCluster
from dagster_ray.core.testing._plan import Notes, Script
from dagster_ray.core.testing._runs import Runs


class ProcessTests(BackendUnderTest):
    """Executors, signals, sharing and adoption."""

    def test_the_multiprocess_executor_works(self, runs: Runs) -> None:
        """Dagster's default: each step, and each attempt of it, has a process and a resource of its own."""
        self.need(Capability.MULTIPROCESS)
        run = runs.multiprocess()
        assert run.succeeded, f"a run of the multiprocess executor failed. {run.explanation}"
        assert run.step.get("context") is not None, "a step in a process of its own must be connected"
        assert run.step.get("pid") != os.getpid(), "the step must have run in another process"

    def test_a_body_runs_inside_the_cluster(self, runs: Runs) -> None:
        """A native driver: no connection carries its objects, and no network that breaks ends its work."""
        self.need(Capability.DRIVER_IN_CLUSTER)
        run = runs.inside()
        assert run.succeeded, f"a run with driver='cluster' failed. {run.explanation}"
        step = run.step
        assert step.get("context") == "RayContext", "the body must be a native driver, not one of Ray Client"
        assert not str(step.get("address")).startswith("ray://"), "`address` must be that of the cluster's GCS"
        assert step.get("display_name"), "the body must see the cluster's name"
        if self.promises(Capability.REMOTE_TASKS):
            assert step.get("sum") == 42, "a remote task must run and return its value to the body"
            assert step.get("job_id") == step.get("driver"), "`job_id` must be Ray's id of the body's own driver"

    def test_a_step_that_asks_for_a_retry_deletes_on_exception(self, runs: Runs) -> None:
        """The next attempt has a resource of its own, so nobody will use this one's cluster."""
        self.need(Capability.MULTIPROCESS, Capability.CLEANUP)
        if self.promises(Capability.SHARING):
            pytest.skip("a backend that shares may give the next attempt the same cluster")
        run = runs.multiprocess()
        assert len(run.attempts) == 2, f"the step that asked for a retry must run twice. {run.explanation}"
        first, second = (notes.get("cluster") for notes in run.attempts)
        assert first != second, "both attempts report the same cluster: look at `cluster_id`, or at a missing deletion"
        assert run.gone[first], (
            'an attempt that asked for a retry left its cluster under Lifecycle(cleanup="on_exception"): delete it for '
            "the outcome RETRY_REQUESTED, because the next attempt makes its own"
        )

    def test_sigterm_ends_the_run_in_time(self, runs: Runs) -> None:
        """What Dagster and Kubernetes send when a run is terminated."""
        self.need(Capability.TERMINATION)
        run, ended = runs.terminated()
        assert run.step.get("context") is not None, "a run in a process of its own must be connected"
        assert ended, (
            f"{self.termination_seconds:g} s after SIGTERM the process still ran: leave Dagster's signal handler in "
            f"place and keep `cleanup` short, else the process is killed and its cluster leaks. {run.explanation}"
        )
        if self.promises(Capability.CLEANUP):
            assert run.gone[run.step.get("cluster")], (
                'SIGTERM left the cluster under Lifecycle(cleanup="on_exception"): delete it for INTERRUPTED, '
                f"else every terminated run leaks a cluster. {run.explanation}"
            )

    def test_two_resources_of_one_configuration_meet(self, runs: Runs) -> None:
        """Sharing saves the start of a cluster."""
        self.need(Capability.SHARING)
        step = runs.meeting().step
        assert step.get("other") is not None, (
            f"the other process could not connect:\n{step.get('other_output')[-3000:]}"
        )
        other = Notes(**step.get("other"))
        assert other.get("cluster") == step.get("cluster"), (
            "two resources of one configuration, used at the same time, must meet on one cluster; each made its own"
        )

    def test_the_first_to_leave_does_not_end_a_shared_cluster(self, runs: Runs) -> None:
        """The other one is still at work."""
        self.need(Capability.SHARING)
        step = runs.meeting().step
        assert step.get("exists after the other"), (
            "the cluster was deleted by the first resource that left it, while another step was at work on it"
        )
        if self.promises(Capability.REMOTE_TASKS):
            assert step.get("sum after the other") == 42, (
                "a shared cluster must still work after another driver left it"
            )

    @pytest.mark.parametrize(
        "script",
        [pytest.param(Script.LOOK, id="after a success"), pytest.param(Script.FAIL, id="after a failure")],
    )
    def test_a_cluster_that_exists_already_is_used_and_not_deleted(
        self, runs: Runs, request: pytest.FixtureRequest, script: Script
    ) -> None:
        """It belongs to somebody else, whatever the lifecycle says."""
        self.need(Capability.ADOPTION)
        existing: ExistingCluster = request.getfixturevalue("existing")
        run = runs.adopting(existing, script)
        assert run.step.get("cluster") == existing.cluster, (
            "the resource did not use the cluster that exists already; a second one costs money, and data on the "
            "first is not found"
        )
        assert not run.gone[existing.cluster], (
            'the resource deleted a cluster that it did not make, under Lifecycle(cleanup="always"): delete only what '
            "`create` made, because others work on it"
        )
