"""What can go wrong with a Ray job, as types.

DagsterRayError
  JobServerUnavailableError   the job server did not answer in time
  JobServerRefusedError       it wants a token, or another one
  JobServerAnswerError        it answered what no Ray job server answers
  InvalidSubmissionError      the submission cannot be sent as it is (also a ValueError)
  SubmissionRefusedError      Ray refused the submission
  JobExistsError              another job has this submission id
  JobNotFoundError            no job has this submission id
  RayJobFailedError           the job ended as FAILED or STOPPED
  JobLostError                the job's node or cluster is gone, and its end will never be known
  PipesContextTooLargeError   the Pipes context does not fit into the job's environment
  PipesMessagesMissingError   the job succeeded, and its Pipes session was not heard to its end
  PackageNotFoundError        a local package of the runtime_env does not exist
  PackageTooLargeError        a local package of the runtime_env is over Ray's limit
"""

from typing_extensions import override

from dagster_ray.core.errors import DagsterRayError

_MESSAGE_LINES, _LINE_CHARACTERS = 30, 500

__all__ = [
    "InvalidSubmissionError",
    "JobExistsError",
    "JobLostError",
    "JobNotFoundError",
    "JobServerAnswerError",
    "JobServerRefusedError",
    "JobServerUnavailableError",
    "PackageNotFoundError",
    "PackageTooLargeError",
    "PipesContextTooLargeError",
    "PipesMessagesMissingError",
    "RayJobFailedError",
    "SubmissionRefusedError",
]


class JobServerUnavailableError(DagsterRayError):
    """A Ray job server did not answer within the time that it may be away."""

    code = "job-server-unavailable"

    def __init__(  # noqa: PLR0917 - an error unpickles by position
        self, address: str, call: str, seconds: float, reason: str, field: str = "timeout", advice: str = ""
    ) -> None:
        """Take the server's address, the call, the seconds of trying, what was last seen and the field that counts.

        The field is `timeout` of `RayJobClient` for a server that has not answered yet, and `server_timeout` of the
        Pipes client for one that has. The advice is what to do about it, where more is known than the address.
        """
        super().__init__(address, call, seconds, reason, field, advice)
        self.address, self.call, self.seconds, self.reason, self.field = address, call, seconds, reason, field
        self.advice = advice

    @property
    @override
    def problem(self) -> str:
        return f"{self.call} of {self.address} had no answer for {self.seconds:.0f} s ({self.reason.rstrip('.')})."

    @property
    @override
    def remedy(self) -> str:
        if self.advice:
            return f"{self.advice[:1].lower()}{self.advice[1:].rstrip('.')}."
        if self.field == "timeout":
            return (
                "check that the address is that of Ray's dashboard (port 8265) and can be reached from the step; a "
                "server that is slow to start gets more time with `timeout` of `RayJobClient`."
            )
        return f"find out why the server stopped answering, or let it be away for longer with `{self.field}`."


class JobServerRefusedError(DagsterRayError):
    """A Ray job server answered 401 or 403."""

    code = "job-server-refused"

    def __init__(self, address: str, call: str, status: int, answer: str) -> None:
        """Take the server's address, the call, the HTTP status and the beginning of the answer."""
        super().__init__(address, call, status, answer)
        self.address, self.call, self.status, self.answer = address, call, status, answer

    @property
    @override
    def problem(self) -> str:
        return f"{self.call} of {self.address} was refused with {self.status}: {self.answer.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "give the cluster's token as `token`, or in RAY_AUTH_TOKEN with RAY_AUTH_MODE=token, or fix the headers."


class JobServerAnswerError(DagsterRayError):
    """A Ray job server answered what no Ray job server answers."""

    code = "job-server-answer"

    def __init__(self, address: str, call: str, status: int, answer: str) -> None:
        """Take the server's address, the call, the HTTP status and the beginning of the answer."""
        super().__init__(address, call, status, answer)
        self.address, self.call, self.status, self.answer = address, call, status, answer

    @property
    @override
    def problem(self) -> str:
        return f"{self.call} of {self.address} got an unknown answer {self.status}: {self.answer.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "check that nothing stands between the step and Ray's dashboard that answers in its place."


