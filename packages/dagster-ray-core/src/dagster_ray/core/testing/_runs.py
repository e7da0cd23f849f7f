"""The runs that the tests of one contract class share: a cluster costs seconds, a look at its notes nothing."""

import contextlib
import io
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.core import Deadline, RayResource, StepOutcome
from dagster_ray.core._phases import deletes
from dagster_ray.core.testing._backend import BackendUnderTest, Capability, ExistingCluster
from dagster_ray.core.testing._jobs import RESOURCE_KEY, materialize
from dagster_ray.core.testing._plan import Notes, Plan, Script, environment_changes, location_of, read_notes
from dagster_ray.core.testing._steps import DeliberateError, child_command, child_environment, note_connection

NEVER_READY_SECONDS = 6.0


@dataclass(slots=True)
class Run:
    """What is left of a run."""

    plan: Plan
    succeeded: bool = False
    failure: str = ""
    """Why it did not succeed, in Dagster's words."""
    output: str = ""
    attempts: list[Notes] = field(default_factory=list[Notes])
    """What each attempt of its step saw; empty if set-up failed."""
    changed_environment: list[str] = field(default_factory=list[str])
    gone: dict[str, bool] = field(default_factory=dict[str, bool])
    """For each cluster that was seen, whether it was gone after the run."""
    after: Notes = field(default_factory=Notes)
    """What happened when Dagster initialized the resource once more."""

    @property
    def step(self) -> Notes:
        """What the last attempt of the step saw; fails the test if the step never began."""
        assert self.attempts, f"the step never began, so a user's code would not run. {self.explanation}"
        return self.attempts[-1]

    @property
    def explanation(self) -> str:
        """What Dagster and the process said."""
        return f"Why the run failed: {self.failure or 'it did not'}\nOutput:\n{self.output[-3000:]}"


