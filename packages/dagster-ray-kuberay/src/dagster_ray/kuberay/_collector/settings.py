"""How a collector is configured: arguments first, then the environment, then defaults. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import cast

from dagster_ray.core import configured_instance_id
from dagster_ray.core.variables import plain_value, variable_of
from dagster_ray.kuberay._collector.run_facts import Rules
from dagster_ray.kuberay._spec.errors import InvalidSpecError

PREFIX = "DAGSTER_RAY_CLEANUP_"
DEFAULT_INTERVAL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a collector looks, and by which rules.

    Attributes:
        namespaces: Namespaces; none for the account's own, `*` for all.
        kubeconfig_file: The kubeconfig. None: the pod's service account, or kubectl's default.
        kube_context: The kubeconfig's context.
        rules: How long what is kept.
        instance_id: An id that only this Dagster instance has. None: there is none.
    """

    namespaces: tuple[str, ...] = ()
    kubeconfig_file: str | None = None
    kube_context: str | None = None
    rules: Rules = field(default_factory=Rules)
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What was given as arguments, perhaps as references to variables; None leaves it to the environment."""

    namespaces: Sequence[str] | str | None = None
    kubeconfig_file: str | None = None
    kube_context: str | None = None
    seconds: Mapping[str, float | str | None] | None = None
    """By the names of the fields of `Rules`."""
    instance_id: str | None = None

    def settings(self, environ: Mapping[str, str]) -> Settings:
        """Return the settings that hold in an environment.

        Raises:
            InvalidSpecError: A number is none, or below zero.
            MissingVariableError, InvalidVariableError: A variable is not set, or is no number and must be one.
        """
        known = self.known(environ)
        namespaces = known.namespaces
        if namespaces is None:
            namespaces = environ.get(f"{PREFIX}NAMESPACES", "")
        given = {name: float(value) for name, value in (known.seconds or {}).items() if value is not None}
        rules = {
            rule.name: given[rule.name]
            if rule.name in given
            else _seconds(environ, f"{PREFIX}{rule.name.upper()}", getattr(Rules(), rule.name))
            for rule in fields(Rules)
        }
        return Settings(
            tuple(name for text in _several(namespaces) for name in _names(text)),
            known.kubeconfig_file or environ.get(f"{PREFIX}KUBECONFIG_FILE") or None,
            known.kube_context or environ.get(f"{PREFIX}KUBE_CONTEXT") or None,
            Rules(**rules),
            known.instance_id or configured_instance_id(environ),
        )

    def known(self, environ: Mapping[str, str]) -> "Given":
        """Return what was given with the values of variables.

        Raises:
            MissingVariableError, InvalidVariableError: A variable is not set, or is no number and must be one.
            InvalidSpecError: A number is below zero or none, or the instance's id is blank.
        """

        def text(value: str | None, name: str) -> str | None:
            return None if value is None else str(plain_value(value, str, environ, name))

        namespaces = self.namespaces
        if namespaces is not None:
            namespaces = [str(text(name, "namespaces")) for name in _several(namespaces)]
        seconds = {
            name: plain_value(value, float, environ, name)
            for name, value in (self.seconds or {}).items()
            if value is not None
        }
        known = Given(
            namespaces,
            text(self.kubeconfig_file, "kubeconfig_file"),
            text(self.kube_context, "kube_context"),
            seconds,
            text(self.instance_id, "instance_id"),
        )
        known.check()
        return known

    def check(self) -> None:
        """Refuse arguments that cannot be meant; what a variable says is not known here.

        Raises:
            InvalidSpecError: A number is below zero or none, or the instance's id is blank.
        """
        if self.instance_id is not None and not _is_reference(self.instance_id) and not self.instance_id.strip():
            raise InvalidSpecError(
                "instance_id", "is blank", "give it a text that no other Dagster instance has, or None"
            )
        for name, value in (self.seconds or {}).items():
            if value is None or _is_reference(value):
                continue
            if not (math.isfinite(float(value)) and float(value) >= 0):
                raise InvalidSpecError(name, f"is {value}", "give 0 or more seconds")


def _is_reference(value: object) -> bool:
    return variable_of(value) is not None


def _several(names: Sequence[str] | str) -> Sequence[str]:
    """Return names of namespaces; one variable, or one text, may hold several."""
    return [cast("str", names)] if isinstance(names, str) or _is_reference(names) else names


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def interval_seconds(environ: Mapping[str, str]) -> int:
    """Return the least time between two ticks of the ready sensor.

    Dagster's daemon learns it from the sensor's definition, so it is read when the code location loads.

    Raises:
        InvalidSpecError: It is no number, or below zero.
    """
    return math.ceil(_seconds(environ, f"{PREFIX}INTERVAL_SECONDS", DEFAULT_INTERVAL_SECONDS))


def _seconds(environ: Mapping[str, str], variable: str, default: float) -> float:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InvalidSpecError(variable, f"is {text[:40]!r}", "give 0 or more seconds as a number")
    return value
