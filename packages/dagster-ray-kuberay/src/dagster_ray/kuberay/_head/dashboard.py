"""What a cluster's dashboard says of itself before the first driver connects.

Ray Client reports a closed port, a missing token and a wrong version all as "connection timeout", after 30 s
(run with Ray 2.60). The dashboard tells them apart in milliseconds.
"""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from dagster_ray.kuberay._kubernetes.fields import json_of, mapping

_LIMIT_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Metadata:
    """What runs on the cluster."""

    ray_version: str | None
    python_version: str | None


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
        timeout_seconds: Longest wait for connecting, and for each read.
    """
    parts = urlsplit(url)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/api/v0/cluster_metadata", headers=headers)
        response = connection.getresponse()
        return read_answer(response.status, response.read(_LIMIT_BYTES))
    except (OSError, http.client.HTTPException) as error:
        return Silent(f"{type(error).__name__}: {error}")
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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
