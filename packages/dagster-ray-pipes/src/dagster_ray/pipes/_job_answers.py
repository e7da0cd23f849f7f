"""What the answers of a Ray job server mean. Pure.

Routes and answers are those of Ray 2.46 to 2.60 (ray/dashboard/modules/job/job_head.py), run with 2.60.
"""

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

EXCERPT = 500
_TERMINAL = {"SUCCEEDED", "FAILED", "STOPPED"}
_LAST_MILLISECONDS = 1e15
"""About the year 33658: what is later is no time."""
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_ROUTES_OF_ONE = ("/api/jobs/", "/api/packages/")


@dataclass(frozen=True, slots=True)
class JobDetails:
    """What a job server says of one job.

    Attributes:
        submission_id: The id that it was submitted with; empty for a driver that was not submitted.
        job_id: Ray's id of its driver; None before the driver has connected.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: Ray's words about the status.
        error_type: Ray's kind of error, such as RUNTIME_ENV_SETUP_FAILURE.
        metadata: What was submitted as metadata.
        start_time: Unix seconds of the submission; None if unknown.
        end_time: Unix seconds of the end; None before it.
        agent_address: URL of the agent on the driver's node; None while the driver has no node.
        node_id: Ray's id of the driver's node.
        exit_code: The driver's exit code; None before its end, or if Ray does not know it.
        requests: What its driver requests from Ray, by the names of `ray_executor`: CPUs, GPUs, bytes of memory, and
            custom resources.
    """

    submission_id: str
    status: str
    job_id: str | None = None
    message: str = ""
    error_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    start_time: float | None = None
    end_time: float | None = None
    agent_address: str | None = None
    node_id: str | None = None
    exit_code: int | None = None
    requests: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def requested(self) -> str:
        """What its driver requests, as `num_cpus=2, disk=0.5`; empty if that is nothing."""
        return ", ".join(f"{name}={amount}" for name, amount in self.requests.items())

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, whatever the end was."""
        return self.status in _TERMINAL


@dataclass(frozen=True, slots=True)
class ServerVersion:
    """Which Ray answers, and its session."""

    ray_version: str
    """The server's version of Ray."""
    session_name: str
    """Ray's name of the head's session; another head has another one."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster, as the dashboard lists it."""

    node_id: str
    """Ray's id of the node."""
    is_head: bool
    """Whether it is the head."""
    is_alive: bool
    """Whether Ray counts it as alive."""
    session_dir: str | None
    """The folder of Ray's session on the node; None if the dashboard does not report it."""


def node_is_dead(node_id: str | None, nodes: Sequence[Node]) -> bool:
    """Return whether a node is dead: of a job on it Ray may say RUNNING for ever (run with Ray 2.60).

    Args:
        node_id: The node; None: the job has none yet.
        nodes: The nodes of the cluster; none if they are unknown.
    """
    if node_id is None or not nodes:
        return False
    return not any(node.node_id == node_id and node.is_alive for node in nodes)


def log_name(submission_id: str) -> str:
    """Return the name of a job's driver log in Ray's log folder (ray/dashboard/modules/job/common.py)."""
    return f"job-driver-{submission_id}.log"


def json_object(body: bytes) -> Mapping[str, Any] | None:
    """Return a JSON object; None if it is none."""
    found = _json(body)
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else None


def excerpt(body: bytes) -> str:
    """Return the beginning of an answer, as text on one line."""
    return " ".join(body[: 4 * EXCERPT].decode(errors="replace").split())[:EXCERPT] or "nothing"


def last_line(body: bytes) -> str:
    """Return the last line of an answer, which is what a Python traceback says in short."""
    lines = [line.strip() for line in body.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:EXCERPT] if lines else "nothing"


def is_transient(status: int) -> bool:
    """Return whether asking again may get another answer. Ray has 500 for much that passes."""
    return status in _TRANSIENT


