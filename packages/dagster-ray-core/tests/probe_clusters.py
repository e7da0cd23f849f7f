"""Backends that write down what happens to them, and fail or hang where their config says.

Two kinds: one inherits `BaseRayResource` and connects to the stand-in for Ray; one only has the protocol's
members and is driven by `run_phases`.
"""

# Type checkers see no type in a nested config of Dagster's.
# pyright: reportUnknownMemberType=false

import json
import os
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from plain_cluster import PlainCluster
from typing_extensions import override

from dagster_ray.core import BaseRayResource, DagsterContext, Deadline, Lifecycle, StepOutcome, run_phases
from dagster_ray.core._dagster_context import run_of

Line = dict[str, Any]


@dataclass(frozen=True)
class Probe:
    """Notes in the journal, and where to fail or hang: a phase, `delete` or `step`."""

    journal: str
    label: str = "probe"
    fails_in: str = ""
    hangs_in: str = ""

    def note(self, did: str, **more: str) -> None:
        """Append one line; lines of several processes do not mix."""
        line = json.dumps({"cluster": self.label, "did": did, "pid": os.getpid(), **more}) + "\n"
        file = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)

    def reach(self, place: str, **more: str) -> None:
        self.note(place, **more)
        if self.fails_in == place:
            raise ValueError(f"told to fail in {place}")
        if self.hangs_in == place:
            hang(Path(f"{self.journal}.{self.label}.go_on"))
            self.note(f"{place} went on")


def hang(until: Path) -> None:
    """Return when the file exists; a signal's handler may raise out of it."""
    never = threading.Event()
    for _ in range(1500):
        if until.exists():
            return
        never.wait(0.02)
    raise AssertionError("nobody interrupted it within 30 s")


def journal_lines(journal: str | Path) -> list[Line]:
    path = Path(journal)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_id_of(context: DagsterContext) -> str:
    run = run_of(context)
    return "" if run is None else run.run_id


class ProbeCluster(BaseRayResource):
    """It inherits; Ray is the stand-in."""

    journal: str
    label: str = "probe"
    fails_in: str = ""
    hangs_in: str = ""

    @property
    def probe(self) -> Probe:
        return Probe(self.journal, self.label, self.fails_in, self.hangs_in)

    @property
    @override
    def address(self) -> str:
        return "auto"

    @property
    @override
    def display_name(self) -> str:
        return f"Probe {self.label}"

    @override
    def init_options(self) -> Mapping[str, Any]:
        return {"reach": lambda: self.probe.reach("connect")}

    @override
    def drain_output(self, budget_seconds: float) -> bool:
        return True

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        self.probe.reach("create", run_id=run_id_of(context))

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        self.probe.reach("wait")

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        self.probe.reach("delete")

    @override
    def on_cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        self.probe.note("cleanup", outcome=outcome.value)


class PlainProbe(PlainCluster):
    """It only has the members."""

    def __init__(self, lifecycle: Lifecycle, probe: Probe) -> None:
        super().__init__(lifecycle)
        self.probe = probe

    @override
    def create(self, context: DagsterContext) -> None:
        self.probe.reach("create", run_id=run_id_of(context))

    @override
    def wait(self, context: DagsterContext) -> None:
        self.probe.reach("wait")

    @override
    def connect(self, context: DagsterContext) -> None:
        self.probe.reach("connect")

    @override
    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        policy = self.lifecycle.cleanup
        try:
            if policy == "always" or (policy == "on_exception" and outcome is not StepOutcome.SUCCEEDED):
                self.probe.reach("delete")
        finally:
            self.probe.note("cleanup", outcome=outcome.value)


def plain_cluster(context: dg.InitResourceContext) -> Generator[object]:
    config: dict[str, Any] = dict(context.resource_config)
    lifecycle = Lifecycle(**config.pop("lifecycle", {}))
    with run_phases(PlainProbe(lifecycle, Probe(**config)), context) as cluster:
        yield cluster


plain_probe = dg.ResourceDefinition(plain_cluster, config_schema=dict)
