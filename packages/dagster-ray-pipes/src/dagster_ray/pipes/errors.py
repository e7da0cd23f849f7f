"""What can go wrong with a Ray job, as types.

DagsterRayError
  JobServerUnavailableError   the job server did not answer in time
  JobServerRefusedError       it needs a token, or another one
  JobServerAnswerError        something other than a Ray job server answered
  SubmissionRefusedError      Ray refused the submission
  JobExistsError              another job has this submission id
  JobNotFoundError            no job has this submission id
  RayJobFailedError           the job ended as FAILED or STOPPED
  JobLostError                the job's node or cluster is gone, and its end will never be known
  PipesContextTooLargeError   the Pipes context does not fit into the job's environment
  PipesMessagesMissingError   the job succeeded, but its Pipes session was not received to its end
  PackageTooLargeError        a local package of the runtime_env is over Ray's limit
  StepNotMovableError         a step with driver="cluster" cannot run in another process (also a ValueError)
  DriverStartError            the cluster cannot run the step's code
  DriverSetupError            the step's resources could not be set up in the cluster
  DriverEventsMissingError    the step's job has ended without reporting how the step ended
  DriverElsewhereError        what only a body in the cluster has was read in the step's process
"""

from dagster_ray.core.errors import DagsterRayError, clause
from dagster_ray.core.failures import FailureClass
from dagster_ray.core.failures.causes import DROPPED_PACKAGE
from dagster_ray.pipes._driver_errors import (
    DriverElsewhereError,
    DriverEventsMissingError,
    DriverSetupError,
    DriverStartError,
    StepNotMovableError,
)

_MESSAGE_LINES, _LINE_CHARACTERS = 30, 500
# What the job manager says of a job that it has lost (ray/dashboard/modules/job/job_manager.py, Ray 2.46 to 2.60), and
# of one that never started. A supervisor whose process died without its node is not among them: memory may have ended.
_LOST_WORDS = ("node has died", "node it was running on is dead", "node was preempted", "failed to get job supervisor")
_SETUP_WORDS = ("runtime_env", "runtime environment", "could not be scheduled", "failed to start within")
_MEMORY_WORDS = ("OOMKilled", "out of memory", "memory pressure")

__all__ = [
    "DriverElsewhereError",
    "DriverEventsMissingError",
    "DriverSetupError",
    "DriverStartError",
    "JobExistsError",
    "JobLostError",
    "JobNotFoundError",
    "JobServerAnswerError",
    "JobServerRefusedError",
    "JobServerUnavailableError",
    "PackageTooLargeError",
    "PipesContextTooLargeError",
    "PipesMessagesMissingError",
    "RayJobFailedError",
    "StepNotMovableError",
    "SubmissionRefusedError",
]


class JobServerUnavailableError(DagsterRayError):
    """A Ray job server did not answer within the time that it may be away."""

    code = "job-server-unavailable"
    failure_class = "infrastructure"
    problem = "{call} at {address} got no answer for {seconds:.0f} s ({reason})."
    remedy = "{what_to_do}."

    address: str
    """The server's URL."""
    call: str
    """Method and path of the request."""
    seconds: float
    """How long the request was tried."""
    reason: str
    """What was last seen."""
    field: str = "timeout"
    """The field that limits the time: `timeout` of `RayJobClient` for a server that has not answered yet, and
    `server_timeout` of the Pipes client for one that has."""
    advice: str = ""
    """What to do about it, as a sentence, where more is known than the address."""

    @property
    def what_to_do(self) -> str:
        """The advice, or what helps at each stage."""
        if self.advice:
            return clause(self.advice)
        if self.field == "timeout":
            return (
                "check that the address is that of Ray's dashboard (port 8265) and that the step can reach it; raise "
                "`timeout` of `RayJobClient` if the server is slow to start"
            )
        return f"find out why the server stopped answering; raise `{self.field}` if it may be away for longer"


