"""Values of the type that KubeRay's CRDs want, or an error that names the field. Pure.

Nothing is guessed, and nothing that is not understood counts as "not given". A variable of the environment holds text:
that becomes a number or a boolean where the CRD wants one, if nothing is lost. So does text that the user wrote, except
in a whole manifest, where `kubectl apply` refuses it too.

The other way around there is nothing to convert: how a number was written is lost before it arrives here. YAML makes
5349 of `012345`, 1.1 of `1.10` and true of `yes`, and what was written in Python may have passed through YAML as well.
So anything but text is refused where text belongs. Only what `ray start` reads as a whole number or a switch, and Ray's
own resources, mean the same however they were written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from dagster_ray.core.errors import InvalidVariableError
from dagster_ray.core.variables import Placeholder, Variable, field_path, variable_of, whole_number
from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind, Field, field_at
from dagster_ray.kuberay._spec.completion import is_manifest
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json

RELEASE = "1.7"
_TEMPLATE_METADATA = "spec.workerGroupSpecs[].template.metadata"
_QUOTE = "put it in quotes: YAML does not keep how a number, a date or a word like `yes` was written"
_START = "rayStartParams"
_RESOURCES = "resources"
# As Ray 2.60 declares them (ray/scripts/scripts.py).
START_NUMBERS = frozenset({
    "dashboard-agent-grpc-port", "dashboard-agent-listen-port", "dashboard-port", "max-worker-port", "memory",
    "metrics-export-port", "min-worker-port", "node-manager-port", "num-cpus", "num-gpus", "object-manager-port",
    "object-store-memory", "port", "ray-client-server-port", "runtime-env-agent-port", "system-reserved-memory",
    "verbose",
})  # fmt: skip
"""Parameters of `ray start` that are whole numbers."""
START_SWITCHES = frozenset({
    "block", "disable-usage-stats", "enable-object-reconstruction", "enable-resource-isolation", "head",
    "include-dashboard", "include-log-monitor", "no-monitor", "no-redirect-output", "ray-debugger-external",
})  # fmt: skip
"""Parameters of `ray start` that are true or false."""
_BOOLEANS = {"true": True, "false": False}
_WANTED = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
_SCALARS = {**_WANTED, "string": "text"}


def metadata_field() -> Field | None:
    """Return what is known of an object's metadata, which CRDs leave open: as of a pod template's."""
    return field_at("RayCluster", RELEASE, _TEMPLATE_METADATA)


def typed(plain: Json, kind: CrdKind, from_environ: Mapping[str, Variable]) -> Json:
    """Return metadata and spec of an object with every value of the type that its field has.

    Args:
        plain: `metadata` and `spec` as plain JSON. References to the environment that are still in it stay.
        kind: The object's kind.
        from_environ: The variables that values came from, by the path of the field.

    Raises:
        InvalidSpecError: A value is of another type.
        InvalidVariableError: A variable's value is not what its field takes.
    """
    spec = mapping(plain.get("spec"))
    cluster = mapping(spec.get("rayClusterSpec")) if kind == "RayJob" else spec
    reader = _Reader(from_environ, is_whole=is_manifest(cluster))
    return {
        **plain,
        "metadata": reader.read(plain.get("metadata"), metadata_field(), "metadata"),
        "spec": reader.read(plain.get("spec"), field_at(kind, RELEASE, "spec"), "spec"),
    }


@dataclass(frozen=True, slots=True)
class _Reader:
    from_environ: Mapping[str, Variable]
    is_whole: bool

    def read(self, value: object, field: Field | None, path: str, *, entry: "_Entry | None" = None) -> Any:
        """Return a value as its field takes it. What no field is known for stays as it is."""
        if field is None or value is None or isinstance(value, Placeholder) or self._is_reference(value, field):
            return value
        if isinstance(value, dict | list) and (wanted := _SCALARS.get(field.type)) is not None:
            kind = "mapping" if isinstance(value, dict) else "list"
            raise InvalidSpecError(path, f"is a {kind} where {wanted} belongs", f"write {wanted}")
        if isinstance(value, dict):
            return {
                key: self.read(item, _inner(field, key), field_path(path, key), entry=_Entry(path, key))
                for key, item in cast("Json", value).items()
            }
        if isinstance(value, list):
            items = enumerate(cast("list[object]", value))
            return [self.read(item, field.items, field_path(path, n)) for n, item in items]
        if field.type in _WANTED:
            return self._number(value, field.type, path)
        return self._text(value, field, path, entry)

    @staticmethod
    def _is_reference(value: object, field: Field) -> bool:
        return field.values is None and variable_of(value) is not None

    def _number(self, value: object, wanted: str, path: str) -> Any:
        variable = self.from_environ.get(path)
        found = _exact(value, wanted)
        if found is not None and (variable is not None or not self.is_whole or not isinstance(value, str)):
            return found
        if variable is not None:
            raise InvalidVariableError(variable.name, path, _WANTED[wanted])
        if found is not None:
            reason = "is text in a whole manifest, where `kubectl apply` would refuse it"
            raise InvalidSpecError(path, reason, f"write {_WANTED[wanted]} without quotes")
        raise InvalidSpecError(path, f"is {_shown(value)}, not {_WANTED[wanted]}", f"write {_WANTED[wanted]}")

    def _text(self, value: object, field: Field, path: str, entry: "_Entry | None") -> Any:
        if isinstance(value, str) or (field.type != "string" and not isinstance(value, float)):
            return value
        if field.type != "string":  # a quantity, for which the API server takes text or a whole number
            return repr(value) if field.int_or_string else value
        if isinstance(value, bool) and entry is not None and entry.is_switch:
            return str(value).lower()
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if is_number and (path in self.from_environ or (entry is not None and entry.is_number)):
            return str(value)
        raise InvalidSpecError(path, f"is {_shown(value)} where text belongs", _QUOTE)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a value stands: under a key of the mapping at a path."""

    path: str
    key: str

    @property
    def is_number(self) -> bool:
        """Whether Ray reads the entry as a whole number."""
        if self._map == _START:
            return self.key in START_NUMBERS
        return self._map == _RESOURCES

    @property
    def is_switch(self) -> bool:
        """Whether Ray reads the entry as true or false."""
        return self._map == _START and self.key in START_SWITCHES

    @property
    def _map(self) -> str:
        return self.path.rpartition(".")[2]


def _inner(field: Field, key: str) -> Field | None:
    return field.properties.get(key, field.values)


def _exact(value: object, wanted: str) -> float | bool | None:
    """Return a value as the type that is wanted, if nothing is lost by it; None if it is not of that type."""
    if wanted == "boolean":
        return value if isinstance(value, bool) else _BOOLEANS.get(value) if isinstance(value, str) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        number = whole_number(value)
        return number if number is not None or wanted == "integer" else _fraction(value)
    if isinstance(value, float) and wanted == "integer":
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int | float) else None


def _fraction(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)[:60]
