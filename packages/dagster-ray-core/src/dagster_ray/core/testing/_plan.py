"""What one run of the kit is to do, as plain data that a process of its own can read."""

import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import Any, cast

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.core.testing._backend import BackendUnderTest

_MODULE = "_dagster_ray_conformance"


class Script(StrEnum):
    """What the step does."""

    LOOK = "look at the connected cluster"
    FAIL = "look, then fail"
    RETRY = "look, then ask once for a retry"
    STAY = "look, then wait for SIGTERM"
    MEET = "look, then let another process look at a cluster of the same configuration"
    READ = "look at a resource that may not be connected"
    CALL_PHASES = "call the phases"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Args:
        script: What its step does.
        directory: Where its notes go.
        file: The author's file.
        contract: The qualified name of the author's class in it.
        fields: The fields of the resource.
        lifecycle: The resource's lifecycle; None leaves it to the backend.
    """

    script: Script
    directory: str
    file: str
    contract: str
    fields: Mapping[str, Any]
    lifecycle: Mapping[str, Any] | None = None

    def make(self, backend: type[BackendUnderTest]) -> RayResource:
        """Return the resource of this run."""
        return backend.make(**self.resource_fields())

    def resource_fields(self) -> dict[str, Any]:
        """Return what `make` gets."""
        lifecycle = {} if self.lifecycle is None else {"lifecycle": Lifecycle(**self.lifecycle)}
        return {**self.fields, **lifecycle}

    @property
    def mark(self) -> str:
        """What a remote task of this run prints."""
        return f"printed-by-a-remote-task-of-{Path(self.directory).name}"

    def save(self) -> Path:
        """Write the plan into its directory, and return the file."""
        file = Path(self.directory) / "plan"
        file.write_text(json.dumps(asdict(self)))
        return file


def read_plan(file: Path) -> Plan:
    """Return the plan that was saved in `file`."""
    values: dict[str, Any] = json.loads(file.read_text())
    script = Script(values.pop("script"))
    return Plan(script, **values)


def location_of(backend: type[BackendUnderTest]) -> tuple[str, str]:
    """Return the file and the qualified name by which `load` finds the author's class."""
    return str(Path(inspect.getfile(backend)).resolve()), backend.__qualname__


def load(plan: Plan) -> type[BackendUnderTest]:
    """Import the author's file and return the class.

    By its path: under pytest's importlib mode the file has no name that another process could import.
    """
    spec = importlib.util.spec_from_file_location(_MODULE, plan.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    spec.loader.exec_module(module)
    return cast("type[BackendUnderTest]", reduce(getattr, plan.contract.split("."), cast("object", module)))