def is_absent(status: int, body: bytes) -> bool:
    """Return whether Ray itself says that a job or package is not there (job_head.py; the same in 2.46 and 2.60).

    Any other 404 is of something in between, such as an ingress that has lost its route: it says nothing of the job.
    """
    return status == 404 and body.rstrip().endswith(b"does not exist")


def passes(path: str, status: int, body: bytes) -> bool:
    """Return whether asking again may get another answer, since this one is not Ray's last word."""
    is_foreign = status == 404 and path.startswith(_ROUTES_OF_ONE) and not is_absent(status, body)
    return is_transient(status) or is_foreign


def refuses(status: int, body: bytes) -> bool:
    """Return whether Ray says no to a submission for good. It has no 404 for one.

    That is 4xx, or a 500 whose traceback ends in an error about a value.
    """
    if 400 <= status < 500:
        return not is_transient(status) and status != 404
    return status == 500 and last_line(body).startswith(("ValueError", "TypeError"))


def is_duplicate(status: int, body: bytes) -> bool:
    """Return whether a submission was refused since its id is taken: a 500 with a traceback (job_manager.py)."""
    return status in {400, 409, 500} and b"already exists" in body


def read_list(body: bytes) -> "tuple[JobDetails, ...] | None":
    """Return the jobs of `/api/jobs/`; None if the answer is no list."""
    found = _json(body)
    if not isinstance(found, list):
        return None
    details = [read_details(_mapping(entry)) for entry in _list(cast("object", found))]
    return tuple(one for one in details if one is not None)


def read_details(found: Mapping[str, Any]) -> JobDetails | None:
    """Return what an entry of the job server says; None if it is no job."""
    status = found.get("status")
    if not isinstance(status, str):
        return None
    pairs = _mapping(found.get("metadata"))
    return JobDetails(
        submission_id=_text(found.get("submission_id")) or "",
        status=status,
        job_id=_text(found.get("job_id")),
        message=_text(found.get("message")) or "",
        error_type=_text(found.get("error_type")),
        metadata={str(key): str(value) for key, value in pairs.items()},
        start_time=_seconds(found.get("start_time")),
        end_time=_seconds(found.get("end_time")),
        agent_address=_text(found.get("driver_agent_http_address")),
        node_id=_text(found.get("driver_node_id")),
        exit_code=_number(found.get("driver_exit_code")),
        requests=_requests(found),
    )


def _requests(found: Mapping[str, Any]) -> Mapping[str, float]:
    own = {name: found.get(f"entrypoint_{name}") for name in ("num_cpus", "num_gpus", "memory")}
    given = {**own, **_mapping(found.get("entrypoint_resources"))}
    return {str(name): amount for name, amount in given.items() if isinstance(amount, (int, float)) and amount > 0}


def read_nodes(body: bytes) -> tuple[Node, ...]:
    """Return the nodes of `/nodes?view=summary`; none if the answer is another one.

    The session folder is that of the raylet's socket, `<session>/sockets/raylet`.
    """
    entries = _list(_mapping((json_object(body) or {}).get("data")).get("summary"))
    raylets = [_mapping(_mapping(entry).get("raylet")) for entry in entries]
    return tuple(_node(raylet) for raylet in raylets if raylet)


def _node(raylet: Mapping[str, Any]) -> Node:
    socket = _text(raylet.get("rayletSocketName"))
    return Node(
        node_id=_text(raylet.get("nodeId")) or "",
        is_head=raylet.get("isHeadNode") is True,
        is_alive=raylet.get("state") == "ALIVE",
        session_dir=posixpath.dirname(posixpath.dirname(socket)) if socket and socket.startswith("/") else None,
    )


def _json(body: bytes) -> object:
    """Return what a JSON text says; None where it cannot be read, as when it is nested too deep."""
    try:
        return cast("object", json.loads(body))
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(milliseconds: object) -> float | None:
    if not isinstance(milliseconds, (int, float)) or isinstance(milliseconds, bool):
        return None
    return milliseconds / 1000 if 0 < milliseconds < _LAST_MILLISECONDS else None
