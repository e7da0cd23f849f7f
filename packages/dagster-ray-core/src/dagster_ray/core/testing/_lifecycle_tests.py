"""What a backend promises about the order of its phases."""

import pytest

from dagster_ray.core.testing._backend import BackendUnderTest, Capability
from dagster_ray.core.testing._plan import Notes
from dagster_ray.core.testing._runs import Runs


def _must_not_be_connected(notes: Notes, when: str) -> None:
    for member in ("context", "job_id"):
        error = notes.errors.get(member, f"no error: it was {notes.values.get(member)!r}")
        assert error.startswith("NotConnectedError"), (
            f"{when}, `{member}` must raise NotConnectedError, but gave {error}"
        )


class LifecycleTests(BackendUnderTest):
    """Phases that are switched off, called by the step, or called when a run is over."""

    @pytest.mark.parametrize("phase", ["wait", "connect"])
    def test_a_phase_that_is_switched_off_does_not_run(self, runs: Runs, phase: str) -> None:
        """The step is to call it, so it must not have happened."""
        self.need(Capability.LIFECYCLE)
        _must_not_be_connected(runs.without(phase).step, f"with Lifecycle({phase}=False), before the step calls it")

    def test_create_that_is_switched_off_does_not_run(self, runs: Runs) -> None:
        """A step that may not need a cluster decides for itself."""
        self.need(Capability.LIFECYCLE, Capability.PHASES_IN_STEP)
        before = Notes(**runs.calling_phases().step.get("before"))
        _must_not_be_connected(
            before, "with Lifecycle(create=False), where the step creates its cluster only if it must"
        )

    def test_a_step_can_call_the_phases(self, runs: Runs) -> None:
        """With the phases switched off, a step calls them with its own context."""
        self.need(Capability.PHASES_IN_STEP)
        step = runs.calling_phases().step
        for phase in ("create", "wait", "connect"):
            assert phase not in step.errors, (
                f"`{phase}` called by a step, with the step's context, raised {step.errors[phase]}; steps call it "
                "when the lifecycle leaves it to them"
            )
        assert step.get("context") is not None, "after `create`, `wait` and `connect` a step must be connected"

    def test_cleanup_called_by_a_step_disconnects(self, runs: Runs) -> None:
        """A step gives its cluster back as soon as it can."""
        self.need(Capability.PHASES_IN_STEP)
        step = runs.calling_phases().step
        assert "cleanup" not in step.errors, f"`cleanup` called by a step raised {step.errors['cleanup']}"
        _must_not_be_connected(Notes(**step.get("after")), "after `cleanup`")

    def test_cleanup_called_by_a_step_deletes(self, runs: Runs) -> None:
        """With `cleanup="always"` a success deletes."""
        self.need(Capability.PHASES_IN_STEP, Capability.CLEANUP)
        step = runs.calling_phases().step
        assert step.get("exists"), "`cluster_exists` must know the cluster while it is connected; look at `cluster_id`"
        assert step.get("deleted"), (
            '`cleanup(context, SUCCEEDED)` under Lifecycle(cleanup="always") must delete the cluster; it costs money'
        )

    def test_a_second_cleanup_does_nothing(self, runs: Runs) -> None:
        """The step calls it, and Dagster calls it once more."""
        self.need(Capability.REPEATED_CLEANUP, Capability.PHASES_IN_STEP)
        run = runs.calling_phases()
        assert "second cleanup" not in run.step.errors, (
            f"a second `cleanup` raised {run.step.errors['second cleanup']}; it must do nothing, because Dagster calls "
            "it again after a step that called it, and that step would fail"
        )

    def test_nothing_is_created_for_a_run_that_has_ended(self, runs: Runs) -> None:
        """`dagster job execute` initializes resources once more after the run."""
        self.need(Capability.AFTER_RUN)
        after = runs.succeeding().after
        assert "set-up" not in after.errors, (
            f"set-up for a run that has ended raised {after.errors['set-up']}; it must do nothing: `dagster job "
            "execute` initializes resources once more after the run"
        )
        _must_not_be_connected(after, "in a run that has ended, for which nothing may be created a second time")
