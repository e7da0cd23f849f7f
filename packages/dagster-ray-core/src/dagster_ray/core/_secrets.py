"""References to Secrets of Kubernetes among environment variables. Pure.

In run config and YAML a reference is written as in a pod template: `{secretKeyRef: {name: ..., key: ...}}`. Nothing
here ever sees a value: the kubelet puts it into the environment of the containers, which all processes of Ray inherit.
"""

from collections.abc import Mapping
from typing import Any, cast

from dagster_ray.core.errors import InvalidFieldError

_REF = "secretKeyRef"
_KEYS = {"name", "key", "optional"}
_SHAPE = "write `SecretRef(name, key)`, or in YAML `secretKeyRef: {name: ..., key: ...}`"
_NOBODYS = (
    "refers to a Secret of Kubernetes, which only a cluster whose pods dagster-ray creates can resolve",
    "set the variable where the cluster starts, or use a KubeRay resource or client that creates its cluster",
)


class SecretRef(dict[str, Any]):
    """The value of an environment variable that a Secret of Kubernetes holds, in place of text.

    It is the mapping that belongs under `valueFrom` in a pod template. The Secret must be in the namespace of the pods.

    Args:
        name: The Secret's name.
        key: The key in its data.

    Raises:
        InvalidFieldError: The name or the key is empty.
    """

    def __init__(self, name: str, key: str) -> None:
        """Make the reference; nothing is read."""
        super().__init__({_REF: {"name": name, "key": key}})
        if secret_of(self) is None:
            raise InvalidFieldError(
                "SecretRef", "has an empty name or key", "give the name of a Secret, and a key of it"
            )


def secret_of(value: object) -> dict[str, Any] | None:
    """Return the reference to a Secret that a value is, as plain JSON; None if it is something else."""
    if not isinstance(value, Mapping):
        return None
    given = cast("Mapping[object, object]", value)
    found = given.get(_REF)
    if len(given) != 1 or not isinstance(found, Mapping):
        return None
    ref = cast("Mapping[str, object]", found)
    is_whole = ref.keys() <= _KEYS and all(isinstance(ref.get(key), str) and ref[key] for key in ("name", "key"))
    return {_REF: dict(ref)} if is_whole else None


def secret_fault(value: object, *, takes_secrets: bool) -> tuple[str, str] | None:
    """Return why a variable's value, which is neither text nor a variable, is no Secret that can be used here.

    Returns:
        Reason and advice; None if it can be used. Both are empty for a value that is no reference at all.
    """
    if not isinstance(value, Mapping) or _REF not in value:
        return "", ""
    if secret_of(cast("object", value)) is None:
        return "is not a whole reference to a Secret", _SHAPE
    return None if takes_secrets else _NOBODYS


def secrets_of(runtime_env: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the variables of a runtime_env that Secrets hold."""
    given: object = runtime_env.get("env_vars")
    if not isinstance(given, Mapping):
        return {}
    found = {name: secret_of(value) for name, value in cast("Mapping[str, object]", given).items()}
    return {name: secret for name, secret in found.items() if secret is not None}


def without_secrets(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Return a runtime_env without the variables that Secrets hold: the containers have them, and workers inherit."""
    secrets = secrets_of(runtime_env)
    if not secrets:
        return dict(runtime_env)
    kept = {name: value for name, value in runtime_env["env_vars"].items() if name not in secrets}
    rest = {key: value for key, value in runtime_env.items() if key != "env_vars"}
    return {**rest, "env_vars": kept} if kept else rest
