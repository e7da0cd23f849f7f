"""How a collector is configured: arguments first, then the environment, then defaults. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from dagster_ray.core import configured_instance_id
from dagster_ray.kuberay._collector.facts import Rules
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
    """What was given as arguments; None leaves it to the environment."""

    namespaces: Sequence[str] | None = None
    kubeconfig_file: str | None = None
    kube_context: str | None = None
    seconds: Mapping[str, float | None] | None = None
    """By the names of the fields of `Rules`."""
    instance_id: str | None = None

    def settings(self, environ: Mapping[str, str]) -> Settings:
        """Return the settings that hold in an environment.

        Raises:
            InvalidSpecError: A number is none, or below zero.
        """
        namespaces = self.namespaces
        if namespaces is None:
            namespaces = environ.get(f"{PREFIX}NAMESPACES", "").split(",")
        given = {name: value for name, value in (self.seconds or {}).items() if value is not None}
        rules = {
            rule.name: given[rule.name]
            if rule.name in given
            else _seconds(environ, f"{PREFIX}{rule.name.upper()}", getattr(Rules(), rule.name))
            for rule in fields(Rules)
        }
        return Settings(
            tuple(name.strip() for name in namespaces if name.strip()),
            self.kubeconfig_file or environ.get(f"{PREFIX}KUBECONFIG_FILE") or None,
            self.kube_context or environ.get(f"{PREFIX}KUBE_CONTEXT") or None,
            Rules(**rules),
            self.instance_id or configured_instance_id(environ),
        )

    def check(self) -> None:
        """Refuse arguments that cannot be meant.

        Raises:
            InvalidSpecError: A number is below zero or none, or the instance's id is blank.
        """
        if self.instance_id is not None and not self.instance_id.strip():
            raise InvalidSpecError(
                "instance_id", "is blank", "give it a text that no other Dagster instance has, or None"
            )
        for name, value in (self.seconds or {}).items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InvalidSpecError(name, f"is {value}", "give 0 or more seconds")


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