class JobServerRefusedError(DagsterRayError):
    """A Ray job server answered 401 or 403."""

    code = "job-server-refused"
    failure_class = "configuration"
    problem = "{address} refused {call} with {status}: {answer}."
    remedy = "set `token` of `RayJobClient`, or RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, to the cluster's token."

    address: str
    """The server's URL."""
    call: str
    """Method and path of the request."""
    status: int
    """The HTTP status."""
    answer: str
    """The beginning of the answer."""


class JobServerAnswerError(DagsterRayError):
    """A server gave an answer that no Ray job server gives."""

    code = "job-server-answer"
    failure_class = "configuration"
    problem = "{address} answered {call} with {status} and text that is not from a Ray job server: {answer}."
    remedy = "check that this is the address of Ray's dashboard, and that no login page or proxy answers in its place."

    address: str
    """The server's URL."""
    call: str
    """Method and path of the request."""
    status: int
    """The HTTP status."""
    answer: str
    """The beginning of the answer."""


class SubmissionRefusedError(DagsterRayError):
    """Ray refused a submission; no job was made."""

    code = "submission-refused"
    failure_class = "configuration"
    problem = "{address} refused the job {submission_id}: {reason}."
    remedy = "correct the submission as Ray's answer says."

    address: str
    """The server's URL."""
    submission_id: str
    """The job's submission id."""
    reason: str
    """The last line of Ray's answer."""


class JobExistsError(DagsterRayError):
    """Another job of the cluster has the submission id."""

    code = "job-exists"
    failure_class = "configuration"
    problem = "{address} already has another job with the submission id {submission_id}."
    remedy = "choose a `submission_id` that differs in each run, or leave it out."

    address: str
    """The server's URL."""
    submission_id: str
    """The job's submission id."""


class JobNotFoundError(DagsterRayError):
    """No job of the cluster has the submission id."""

    code = "job-not-found"
    failure_class = "infrastructure"
    problem = "{address} has no job {submission_id}."
    remedy = "check the submission id; a cluster whose head restarted has forgotten its jobs."

    address: str
    """The server's URL."""
    submission_id: str
    """The job's submission id."""


class RayJobFailedError(DagsterRayError):
    """A Ray job ended as FAILED, or was stopped."""

    code = "ray-job-failed"
    problem = "The Ray job {submission_id} ended as {status}{with_exit_code}{first_line}.{more_lines}"
    remedy = "{advice}."

    submission_id: str
    """The job's submission id."""
    status: str
    """FAILED or STOPPED."""
    message: str
    """Ray's message."""
    exit_code: int | None
    """The exit code of the job's driver, if Ray knows it."""
    last_lines: tuple[str, ...]
    """The last lines of the driver's log."""
    log: str = "the step's compute logs"
    """Where the whole log is."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Infrastructure if Ray has lost the node, the supervisor or a package; else by what Ray says of the start."""
        if any(words in self.message for words in (*_LOST_WORDS, DROPPED_PACKAGE)):
            return "infrastructure"
        return "configuration" if any(words in self.message for words in _SETUP_WORDS) else "user"

    @property
    def with_exit_code(self) -> str:
        """The exit code, as a part of the text."""
        return "" if self.exit_code is None else f" with exit code {self.exit_code}"

    @property
    def first_line(self) -> str:
        """The first line of Ray's message, as a part of the text."""
        first = self.message.strip().partition("\n")[0]
        return f": {first.rstrip('.:')}" if first else ""

    @property
    def more_lines(self) -> str:
        """The end of the log, or of Ray's message: a job that never ran has no log."""
        lines = self.last_lines or tuple(self.message.strip().splitlines()[1:][-_MESSAGE_LINES:])
        what = "The last lines of its log" if self.last_lines else "Ray's message goes on"
        return f" {what}:{''.join(f'{chr(10)}    {line[:_LINE_CHARACTERS]}' for line in lines)}\n" if lines else ""

    @property
    def advice(self) -> str:
        """What to do about a job that failed, that was stopped, or whose package is gone."""
        if self.status == "STOPPED":
            return "find out who stopped it; the step itself does so only when it is interrupted"
        if DROPPED_PACKAGE in self.message:
            return (
                "run the step again, which uploads the package again; if jobs often start long after their upload, set "
                "RAY_RUNTIME_ENV_TEMPORARY_REFERENCE_EXPIRATION_S in the head's container to more than Ray's 600 s"
            )
        return f"correct the job; its whole log is in {self.log}"


