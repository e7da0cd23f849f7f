"""The token of a cluster with `authOptions.mode: token` (KubeRay 1.5.1 and later)."""

import base64
import binascii
from typing import TYPE_CHECKING

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping
from dagster_ray.kuberay._kubernetes.kinds import SECRETS
from dagster_ray.kuberay._status.errors import TokenRequiredError

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_KEY = "auth_token"
_NAME_LIMIT = 50


def secret_name(cluster_spec: Manifest, cluster: str) -> str | None:
    """Return the name of the Secret that holds the cluster's token; None if the cluster has no token of its own.

    With `enableK8sTokenAuth` it has none: Kubernetes judges the token of each driver, and the operator makes no Secret.
    The operator names it like the cluster: the last 50 characters, and `r` for a first one that is no letter
    (KubeRay ray-operator/controllers/ray/utils/util.go, CheckName).
    """
    options = mapping(cluster_spec.get("authOptions"))
    if options.get("mode") != "token" or options.get("enableK8sTokenAuth") is True:
        return None
    if own := options.get("secretName"):
        return str(own)
    name = cluster[-_NAME_LIMIT:]
    return name if name[0].isalpha() else f"r{name[1:]}"


def read_token(api: "KubernetesApi", namespace: str, name: str, target: str, deadline: Deadline) -> str:
    """Return the token that the Secret holds.

    Raises:
        TokenRequiredError: The Secret has no token.
        KubernetesError: It cannot be read; the step needs `get` on secrets.
    """
    encoded = at(api.get(SECRETS, namespace, name, deadline), "data", _KEY)
    try:
        return base64.b64decode(str(encoded), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise TokenRequiredError(target, f"nothing; the Secret {name} has no readable `{_KEY}`") from error
