"""What a backend promises about the cluster at the end of a step."""

from dagster_ray.core._phases import StepOutcome, deletes
from dagster_ray.core.testing._backend import BackendUnderTest, Capability
from dagster_ray.core.testing._runs import NEVER_READY_SECONDS, Run, Runs


def _cluster_of(run: Run) -> str:
    cluster: str = run.step.get("cluster")
    assert run.step.get("exists"), "`cluster_exists` must know the cluster while it is connected; look at `cluster_id`"
    return cluster


class CleanupTests(BackendUnderTest):
    """Deleted or kept, for each way a step can end."""

    def test_a_step_that_succeeds_ends_as_the_default_lifecycle_says(self, runs: Runs) -> None:
        """What most users get."""
        self.need(Capability.CLEANUP)
        policy = self.make(**runs.fields).lifecycle.cleanup
        if not deletes(policy, StepOutcome.SUCCEEDED):
            self.need(Capability.KEPT_CLUSTER)
        run = runs.succeeding()
        assert run.gone[_cluster_of(run)] == deletes(policy, StepOutcome.SUCCEEDED), (
            f"after a step that succeeded, under the default cleanup={policy!r}, the cluster was "
            f"{'deleted' if run.gone[_cluster_of(run)] else 'left'}; users pay for it or miss it. {run.explanation}"
        )

    def test_a_step_that_fails_deletes_on_exception(self, runs: Runs) -> None:
        """Dagster does not pass the step's error to a resource: read the outcome that `cleanup` gets."""
        self.need(Capability.CLEANUP)
        run = runs.failing()
        assert run.gone[_cluster_of(run)], (
            'a failed step left its cluster under Lifecycle(cleanup="on_exception"): delete it for the outcome FAILED, '
            f"else it costs money until somebody notices. {run.explanation}"
        )

    def test_a_step_that_succeeds_keeps_the_cluster_on_exception(self, runs: Runs) -> None:
        """The user wants it for the next step, or to look at it."""
        self.need(Capability.CLEANUP, Capability.KEPT_CLUSTER)
        run = runs.succeeding_kept()
        assert not run.gone[_cluster_of(run)], (
            'a step that succeeded lost its cluster under Lifecycle(cleanup="on_exception"), which keeps it'
        )
        self._must_be_discarded(run)

    def test_never_keeps_the_cluster(self, runs: Runs) -> None:
        """The user wants to look at what happened."""
        self.need(Capability.CLEANUP, Capability.KEPT_CLUSTER)
        run = runs.failing_kept()
        assert not run.gone[_cluster_of(run)], (
            'the cluster was deleted under Lifecycle(cleanup="never"): the user keeps it to look at what happened'
        )
        self._must_be_discarded(run)

    def test_a_set_up_that_fails_leaves_nothing(self, runs: Runs) -> None:
        """Dagster does not call a resource again whose set-up failed."""
        self.need(Capability.FAILED_SETUP)
        run, seen = runs.failing_in_setup()
        assert "as planned" in run.failure, f"the error of a set-up that fails must reach Dagster. {run.explanation}"
        assert not run.attempts, "the step ran although its set-up had failed"
        assert "context" not in seen.values, (
            "the driver was still connected after a set-up that failed: disconnect, else the next one in this process "
            "cannot connect"
        )
        if self.promises(Capability.CLEANUP):
            assert run.gone[seen.get("cluster")], (
                'a set-up that failed left its cluster under Lifecycle(cleanup="on_exception"): clean up in set-up '
                "itself, because Dagster does not call a resource again whose set-up failed"
            )

    def test_a_cluster_that_is_never_ready_is_given_up(self, runs: Runs) -> None:
        """One budget for all phases: a backend that gave each its own would need twice as long, or thrice."""
        self.need(Capability.DEADLINE)
        run, seen = runs.never_ready()
        errors = {phase: seen.errors[phase] for phase in ("create", "wait", "connect") if phase in seen.errors}
        assert errors, "a cluster that is never ready passed create, wait and connect: one of them must raise"
        error = next(iter(errors.values()))
        assert error.startswith(("NotReadyError", "ConnectFailedError")), (
            f"a cluster that is never ready must end in NotReadyError or ConnectFailedError; it was {error}"
        )
        assert seen.get("seconds") < 2 * NEVER_READY_SECONDS, (
            f"create, wait and connect took {seen.get('seconds'):.0f} s with timeout={NEVER_READY_SECONDS:g}: let them "
            "spend one Deadline together, else a user's limit of 10 minutes becomes half an hour"
        )
        seen.get("cleanup")
        if self.promises(Capability.CLEANUP) and "cluster" in seen.values:
            assert run.gone[seen.get("cluster")], (
                "a cluster that was given up was left: `cleanup` with SETUP_FAILED must delete what `create` made"
            )

    def _must_be_discarded(self, run: Run) -> None:
        assert self.is_gone(_cluster_of(run)), (
            f"override `discard` in {type(self).__name__}: the kit has just left a cluster behind"
        )
