"""What one run of the kit is to do, and what its steps saw, as plain data for processes of their own."""

import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
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


@dataclass(slots=True)
class Notes:
    """Values that were read, and the errors of those that could not be.

    One broken member must not hide what the others do, so every reading is kept apart.
    """

    values: dict[str, Any] = field(default_factory=dict[str, Any])
    errors: dict[str, str] = field(default_factory=dict[str, str])

    def note(self, name: str, read: Callable[[], object]) -> bool:
        """Keep what `read` returns, or the error that it raises, under `name`; return whether it returned."""
        try:
            self.values[name] = read()
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is the finding
            self.errors[name] = f"{type(error).__name__}: {error}"
            return False
        return True

    def get(self, name: str) -> Any:
        """Return the value of `name`; fail the test with the error if reading it had failed."""
        assert name not in self.errors, f"in the step, `{name}` failed with {self.errors[name]}"
        assert name in self.values, f"the step did not come as far as `{name}`. Errors before that: {self.errors}"
        return self.values[name]

    def save(self, file: Path) -> None:
        """Write the notes to `file`, which appears complete or not at all."""
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), default=str))
        draft.rename(file)


def read_notes(directory: Path) -> list[Notes]:
    """Return the notes that the attempts of a step have left in `directory`, in their order."""
    return [Notes(**json.loads(file.read_text())) for file in sorted(directory.glob("*.json"))]


def environment_changes(before: dict[str, str]) -> list[str]:
    """Return the names of the environment variables that were added, changed or removed since `before`."""
    now = dict(os.environ)
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