class InvalidSubmissionError(DagsterRayError, ValueError):
    """A submission has a value that Ray would take badly; nothing was sent."""

    code = "invalid-submission"

    def __init__(self, field: str, reason: str) -> None:
        """Take the field and what is wrong with it."""
        super().__init__(field, reason)
        self.field, self.reason = field, reason

    @property
    @override
    def problem(self) -> str:
        return f"The Ray job cannot be submitted: `{self.field}` {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return f"correct `{self.field}`."


class SubmissionRefusedError(DagsterRayError):
    """Ray refused a submission; no job was made."""

    code = "submission-refused"

    def __init__(self, address: str, submission_id: str, reason: str) -> None:
        """Take the server's address, the submission id and the last line of Ray's answer."""
        super().__init__(address, submission_id, reason)
        self.address, self.submission_id, self.reason = address, submission_id, reason

    @property
    @override
    def problem(self) -> str:
        return f"{self.address} refused the job {self.submission_id}: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "correct the submission as Ray's answer says."


class JobExistsError(DagsterRayError):
    """Another job of the cluster has the submission id."""

    code = "job-exists"

    def __init__(self, address: str, submission_id: str) -> None:
        """Take the server's address and the submission id."""
        super().__init__(address, submission_id)
        self.address, self.submission_id = address, submission_id

    @property
    @override
    def problem(self) -> str:
        return f"{self.address} already has another job with the id {self.submission_id}."

    @property
    @override
    def remedy(self) -> str:
        return "choose a `submission_id` that differs in each run, or leave it out."


class JobNotFoundError(DagsterRayError):
    """No job of the cluster has the submission id."""

    code = "job-not-found"

    def __init__(self, address: str, submission_id: str) -> None:
        """Take the server's address and the submission id."""
        super().__init__(address, submission_id)
        self.address, self.submission_id = address, submission_id

    @property
    @override
    def problem(self) -> str:
        return f"{self.address} has no job {self.submission_id}."

    @property
    @override
    def remedy(self) -> str:
        return "check the id; a cluster that was restarted has forgotten its jobs."


class RayJobFailedError(DagsterRayError):
    """A Ray job ended as FAILED, or was stopped."""

    code = "ray-job-failed"

    def __init__(
        self, submission_id: str, status: str, message: str, exit_code: int | None, last_lines: tuple[str, ...]
    ) -> None:
        """Take the submission id, its status, Ray's message, the driver's exit code and the last lines of its log."""
        super().__init__(submission_id, status, message, exit_code, last_lines)
        self.submission_id, self.status, self.message = submission_id, status, message
        self.exit_code, self.last_lines = exit_code, last_lines

    @property
    @override
    def problem(self) -> str:
        code = "" if self.exit_code is None else f" with exit code {self.exit_code}"
        first, *more = self.message.strip().splitlines() or [""]
        told = f": {first.rstrip('.:')}" if first else ""
        # A job that never ran has no log; what its environment failed at stands in the message alone.
        lines = self.last_lines or tuple(more[-_MESSAGE_LINES:])
        what = "The last lines of its log" if self.last_lines else "Ray's message goes on"
        log = f" {what}:{''.join(f'{chr(10)}    {line[:_LINE_CHARACTERS]}' for line in lines)}\n" if lines else ""
        return f"The Ray job {self.submission_id} ended as {self.status}{code}{told}.{log}"

    @property
    @override
    def remedy(self) -> str:
        if self.status == "STOPPED":
            return "find out who stopped it; the step itself does so only when it is interrupted."
        return "correct the job; its whole log is in the step's compute logs."


