"""The kind of config class that a Kubernetes specification needs."""

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import dagster as dg
from pydantic import ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from dagster_ray.core import VariablesConfig
from dagster_ray.core.errors import UnknownFieldError
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json, plain_json


def _aliases(model: type[Any]) -> dict[str, str]:
    """Return the camelCase name of every field."""
    return {name: field.alias or name for name, field in model.model_fields.items()}


def _refuse_unknown(model: type[Any], key: str, aliases: Mapping[str, str]) -> None:
    """Raise if `key`, which is no field, cannot be a field of a newer KubeRay either."""
    for name, reason in model.refused.items():
        if _folded(key) == _folded(name):
            raise InvalidSpecError(name, f"has no place here: {reason}", f"remove `{key}`")
    same = [alias for alias in aliases.values() if _folded(alias) == _folded(key)]
    close = same or (difflib.get_close_matches(key, aliases, n=1) if "_" in key else [])
    if same or "_" in key:
        raise UnknownFieldError(model.__name__, key, close[0] if close else None, tuple(sorted(aliases)))


def _is_empty(value: object) -> bool:
    """Return whether a value is the one that Kubernetes' own types leave out: it says nothing."""
    return not isinstance(value, bool) and value in ("", 0, {}, [])


def _folded(key: str) -> str:
    return key.replace("_", "").lower()


class KubernetesConfig(VariablesConfig, dg.PermissiveConfig):
    """A part of a Kubernetes object: snake_case in Python, camelCase in run config and YAML, both accepted.

    A field that this version of the package does not know passes through to the API server under its camelCase
    name. An unknown name in snake_case is an error, and so is a known one in wrong case.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", hide_input_in_errors=True)

    refused: ClassVar[Mapping[str, str]] = {}
    """Names of Kubernetes that make no sense here, and why."""

    @model_validator(mode="before")
    @classmethod
    def _has_only_names_that_can_be_meant(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        given = {str(key): value for key, value in cast("Mapping[object, object]", data).items() if value is not None}
        aliases = _aliases(cls)
        cleaned: dict[str, object] = {}
        for key, value in given.items():
            alias = aliases.get(key, key)
            if key not in aliases and key not in aliases.values():
                if _is_empty(value) and any(_folded(key) == _folded(name) for name in cls.refused):
                    continue
                _refuse_unknown(cls, key, aliases)
            if alias in cleaned:
                raise InvalidSpecError(alias, "is given twice, in both spellings", "keep one of the two")
            cleaned[alias] = value
        return cleaned

    def plain(self) -> Json:
        """Return what is set, by camelCase names, as plain JSON that shares nothing with this object."""
        values: dict[str, Any] = {alias: getattr(self, name) for name, alias in _aliases(type(self)).items()}
        values |= self.model_extra or {}
        return {
            key: value.plain() if isinstance(value, KubernetesConfig) else plain_json(value, key)
            for key, value in values.items()
            if value is not None
        }
