"""What a backend promises to a step whose cluster is connected."""

import re

from dagster_ray.core.testing._backend import BackendUnderTest, Capability
from dagster_ray.core.testing._runs import Runs

_ADDRESS = re.compile(r"(ray://)?(\[[^\]]+\]|[^\s/:\[\]]+):\d+")


class ConnectionTests(BackendUnderTest):
    """The connected driver, and what the connection leaves behind in the process."""

    def test_a_bare_annotation_gets_the_connected_cluster(self, runs: Runs) -> None:
        """`ray_cluster: RayResource` is all that a step needs."""
        self.need(Capability.BARE_ANNOTATION)
        run = runs.succeeding()
        assert run.step.get("context") is not None, (
            "`context` must be what ray.init returned: steps read the cluster's versions and addresses from it"
        )
        assert run.succeeded, f"a step that does nothing wrong must succeed, cleanup included. {run.explanation}"

    def test_the_address_is_one_that_drivers_connect_to(self, runs: Runs) -> None:
        """Tools that a step starts can join the cluster."""
        address = runs.succeeding().step.get("address")
        assert _ADDRESS.fullmatch(address), (
            f"`address` is {address!r}; it must be ray://host:port or the GCS's host:port, for tools that a step starts"
        )

    def test_the_job_id_is_that_of_the_driver(self, runs: Runs) -> None:
        """The id leads from a step to its job in Ray's dashboard."""
        self.need(Capability.JOB_ID)
        step = runs.succeeding().step
        job_id = step.get("job_id")
        assert re.fullmatch("[0-9a-f]+", job_id or ""), (
            f"`job_id` is {job_id!r}; it must be Ray's hexadecimal id, by which users find the step in the dashboard"
        )
        if self.promises(Capability.REMOTE_TASKS):
            driver = step.get("driver")
            assert job_id == driver, f"`job_id` is {job_id}, but Ray calls this driver's job {driver}"

    def test_the_dashboard_has_a_url(self, runs: Runs) -> None:
        """Dagster shows the URL as a link."""
        self.need(Capability.DASHBOARD)
        url = runs.succeeding().step.get("dashboard_url")
        assert re.match(r"https?://[^/\s]+", url or ""), (
            f"`dashboard_url` is {url!r}; while connected it must be an http(s) URL, which Dagster shows as a link"
        )

    def test_remote_tasks_run(self, runs: Runs) -> None:
        """The cluster works."""
        self.need(Capability.REMOTE_TASKS)
        assert runs.succeeding().step.get("sum") == 42, "a remote task must run and return its value to the step"

    def test_what_remote_tasks_print_reaches_the_step(self, runs: Runs) -> None:
        """The last lines count most, and are lost if the driver leaves at once."""
        self.need(Capability.TASK_OUTPUT, Capability.REMOTE_TASKS)
        run = runs.succeeding()
        run.step.get("sum")
        assert run.plan.mark in run.output, (
            "what a remote task printed just before the step ended did not reach the step's output: wait for it in "
            f"`cleanup` before ray.shutdown, else users miss the last lines. {run.explanation}"
        )

    def test_a_process_can_connect_again(self, runs: Runs) -> None:
        """In the in-process executor one process serves one run after the other."""
        self.need(Capability.RECONNECTION)
        for run in (runs.succeeding(), runs.failing()):
            assert "context" in run.step.values, (
                "one process ran two resources, one after the other, and one of them did not connect: `cleanup` must "
                f"disconnect the driver, because a process has only one. Errors: {run.step.errors}"
            )

    def test_signal_handlers_stay_in_place(self, runs: Runs) -> None:
        """`ray.init` replaces the handler by which Dagster notices a termination."""
        self.need(Capability.PROCESS_STATE, Capability.PHASES_IN_STEP)
        replaced = runs.calling_phases().step.get("replaced_handlers")
        assert replaced == [], (
            f"the handlers of {', '.join(replaced)} were replaced by create, wait or connect: restore them, else a "
            "termination reaches Dagster late or not at all, and the cluster leaks"
        )

    def test_environment_variables_are_restored(self, runs: Runs) -> None:
        """`ray.init` sets variables that would change the next connection of this process."""
        self.need(Capability.PROCESS_STATE)
        run = runs.succeeding()
        assert run.changed_environment == [], (
            f"environment variables differ after the run: {', '.join(run.changed_environment)}. Restore them in "
            "`cleanup`: the next step of this process would connect with other settings"
        )
