"""What a cluster's dashboard says of itself before the first driver connects, and the cluster's token.

Ray Client reports a closed port, a missing token and a wrong version all as "connection timeout", after 30 s
(run with Ray 2.60). The dashboard tells them apart in milliseconds.
"""

import base64
import binascii
import functools
import http.client
import importlib.metadata
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from dagster_ray.core import Deadline, SocketLimit, dial, token_of_environment
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, json_of, mapping
from dagster_ray.kuberay._kubernetes.kinds import SECRETS
from dagster_ray.kuberay._status.errors import TokenRequiredError, VersionMismatchError

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._status.cluster_state import Created

_LIMIT_BYTES = 65536
_GREET_SECONDS = 5.0
_KEY = "auth_token"
_NAME_LIMIT = 50
_ADVICE = (
    "grant the step's account the verb `ray:write` on rayclusters (`dagster-ray rbac --feature kubernetes-tokens`), "
    "and the account of Ray's pods the ClusterRole system:auth-delegator"
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What runs on the cluster."""

    ray_version: str | None
    python_version: str | None


@functools.cache
def of_this_process() -> Metadata:
    """Return what runs here. Reading the metadata of ray takes a millisecond, and each step asks twice."""
    return Metadata(importlib.metadata.version("ray"), platform.python_version())


@dataclass(frozen=True, slots=True)
class Refused:
    """The dashboard wants a token, or another one than we sent."""

    answer: str


@dataclass(frozen=True, slots=True)
class Silent:
    """No dashboard, or one that answers something else; nothing is known."""

    reason: str


def ask(url: str, token: str | None, timeout_seconds: float) -> Metadata | Refused | Silent:
    """Ask a dashboard which versions run on its cluster.

    Proxies of the environment are not used: the address is one of the cluster.

    Args:
        url: `http://host:port`.
        token: Ray's token, or None.
        timeout_seconds: Longest wait for the answer.
    """
    try:
        return read_answer(*fetch(url, "/api/v0/cluster_metadata", token, timeout_seconds))
    except (OSError, http.client.HTTPException) as error:
        return Silent(f"{type(error).__name__}: {error}")


def fetch(
    url: str, path: str, token: str | None, timeout_seconds: float, limit_bytes: int = _LIMIT_BYTES
) -> tuple[int, bytes]:
    """Return the status and the body of what a dashboard answers to a GET, without the proxies of the environment.

    Args:
        url: `http://host:port`.
        path: The path, with its query.
        token: Ray's token, or None.
        timeout_seconds: Longest wait for the whole answer.
        limit_bytes: Most bytes of the body.

    Raises:
        OSError, http.client.HTTPException: There is no answer, or none of HTTP.
    """
    parts = urlsplit(url)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    try:
        with SocketLimit(timeout_seconds):
            connection.sock = dial((connection.host, connection.port), timeout_seconds)
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(limit_bytes)
    finally:
        connection.close()


def read_answer(status: int, body: bytes) -> Metadata | Refused | Silent:
    """Return what an answer to `/api/v0/cluster_metadata` means (ray/dashboard/modules/version, run with 2.60)."""
    if status in {401, 403}:
        return Refused(f"{status} {body[:200].decode(errors='replace').strip()}")
    if status != 200:
        return Silent(f"HTTP {status}")
    answer = json_of(body)
    if answer is None:
        return Silent("not JSON")
    data = mapping(answer).get("data")
    if not isinstance(data, Mapping):
        return Silent("no data")
    facts = cast("Mapping[str, object]", data)
    return Metadata(_text(facts.get("rayVersion")), _text(facts.get("pythonVersion")))


def mismatch(ours: Metadata, theirs: Metadata) -> tuple[str, str, str] | None:
    """Return what differs too much for Ray Client, with our version and theirs; None if nothing does.

    Another minor version of Ray fails inside `ray.init` after 30 s, another minor version of Python at once
    (run with 2.59 against 2.60, and with Python 3.12 against 3.11). Patch versions work together.
    """
    pairs = (("Ray", ours.ray_version, theirs.ray_version), ("Python", ours.python_version, theirs.python_version))
    for what, mine, other in pairs:
        if mine is not None and other is not None and mine.split(".")[:2] != other.split(".")[:2]:
            return what, mine, other
    return None


def greet(
    target: str, url: str, token: str | None, seconds: float, log: logging.Logger, *, by_kubernetes: bool = False
) -> None:
    """Make sure that Ray Client will be understood, which it would tell only after 30 s and in one sentence for all.

    Args:
        target: The cluster, for people.
        url: Its dashboard.
        token: Its token, if the spec tells of one; else that of this process is tried.
        seconds: Longest wait.
        log: Where it is told that nothing was found out.
        by_kubernetes: Whether it is the account's token, which Kubernetes judges.

    Raises:
        TokenRequiredError: The cluster wants a token, and we have none or a wrong one.
        VersionMismatchError: Ray or Python differ too much.
    """
    answer = ask(url, token or token_of_environment(os.environ), min(_GREET_SECONDS, max(0.1, seconds)))
    if isinstance(answer, Refused):
        if by_kubernetes:
            why = f"its dashboard answered the account's token with {answer.answer}"
            raise TokenRequiredError(target, why, _ADVICE)
        raise TokenRequiredError(target, answer.answer)
    if not isinstance(answer, Metadata):
        log.debug("%s: the dashboard did not tell its versions: %s", target, answer.reason)
        return
    found = mismatch(of_this_process(), answer)
    if found is None:
        return
    if found[0] == "Python" and os.environ.get("RAY_IGNORE_VERSION_MISMATCH"):
        log.warning("%s runs %s %s, the step %s.", target, found[0], found[2], found[1])
        return
    raise VersionMismatchError(target, *found)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def is_judged_by_kubernetes(cluster_spec: Manifest) -> bool:
    """Return whether Ray asks Kubernetes about the token of each driver, so that the cluster has none of its own."""
    options = mapping(cluster_spec.get("authOptions"))
    return options.get("mode") == "token" and options.get("enableK8sTokenAuth") is True


def secret_name(cluster_spec: Manifest, cluster: str) -> str | None:
    """Return the name of the Secret that holds the cluster's token; None if the cluster has no token of its own.

    The operator names it like the cluster: the last 50 characters, and `r` for a first one that is no letter
    (KubeRay ray-operator/controllers/ray/utils/util.go, CheckName).
    """
    options = mapping(cluster_spec.get("authOptions"))
    if options.get("mode") != "token" or is_judged_by_kubernetes(cluster_spec):
        return None
    if own := options.get("secretName"):
        return str(own)
    name = cluster[-_NAME_LIMIT:]
    return name if name[0].isalpha() else f"r{name[1:]}"


def read_token(api: "KubernetesApi", own: "Created", cluster: str, deadline: Deadline) -> str | None:
    """Return the token that a cluster wants of drivers: its Secret's, or the account's own. None if it wants none.

    Args:
        api: The Kubernetes API, as the step's account.
        own: The step's RayJob or RayCluster.
        cluster: The RayCluster's name.
        deadline: Ends the call.

    Raises:
        CredentialsError, ExecPluginError: Kubernetes judges drivers, and the account has no token.
        TokenRequiredError: The Secret has no token.
        KubernetesError: It cannot be read; the step needs `get` on secrets.
    """
    if is_judged_by_kubernetes(own.cluster_spec):
        return api.token(deadline)
    name = secret_name(own.cluster_spec, cluster)
    if name is None:
        return None
    encoded = at(api.get(SECRETS, own.namespace, name, deadline), "data", _KEY)
    try:
        return base64.b64decode(str(encoded), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        reason = f"the Secret {name} has no readable `{_KEY}`"
        raise TokenRequiredError(
            own.target, reason, f"write the cluster's token into `{_KEY}` of this Secret"
        ) from error