class JobLostError(DagsterRayError):
    """The job's node or cluster is gone, so that its end will never be known."""

    code = "ray-job-lost"
    problem = "The Ray job {submission_id} on {address} was lost: {reason}."
    remedy = "{what_to_do}."

    submission_id: str
    """The job's submission id."""
    address: str
    """The server's URL, or the display name of the cluster."""
    reason: str
    """What was seen."""
    advice: str = ""
    """What to do about it, where more is known than what was seen."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """User if memory ran out, else infrastructure."""
        return "user" if any(words in self.reason for words in _MEMORY_WORDS) else "infrastructure"

    @property
    def what_to_do(self) -> str:
        """The advice, or what helps in general."""
        general = "find out why the node or the head ended (memory, eviction, restart), then run the step again"
        return self.advice or general


class PipesContextTooLargeError(DagsterRayError, ValueError):
    """The Pipes context does not fit into an environment variable of the job; nothing was created."""

    code = "pipes-context-too-large"
    failure_class = "user"
    problem = "The Pipes context has {size_bytes} bytes; {variable} in the job's environment can hold {limit_bytes}."
    remedy = "pass less in `extras`, for example the path of a file."

    variable: str
    """The environment variable."""
    size_bytes: int
    """The size of the context, in bytes."""
    limit_bytes: int
    """The largest size that fits, in bytes."""


class PipesMessagesMissingError(DagsterRayError):
    """A job succeeded for Ray, but its Pipes session was not received, or not to its end."""

    code = "pipes-messages-missing"
    problem = "The Ray job {submission_id} succeeded, but {what} ({reason})."
    remedy = "{what_to_do}."

    submission_id: str
    """The job's submission id."""
    opened: bool
    """Whether the session was opened."""
    reason: str
    """What is known of the reason."""
    advice: str = ""
    """What to do about this reason, where it is not the job's code."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Infrastructure if what the job wrote could not be read, else user."""
        return "infrastructure" if self.advice else "user"

    @property
    def what(self) -> str:
        """What is missing, as a part of the text."""
        return "opened a Pipes session and never closed it" if self.opened else "sent no Pipes message"

    @property
    def what_to_do(self) -> str:
        """The advice, or what to change in the job."""
        if self.advice:
            return self.advice
        if self.opened:
            return "use `with open_dagster_pipes():` around the job's work, so that its session is closed at the end"
        return "use `with open_dagster_pipes():` around the job's work, or relax `require_messages` of the client"


class PackageTooLargeError(DagsterRayError, ValueError):
    """A local package of the runtime_env is over Ray's limit; nothing was submitted."""

    code = "package-too-large"
    failure_class = "configuration"
    problem = "The package of {path} is larger than Ray's limit of {limit}. Its biggest files: {files}."
    remedy = "leave files out with `excludes` of the runtime_env or a .gitignore."

    path: str
    """The folder or file."""
    limit_bytes: int
    """Ray's limit, in bytes."""
    biggest: tuple[tuple[str, int], ...]
    """The biggest files, with their sizes in bytes."""

    @property
    def limit(self) -> str:
        """The limit, as a part of the text."""
        return f"{self.limit_bytes / 2**20:g} MiB"

    @property
    def files(self) -> str:
        """The biggest files, as a part of the text."""
        return ", ".join(f"{name} ({size / 2**20:.1f} MiB)" for name, size in self.biggest)


def __dir__() -> list[str]:
    return sorted(__all__)