class Runs:
    """The runs of one contract class, each carried out when a test first asks for it."""

    def __init__(
        self, backend: type[BackendUnderTest], fields: Mapping[str, Any], directory: Path, instance: dg.DagsterInstance
    ) -> None:
        """Take the author's class, what its fixture `fields` gave, a directory for notes and where runs are kept."""
        self._backend, self.fields, self._directory, self._instance = backend, fields, directory, instance
        self._numbers = itertools.count()
        self._done: dict[str, Run] = {}

    def _once(self, name: str, carry_out: Callable[[], Run]) -> Run:
        if name not in self._done:
            self._done[name] = carry_out()
        return self._done[name]

    # The runs

    def succeeding(self) -> Run:
        """A step that succeeds, with the backend's own lifecycle; then the resource is initialized again."""
        return self._once("succeeding", lambda: self._in_process(self.plan(Script.LOOK), again=True))

    def failing(self) -> Run:
        """A step that fails under `cleanup="on_exception"`, with a `timeout`."""
        plan = self.plan(Script.FAIL, cleanup="on_exception", fields={"timeout": self._backend.run_seconds})
        return self._once("failing", lambda: self._in_process(plan))

    def failing_kept(self) -> Run:
        """A step that fails under `cleanup="never"`."""
        return self._once("failing_kept", lambda: self._in_process(self.plan(Script.FAIL, cleanup="never")))

    def succeeding_kept(self) -> Run:
        """A step that succeeds under `cleanup="on_exception"`."""
        plan = self.plan(Script.LOOK, cleanup="on_exception")
        return self._once("succeeding_kept", lambda: self._in_process(plan))

    def calling_phases(self) -> Run:
        """A step that calls every phase, and cleanup twice."""
        plan = self.plan(Script.CALL_PHASES, create=False, cleanup="always")
        return self._once("calling_phases", lambda: self._in_process(plan))

    def without(self, phase: str) -> Run:
        """A step that only looks, with one phase switched off."""
        plan = self.plan(Script.READ, cleanup="always", fields=None, **{phase: False})
        return self._once(f"without {phase}", lambda: self._in_process(plan))

    def meeting(self) -> Run:
        """A step, and while it runs another one of the same configuration in another process."""
        return self._once("meeting", lambda: self._in_process(self.plan(Script.MEET)))

    def adopting(self, existing: ExistingCluster, script: Script) -> Run:
        """A step on a cluster that existed before."""
        plan = self.plan(script, cleanup="always", fields=existing.fields)
        return self._in_process(plan, adopted=existing.cluster)

    # How they are carried out

    def plan(self, script: Script, *, fields: Mapping[str, Any] | None = None, **lifecycle: Any) -> Plan:
        """Return a new plan with a directory of its own."""
        directory = self._directory / f"run-{next(self._numbers)}"
        directory.mkdir()
        file, contract = location_of(self._backend)
        return Plan(script, str(directory), file, contract, {**self.fields, **(fields or {})}, lifecycle or None)

    def _in_process(self, plan: Plan, *, adopted: str | None = None, again: bool = False) -> Run:
        run = Run(plan)
        before = dict(os.environ)
        with _captured(run):
            resource = plan.make(self._backend)
            outcome = StepOutcome.FAILED if plan.script is Script.FAIL else StepOutcome.SUCCEEDED
            kept = plan.script is Script.MEET or not deletes(resource.lifecycle.cleanup, outcome)
            result = materialize(plan, self._backend, resource, self._instance)
            run.succeeded, run.failure = result.success, failures_of(result.all_events)
            if again:
                self._initialise_again(run.after, plan, result.run_id)
        run.changed_environment = environment_changes(before)
        self._close(run, kept=kept, adopted=adopted)
        return run

    def _initialise_again(self, after: Notes, plan: Plan, run_id: str) -> None:
        """Do what `dagster job execute` does after a run, to let its caller look at outputs."""
        resources = {RESOURCE_KEY: self._backend.definition(plan.make(self._backend))}

        def initialise() -> None:
            over = self._instance.get_run_by_id(run_id)
            with dg.build_resources(resources, instance=self._instance, dagster_run=over) as built:
                note_connection(after, getattr(built, RESOURCE_KEY))

        after.note("set-up", initialise)

    def failing_in_setup(self) -> tuple[Run, Notes]:
        """A run whose set-up fails at its end; also what the resource says after that."""
        plan = self.plan(Script.LOOK, cleanup="on_exception")
        run, seen = Run(plan), Notes()
        failed: list[RayResource] = []

        def fail(resource: RayResource) -> None:
            failed.append(resource)
            seen.note("cluster", lambda: self._backend.cluster_id(resource))
            raise DeliberateError("the set-up fails, as planned")

        resource = self._backend.make_failing(fail, **plan.resource_fields())
        with _captured(run):
            result = materialize(plan, self._backend, resource, self._instance)
            run.succeeded, run.failure = result.success, failures_of(result.all_events)
        if failed:
            note_connection(seen, failed[-1])
        self._close(run, seen=seen)
        return run, seen

    def never_ready(self) -> tuple[Run, Notes]:
        """Phases of a cluster that is never ready, until they give up; then cleanup."""
        plan = self.plan(Script.LOOK, cleanup="on_exception", fields={"timeout": NEVER_READY_SECONDS})
        run, seen = Run(plan), Notes()
        resource = self._backend.make_never_ready(**plan.resource_fields())
        context = dg.build_init_resource_context(instance=self._instance)
        with _captured(run):
            begun = self._backend.seconds()
            for phase in ("create", "wait", "connect"):
                if not seen.note(phase, partial(getattr(resource, phase), context)):
                    break
                seen.note("cluster", lambda: self._backend.cluster_id(resource))
            seen.values["seconds"] = self._backend.seconds() - begun
            seen.note("cleanup", lambda: resource.cleanup(context, StepOutcome.SETUP_FAILED))
        self._close(run, seen=seen)
        return run, seen

    def multiprocess(self) -> Run:
        """A run of the multiprocess executor whose step asks once for a retry, under `cleanup="on_exception"`."""
        return self._once("multiprocess", self._multiprocess)

    def _multiprocess(self) -> Run:
        plan = self.plan(Script.RETRY, cleanup="on_exception")
        run = Run(plan)
        job = dg.build_reconstructable_job("dagster_ray.core.testing._jobs", "conformance_job", (str(plan.save()),), {})
        with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance, _captured(run):
            result = dg.execute_job(job, instance)
            run.succeeded, run.failure = result.success, failures_of(result.all_events)
        self._close(run, kept_last=True)
        return run

    def inside(self) -> Run:
        """A run of the multiprocess executor with `driver="cluster"`."""
        return self._once("inside", self._inside)

    def _inside(self) -> Run:
        # The body finds the author's file, and what that imports, as the kit's other processes do.
        paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}}
        plan = self.plan(Script.LOOK, cleanup="always", fields={"driver": "cluster", "runtime_env": paths})
        run = Run(plan)
        job = dg.build_reconstructable_job("dagster_ray.core.testing._jobs", "conformance_job", (str(plan.save()),), {})
        with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance, _captured(run):
            result = dg.execute_job(job, instance)
            run.succeeded, run.failure = result.success, failures_of(result.all_events)
        self._close(run)
        return run

    def terminated(self) -> tuple[Run, bool]:
        """A run in a process that gets SIGTERM while its step is busy; whether the process ended in time."""
        plan = self.plan(Script.STAY, cleanup="on_exception")
        run = Run(plan)
        output = Path(plan.directory) / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own module
                child_command(plan), env=child_environment(), stdout=sink, stderr=sink, start_new_session=True
            )
            try:
                ended = self._terminate(process, plan)
                run.output = output.read_text(errors="replace")
                self._close(run)
            finally:
                _kill_session(process)
        return run, ended

    def _terminate(self, process: "subprocess.Popen[bytes]", plan: Plan) -> bool:
        deadline = Deadline(self._backend.run_seconds)
        while not read_notes(Path(plan.directory)) and process.poll() is None and deadline.sleep(0.1):
            pass
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(self._backend.termination_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _close(
        self,
        run: Run,
        *,
        seen: Notes | None = None,
        kept: bool = False,
        kept_last: bool = False,
        adopted: str | None = None,
    ) -> None:
        """Collect the notes, ask what is left of each cluster and delete what a lifecycle kept."""
        run.attempts = read_notes(Path(run.plan.directory))
        if not self._backend.promises(Capability.CLEANUP) and adopted is None:
            return
        clusters = [
            str(notes.values["cluster"]) for notes in (seen, *run.attempts) if notes and "cluster" in notes.values
        ]
        for number, cluster in enumerate(clusters, start=1):
            # The next run must find this process free, so it is asked at once, and waits only for deletion.
            may_stay = kept or (kept_last and number == len(clusters)) or adopted is not None
            run.gone[cluster] = (
                not self._backend.cluster_exists(cluster) if may_stay else self._backend.is_gone(cluster)
            )
            if not run.gone[cluster] and cluster != adopted:
                self._backend.discard(cluster)


def failures_of(events: Sequence[dg.DagsterEvent]) -> str:
    """Return what the events of a run say about its failure."""
    data = ((event, getattr(event.event_specific_data, "error", None)) for event in events if event.is_failure)
    return "\n".join(f"{event.message} {'' if error is None else error.to_string()}" for event, error in data)


@contextlib.contextmanager
def _captured(run: Run) -> Generator[None]:
    """Keep what the process prints meanwhile, and print it again for pytest."""
    stream = io.StringIO()
    try:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
    finally:
        run.output = stream.getvalue()
        sys.stdout.write(run.output)


def _kill_session(process: "subprocess.Popen[bytes]") -> None:
    """End what is left of a process and of those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