class JobLostError(DagsterRayError):
    """The job's node or cluster is gone, so that its end will never be known."""

    code = "ray-job-lost"

    def __init__(self, submission_id: str, address: str, reason: str, advice: str = "") -> None:
        """Take the submission id, the server's address, what was seen, and what to do if more is known than that."""
        super().__init__(submission_id, address, reason, advice)
        self.submission_id, self.address, self.reason, self.advice = submission_id, address, reason, advice

    @property
    @override
    def problem(self) -> str:
        return f"The Ray job {self.submission_id} on {self.address} is lost: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        if self.advice:
            return f"{self.advice.rstrip('.')}."
        return "find out why the node or the head ended (memory, eviction, restart), then run the step again."


class PipesContextTooLargeError(DagsterRayError, ValueError):
    """The Pipes context does not fit into an environment variable of the job; nothing was created."""

    code = "pipes-context-too-large"

    def __init__(self, variable: str, size_bytes: int, limit_bytes: int) -> None:
        """Take the environment variable, the size of its value and the limit, in bytes."""
        super().__init__(variable, size_bytes, limit_bytes)
        self.variable, self.size_bytes, self.limit_bytes = variable, size_bytes, limit_bytes

    @property
    @override
    def problem(self) -> str:
        return (
            f"The Pipes context takes {self.size_bytes} bytes in {self.variable}; {self.limit_bytes} fit into the "
            "environment of a process."
        )

    @property
    @override
    def remedy(self) -> str:
        return "pass less in `extras`, for example the path of a file, or use another `context_injector`."


class PipesMessagesMissingError(DagsterRayError):
    """A job succeeded for Ray, but its Pipes session was not heard, or not to its end."""

    code = "pipes-messages-missing"

    def __init__(self, submission_id: str, opened: bool, reason: str) -> None:
        """Take the submission id, whether the session was opened, and what is known of the reason."""
        super().__init__(submission_id, opened, reason)
        self.submission_id, self.opened, self.reason = submission_id, opened, reason

    @property
    @override
    def problem(self) -> str:
        what = "opened a Pipes session and never closed it" if self.opened else "sent no Pipes message"
        return f"The Ray job {self.submission_id} succeeded, but {what} ({self.reason.rstrip('.')})."

    @property
    @override
    def remedy(self) -> str:
        return "use `with open_dagster_pipes():` around the job's work, or relax `require_messages` of the client."


class PackageNotFoundError(DagsterRayError, ValueError):
    """A local package of the runtime_env does not exist, or cannot be read; nothing was submitted."""

    code = "package-not-found"

    def __init__(self, field: str, path: str, reason: str) -> None:
        """Take the field, the path and what is wrong with it."""
        super().__init__(field, path, reason)
        self.field, self.path, self.reason = field, path, reason

    @property
    @override
    def problem(self) -> str:
        return f"`{self.field}` names {self.path}, which cannot be packed: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return f"correct the path in `{self.field}`, or give the URI of a package that the cluster can download."


class PackageTooLargeError(DagsterRayError, ValueError):
    """A local package of the runtime_env is over Ray's limit; nothing was submitted."""

    code = "package-too-large"

    def __init__(self, path: str, limit_bytes: int, biggest: tuple[tuple[str, int], ...]) -> None:
        """Take the folder or file, the limit, and its biggest files with their sizes, all in bytes."""
        super().__init__(path, limit_bytes, biggest)
        self.path, self.limit_bytes, self.biggest = path, limit_bytes, biggest

    @property
    @override
    def problem(self) -> str:
        files = ", ".join(f"{name} ({size / 2**20:.1f} MiB)" for name, size in self.biggest)
        limit = self.limit_bytes / 2**20
        return f"The package of {self.path} is over {limit:g} MiB, which Ray takes. Its biggest files: {files}."

    @property
    @override
    def remedy(self) -> str:
        return "leave files out with `excludes` of the runtime_env or a .gitignore, or put them where jobs read data."
