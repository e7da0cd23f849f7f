"""A Secret that goes with a RayJob, and holds one variable of its Ray containers.

The containers refer to it before it exists, since its owner must exist first. The kubelet starts none of them without.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dagster_ray.core import Deadline
from dagster_ray.core.errors import NotReadyError
from dagster_ray.kuberay._kubernetes.errors import ConflictError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._kubernetes.kinds import SECRETS
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.secrets import common_secret
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._status.errors import NameTakenError

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class HandedSecret:
    """What a Secret holds for an object's containers, which say themselves under which name and key they expect it.

    Attributes:
        variable: The environment variable of the Ray containers.
        value: Its value.
        labels: The labels of the Secret.
    """

    variable: str
    value: str = field(repr=False)
    labels: Mapping[str, str]


def place_of_secret(cluster_spec: Manifest, variable: str, target: str) -> tuple[str, str]:
    """Return the name of the Secret that a cluster's Ray containers take a variable from, and the key in it.

    Raises:
        InvalidSpecError: They do not all take it from one Secret.
    """
    found = common_secret(cluster_spec, variable)
    if found is None:
        reason = f"is not taken from one Secret by all Ray containers of {target}"
        raise InvalidSpecError(f"env.{variable}", reason, "remove the variable from the containers of the spec")
    return found


def manifest_of(own: Created, secret: HandedSecret, name: str, key: str) -> dict[str, Any]:
    """Return the Secret that goes with an object: Kubernetes deletes it when its owner is gone."""
    owner = {
        "apiVersion": f"{own.kind.group}/{own.kind.version}",
        "kind": own.kind.kind,
        "name": own.name,
        "uid": own.uid,
        "blockOwnerDeletion": False,
    }
    labels = {**secret.labels, MANAGED_BY_LABEL: MANAGED_BY}
    return {
        "apiVersion": "v1",
        "kind": SECRETS.kind,
        "metadata": {"name": name, "namespace": own.namespace, "labels": labels, "ownerReferences": [owner]},
        "type": "Opaque",
        "immutable": True,
        "data": {key: base64.b64encode(secret.value.encode()).decode()},
    }


def whose_secret(existing: Manifest, own: Created, key: str) -> Literal["ours", "going", "foreign"]:
    """Return whether a Secret goes with an object, or with an earlier one of its name that is gone, or with neither."""
    if at(existing, "metadata", "labels", MANAGED_BY_LABEL) != MANAGED_BY:
        return "foreign"
    owners = mappings(at(existing, "metadata", "ownerReferences"))
    if any(owner.get("uid") == own.uid for owner in owners):
        return "ours" if key in mapping(existing.get("data")) else "foreign"
    is_of_name = any((owner.get("kind"), owner.get("name")) == (own.kind.kind, own.name) for owner in owners)
    return "going" if is_of_name else "foreign"


def hand_over(api: "KubernetesApi", own: Created, secret: HandedSecret, deadline: Deadline) -> None:
    """Make the Secret of an object that exists. One that is there already is left as it is, if it is the object's.

    That of an earlier object of the same name is waited for: Kubernetes deletes it.

    Raises:
        InvalidSpecError: The object's containers do not take the variable from one Secret.
        NameTakenError: A Secret of that name belongs to somebody else.
        NotReadyError: The deadline passed while the Secret of an earlier object was there.
        KubernetesError: The API server refused.
    """
    name, key = place_of_secret(own.cluster_spec, secret.variable, own.target)
    body, target = manifest_of(own, secret, name, key), f"{SECRETS.kind} {own.namespace}/{name}"
    while True:
        try:
            api.create(SECRETS, own.namespace, body, deadline)
        except ConflictError:
            pass
        else:
            return
        try:
            found = whose_secret(api.get(SECRETS, own.namespace, name, deadline), own, key)
        except NotFoundError:
            found = "going"
        if found == "ours":
            return
        if found == "foreign":
            raise NameTakenError(target)
        if not deadline.sleep(_AGAIN_SECONDS):
            raise NotReadyError(target, deadline.budget_seconds, "that of an earlier object is still there", "")


def take_back(api: "KubernetesApi", own: Created, secret: HandedSecret, deadline: Deadline) -> None:
    """Delete the Secret of an object that needs it no more. One of somebody else is left alone.

    Raises:
        InvalidSpecError, KubernetesError: It cannot be found or deleted.
    """
    name, key = place_of_secret(own.cluster_spec, secret.variable, own.target)
    try:
        existing = api.get(SECRETS, own.namespace, name, deadline)
    except NotFoundError:
        return
    if whose_secret(existing, own, key) == "ours":
        api.delete(SECRETS, own.namespace, name, deadline, uid=str(at(existing, "metadata", "uid")))
