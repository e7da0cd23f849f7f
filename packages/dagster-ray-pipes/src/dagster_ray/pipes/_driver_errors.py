"""What can go wrong with a step whose body runs in the cluster, as types. `dagster_ray.pipes.errors` lists them."""

from dagster_ray.core.errors import DagsterRayError

_LINE_CHARACTERS = 500


class StepNotMovableError(DagsterRayError, ValueError):
    """A step with `driver="cluster"` cannot run in another process; nothing was submitted.

    Attributes:
        step: The step or run.
        reason: Why it cannot.
        advice: What to do.
    """

    code = "step-not-movable"
    failure_class = "configuration"
    problem = "{step} cannot run in the cluster: {reason}."
    remedy = "{advice}."

    step: str
    reason: str
    advice: str


class DriverStartError(DagsterRayError):
    """The cluster cannot run a step's code: software is missing or differs, or the code cannot be loaded there.

    Attributes:
        submission_id: The Ray job.
        reason: What was found in the cluster.
        advice: What to do.
    """

    code = "driver-start"
    failure_class = "configuration"
    problem = "The step cannot start in the cluster (Ray job {submission_id}): {reason}."
    remedy = "{advice}."

    submission_id: str
    reason: str
    advice: str


class DriverSetupError(DagsterRayError):
    """The step's resources could not be set up in the cluster.

    Attributes:
        submission_id: The Ray job.
        reason: What failed.
    """

    code = "driver-setup"
    failure_class = "user"
    problem = "The step of the Ray job {submission_id} did not run: {reason}."
    remedy = "make sure that each resource of the step also works inside the cluster: its set-up runs there, too."

    submission_id: str
    reason: str


class DriverEventsMissingError(DagsterRayError):
    """The Ray job of a step has ended, and Dagster's event that ends the step never came.

    Attributes:
        submission_id: The Ray job.
        status: Its status.
        reason: What is known of the reason; empty if nothing is.
        last_lines: The last lines of its log.
    """

    code = "driver-events-missing"
    failure_class = "user"
    problem = "The Ray job {submission_id} ended as {status}, but did not report how its step ended{told}.{log}"
    remedy = "look at the job's whole log for what ended its process: the step's body must not call `os._exit`."

    submission_id: str
    status: str
    reason: str
    last_lines: tuple[str, ...]

    @property
    def told(self) -> str:
        """The reason, in brackets."""
        return f" ({self.reason})" if self.reason else ""

    @property
    def log(self) -> str:
        """The last lines, as the error shows them."""
        lines = "".join(f"\n    {line[:_LINE_CHARACTERS]}" for line in self.last_lines)
        return f" The last lines of its log:{lines}\n" if lines else ""


class DriverElsewhereError(DagsterRayError):
    """Something was read that only the step's body has, and that runs in the cluster.

    Attributes:
        target: The cluster's name for logs.
        member: What was read.
    """

    code = "driver-elsewhere"
    failure_class = "user"
    problem = "`{member}` of {target} was read in the step's own process, but its driver is in the cluster."
    remedy = (
        "name the resource among the step's own parameters, even if another resource has it, so that the body runs in "
        "the cluster; and use it only in the body."
    )

    target: str
    member: str
