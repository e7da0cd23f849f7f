"""Environment variables of containers: text, or what a Secret holds; and text that should not be there. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from dagster_ray.core import secret_of, secrets_of
from dagster_ray.core.variables import Placeholder, resolved
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._spec.plain_json import Json

EnvValue: TypeAlias = str | Mapping[str, Any]
"""The value of an environment variable: text, or what belongs under `valueFrom` in a pod template."""

_SECRET_WORDS = {"CREDENTIAL", "CREDENTIALS", "KEY", "PASSWD", "PASSWORD", "PWD", "SECRET", "TOKEN"}
_SHORTEST = 8  # a shorter value is a name or a switch more often than a secret


def env_values(
    env_vars: Mapping[str, Any], runtime_env: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, EnvValue]:
    """Return the variables of the containers: those of a resource, and what Secrets hold of its runtime_env.

    Raises:
        MissingVariableError, InvalidVariableError: A variable is not set, or is no number and must be one.
    """
    found = resolved({**env_vars, **secrets_of(runtime_env)}, environ, "env_vars")
    return {
        name: secret_of(value) or (value if isinstance(value, str) else str(value)) for name, value in found.items()
    }


def variable(name: str, value: EnvValue) -> Json:
    """Return an item of a container's `env`."""
    return {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": dict(value)}


def unmet_secrets(cluster_spec: Manifest, secrets: Mapping[str, EnvValue]) -> list[str]:
    """Return the variables that a cluster's Ray containers do not all take from these Secrets."""
    envs = [_env_of(containers[0]) if containers else {} for containers in _containers(cluster_spec)]
    return [name for name, secret in secrets.items() if any(secret_of(env.get(name)) != secret for env in envs)]


def common_secret(cluster_spec: Manifest, name: str) -> tuple[str, str] | None:
    """Return name and key of the Secret from which all Ray containers of a cluster take a variable.

    Returns:
        None if one of them takes it from elsewhere, or does not have it.
    """
    envs = [_env_of(containers[0]) if containers else {} for containers in _containers(cluster_spec)]
    found = [secret_of(env.get(name)) for env in envs]
    ref = mapping(mapping(found[0]).get("secretKeyRef"))
    is_common = bool(ref) and all(secret == found[0] for secret in found)
    return (str(ref.get("name")), str(ref.get("key"))) if is_common else None


def plain_secrets(cluster_spec: Manifest) -> list[str]:
    """Return the names of variables that look like secrets by name and value, and are plain text in the object."""
    found: set[str] = set()
    for containers in _containers(cluster_spec):
        for container in containers:
            found |= {
                name
                for item in mappings(container.get("env"))
                if isinstance(name := item.get("name"), str) and looks_secret(name, item.get("value"))
            }
    return sorted(found)


def looks_secret(name: str, value: object) -> bool:
    """Return whether a variable may hold a secret; a path or a switch does not."""
    if not isinstance(value, str) or isinstance(value, Placeholder) or len(value) < _SHORTEST or value[0] in "/$":
        return False
    return re.split(r"[^A-Z0-9]+", name.upper())[-1] in _SECRET_WORDS or "PASSWORD" in name.upper()


def _containers(cluster_spec: Manifest) -> Iterator[list[Json]]:
    groups = [mapping(cluster_spec.get("headGroupSpec")), *mappings(cluster_spec.get("workerGroupSpecs"))]
    for group in groups:
        yield cast("list[Json]", mappings(at(group, "template", "spec", "containers")))


def _env_of(container: Manifest) -> dict[str, object]:
    return {str(item.get("name")): item.get("valueFrom") for item in mappings(container.get("env"))}
