"""`RayJobClient`: Ray's job API over HTTP, without ray."""

import copy
import functools
import os
from collections.abc import Mapping
from typing import IO, Any, Self
from urllib.parse import quote

from typing_extensions import Unpack, override

from dagster_ray.core import Deadline, token_of_environment
from dagster_ray.core.variables import plain_value, resolved, variable_of
from dagster_ray.pipes._job_answers import (
    JobDetails,
    Node,
    ServerVersion,
    excerpt,
    is_absent,
    is_duplicate,
    json_object,
    last_line,
    passes,
    read_details,
    read_list,
    read_nodes,
    refuses,
)
from dagster_ray.pipes._job_server import Answer, Connection, JobServer, checked_address
from dagster_ray.pipes._packages import upload_runtime_env
from dagster_ray.pipes._submission import NONCE, RayJob, Submission, submission_of
from dagster_ray.pipes.errors import (
    JobExistsError,
    JobNotFoundError,
    JobServerAnswerError,
    JobServerRefusedError,
    JobServerUnavailableError,
    SubmissionRefusedError,
)

_UPLOAD_SECONDS = 600.0
_PAUSE_SECONDS = 0.5
_LAST_LOOK_SECONDS = 5.0


class RayJobClient:
    """Submits, watches and stops Ray jobs through the job server of a cluster (Ray 2.46 and later).

    Needs neither ray nor a Ray of the same version. Each call tries again while the server is away, and gives up
    after `timeout` seconds. Safe to use from several threads.

    Args:
        address: `http://host:port` of Ray's dashboard.
        headers: Headers of each request, for example of an ingress.
        cookies: Cookies of each request.
        token: Ray's token. Unset: what RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token say, if
            RAY_AUTH_MODE is `token`.
        verify: Whether certificates are verified, or the path of a file with the authorities that are trusted.
        timeout: Seconds that a call may take, attempts and pauses together.
        use_proxies: Whether the proxies of the environment are used.

    Raises:
        InvalidFieldError: `address` is not an http or https URL.
    """

    def __init__(
        self,
        address: str,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        token: str | None = None,
        verify: bool | str = True,
        timeout: float = 30.0,
        use_proxies: bool = True,
    ) -> None:
        """Take how the server is reached; nothing is sent yet."""
        given = {"address": address, "headers": headers or {}, "cookies": cookies or {}, "token": token}
        self._given: dict[str, Any] = {**given, "verify": verify, "use_proxies": use_proxies}
        if variable_of(address) is None:
            checked_address(address)
        self._timeout = timeout
        self._server_timeout: float | None = None
        self._answers = 0

    @functools.cached_property
    def connection(self) -> Connection:
        """How the server is reached, by the variables of the process that submits jobs."""
        given: dict[str, Any] = resolved(self._given, os.environ)
        given["token"] = token_of_environment(os.environ) if given["token"] is None else given["token"]
        given["use_proxies"] = plain_value(self._given["use_proxies"], bool, os.environ, "use_proxies")
        given["verify"] = {"true": True, "false": False}.get(given["verify"], given["verify"])
        return Connection(checked_address(given.pop("address")), **given)

    @functools.cached_property
    def server(self) -> JobServer:
        """The job server, with its connections."""
        return JobServer(self.connection)

    @property
    def address(self) -> str:
        """`http://host:port` of Ray's dashboard."""
        return self.connection.address

    def patient(self, server_timeout: float) -> Self:
        """Return a client of the same server that is patient once the server has answered it.

        Args:
            server_timeout: Seconds that a call may take from then on; until then `timeout` holds.
        """
        answers = self.server.answers  # of the one server that the copy shares
        found = copy.copy(self)
        found._server_timeout = server_timeout  # noqa: SLF001 - it is a copy of this one
        found._answers = answers  # noqa: SLF001
        return found

    @property
    def timeout(self) -> float:
        """Seconds that the next call may take."""
        return (
            plain_value(self._timeout, float, os.environ, "timeout")
            if self._is_new
            else float(self._server_timeout or 0.0)
        )

    @property
    def _is_new(self) -> bool:
        """Whether `timeout` is what counts: the server has not answered yet, or no patience is asked for."""
        return self._server_timeout is None or self.server.answers == self._answers

    @property
    def _field(self) -> str:
        return "timeout" if self._is_new else "server_timeout"

    @override
    def __repr__(self) -> str:
        given = self._given["address"]
        return f"RayJobClient({getattr(variable_of(given), 'name', given)!r})"

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; the client may be used again."""
        if "server" in self.__dict__:
            self.server.close()

    def version(self) -> ServerVersion:
        """Return which Ray answers.

        Raises:
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: It does not.
        """
        found = self._object("GET", "/api/version")
        return ServerVersion(str(found.get("ray_version", "")), str(found.get("session_name", "")))

    def submit(self, **job: Unpack[RayJob]) -> str:
        """Submit a job and return its submission id.

        Local folders and files of `runtime_env` are uploaded first. The id is fixed before anything is sent: after a
        lost answer the job is looked for before it is sent again, so that it never runs twice.

        Raises:
            InvalidFieldError: A field is wrong, or a local package cannot be read; nothing was submitted.
            PackageTooLargeError: A local package is over Ray's limit; nothing was submitted.
            JobExistsError: Another job has the id.
            SubmissionRefusedError: Ray refuses the job.
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not answer so.
        """
        submission = self.prepare(job)
        self.send(submission)
        return submission.submission_id

    def prepare(self, job: Mapping[str, Any]) -> Submission:
        """Check a job, upload its local packages and fix its id; the job itself is not sent yet.

        Args:
            job: The fields of a `RayJob`.

        Raises:
            InvalidFieldError: A field is wrong, or a local package cannot be read; nothing was sent.
            PackageTooLargeError: A local package is over Ray's limit.
            JobServerUnavailableError, JobServerRefusedError: The server does not answer, or wants a token.
        """
        return submission_of(job, lambda runtime_env: upload_runtime_env(runtime_env, _Packages(self)))

    def send(self, submission: Submission) -> None:
        """Submit a prepared job. After a lost answer it is looked for before it is sent again.

        Raises:
            JobExistsError: Another job has the id.
            SubmissionRefusedError: Ray refuses the job.
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not answer so.
        """
        submission_id = submission.submission_id
        deadline, field, last = Deadline(self.timeout), self._field, None
        while True:
            answer = self._post(submission.body, deadline)
            last = answer or last
            if answer is not None and answer.status == 200:
                return
            if (known := self._known(submission_id, answer, deadline)) is not None:
                if known.metadata.get(NONCE) != submission.nonce:
                    raise JobExistsError(self.address, submission_id)
                return
            if answer is not None and refuses(answer.status, answer.body):
                raise SubmissionRefusedError(self.address, submission_id, last_line(answer.body))
            self.server.after_failure()
            if not deadline.sleep(_PAUSE_SECONDS):
                if last is not None and last.status == 404:
                    raise JobServerAnswerError(self.address, "POST /api/jobs/", 404, self._said(last))
                reason = "the answer was lost" if last is None else last_line(last.body)
                spent = deadline.spent_seconds()
                raise JobServerUnavailableError(self.address, "POST /api/jobs/", spent, reason, field)

    def details(self, submission_id: str, *, timeout: float | None = None) -> JobDetails:
        """Return what the server knows of a job.

        Args:
            submission_id: The id that it was submitted with; Ray's id of a driver works too.
            timeout: Seconds that the call may take. Unset: those of the client.

        Raises:
            JobNotFoundError: There is no such job.
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not answer so.
        """
        found = self._object("GET", f"/api/jobs/{_part(submission_id)}", submission_id, timeout)
        details = read_details(found)
        if details is None:
            raise JobServerAnswerError(
                self.address, f"GET /api/jobs/{submission_id}", 200, excerpt(repr(found).encode())
            )
        return details

    def list(self) -> tuple[JobDetails, ...]:
        """Return all jobs of the cluster, and the drivers that were not submitted.

        Raises:
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not answer so.
        """
        answer = self.server.call("GET", "/api/jobs/", Deadline(self.timeout), field=self._field)
        found = read_list(answer.body) if answer.status == 200 else None
        if found is None:
            raise JobServerAnswerError(self.address, "GET /api/jobs/", answer.status, self._said(answer))
        return found

    def stop(self, submission_id: str, *, timeout: float | None = None) -> bool:
        """Ask Ray to stop a job: SIGTERM to its processes, SIGKILL after three seconds.

        Args:
            submission_id: The id that it was submitted with.
            timeout: Seconds that the call may take. Unset: those of the client.

        Returns:
            Whether there was something to stop. A job that waits for resources stays PENDING until it is scheduled.

        Raises:
            JobNotFoundError: There is no such job.
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not answer so.
        """
        found = self._object("POST", f"/api/jobs/{_part(submission_id)}/stop", submission_id, timeout)
        return found.get("stopped") is True

    def delete(self, submission_id: str) -> bool:
        """Make Ray forget a job that has ended; its log stays on the node.

        Raises:
            JobNotFoundError: There is no such job.
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not answer so; a
                job that has not ended is an unknown answer 500.
        """
        found = self._object("DELETE", f"/api/jobs/{_part(submission_id)}", submission_id)
        return found.get("deleted") is True

    def nodes(self, *, timeout: float | None = None) -> tuple[Node, ...] | None:
        """Return the nodes of the cluster, with their session folders; None where the dashboard does not tell.

        A head that has just started is not among them for some seconds.

        Args:
            timeout: Seconds that the call may take. Unset: those of the client.

        Raises:
            JobServerUnavailableError, JobServerRefusedError: The server does not answer.
        """
        deadline = Deadline(self.timeout if timeout is None else timeout)
        answer = self.server.call("GET", "/nodes", deadline, params={"view": "summary"}, field=self._field)
        return read_nodes(answer.body) if answer.status == 200 else None

    def has_package(self, name: str) -> bool:
        """Return whether the cluster has a package, `_ray_pkg_<hash>.zip`.

        Raises:
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not answer so.
        """
        path = f"/api/packages/gcs/{_part(name)}"
        answer = self.server.call("GET", path, Deadline(self.timeout), field=self._field)
        if answer.status != 200 and not is_absent(answer.status, answer.body):
            raise JobServerAnswerError(self.address, f"GET {path}", answer.status, self._said(answer))
        return answer.status == 200

    def put_package(self, name: str, file: IO[bytes]) -> None:
        """Upload a package. A repetition does no harm, so it is tried again when the connection breaks.

        Raises:
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: The server does not take it.
        """
        import requests

        path, deadline = f"/api/packages/gcs/{_part(name)}", Deadline(max(self.timeout, _UPLOAD_SECONDS))
        call = f"PUT {path}"
        while True:
            file.seek(0)
            try:
                answer = self.server.attempt("PUT", self.address + path, deadline.remaining_seconds(), data=file)
            except requests.RequestException as error:
                self.server.after_failure()
                if not deadline.sleep(_PAUSE_SECONDS):
                    spent = deadline.spent_seconds()
                    reason = type(error).__name__
                    raise JobServerUnavailableError(self.address, call, spent, reason, self._field) from error
                continue
            if answer.status == 200:
                return
            if answer.status in {401, 403}:
                raise JobServerRefusedError(self.address, call, answer.status, self._said(answer))
            self.server.after_failure()
            if not passes(path, answer.status, answer.body) or not deadline.sleep(_PAUSE_SECONDS):
                raise JobServerAnswerError(self.address, call, answer.status, self._said(answer))

    def _said(self, answer: Answer) -> str:
        return excerpt(answer.body) + self.server.through

    def _post(self, body: Mapping[str, Any], deadline: Deadline) -> Answer | None:
        """Return the answer to one POST; None if it was lost."""
        try:
            return self.server.call("POST", "/api/jobs/", deadline, json=body, once=True)
        except JobServerUnavailableError:
            return None

    def _known(self, submission_id: str, answer: Answer | None, deadline: Deadline) -> JobDetails | None:
        """Return the job if the server has it; None if it has not, or does not answer now."""
        if answer is not None and refuses(answer.status, answer.body) and not is_duplicate(answer.status, answer.body):
            return None
        try:
            # One POST can take all the time; what became of it is asked all the same.
            return self.details(submission_id, timeout=max(_LAST_LOOK_SECONDS, deadline.remaining_seconds()))
        except (JobNotFoundError, JobServerUnavailableError, JobServerAnswerError):
            return None

    def _object(
        self, method: str, path: str, submission_id: str | None = None, timeout: float | None = None
    ) -> Mapping[str, Any]:
        deadline = Deadline(self.timeout if timeout is None else timeout)
        answer = self.server.call(method, path, deadline, field=self._field)
        if submission_id is not None and is_absent(answer.status, answer.body):
            raise JobNotFoundError(self.address, submission_id)
        found = json_object(answer.body) if answer.status == 200 else None
        if found is None:
            raise JobServerAnswerError(self.address, f"{method} {path}", answer.status, self._said(answer))
        return found


class _Packages:
    """The packages of a cluster, as a place to upload to."""

    def __init__(self, client: RayJobClient) -> None:
        self._client = client

    def has(self, name: str) -> bool:
        """Return whether a package is there."""
        return self._client.has_package(name)

    def put(self, name: str, file: IO[bytes]) -> None:
        """Upload a package."""
        self._client.put_package(name, file)


def _part(text: str) -> str:
    return quote(text, safe="")
