"""Bodies of steps on the simulator without Ray: each head's job server runs workers as processes of this machine."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import dagster as dg
from fault_world import FAST, eventually, simulated
from forked_workers import FORKED_STEPS, ForkedWorkers, start_fork_server
from scripted_job_server import Handler, Server
from typing_extensions import override

from dagster_ray.simulator import FakeRayNode, KubeletOptions, NodeOrder, Simulator

IN_PROCESS: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}


@dataclass(frozen=True)
class Gates:
    """What all heads of a world answer."""

    opened: threading.Event = field(default_factory=threading.Event)
    """Whether job servers answer."""
    unreadable: threading.Event = field(default_factory=threading.Event)
    """Whether they answer 503 for what jobs have written."""


class WorkersNode(FakeRayNode):
    """A head whose dashboard is that of `ForkedWorkers`, and answers once that is opened."""

    def __init__(self, order: NodeOrder, folder: Path, gates: Gates) -> None:
        super().__init__(order)
        self._folder, self._gates = folder, gates
        self._server: Server | None = None
        self._thread_of_jobs: threading.Thread | None = None
        self.workers: ForkedWorkers | None = None
        self.bodies: list[Mapping[str, Any]] = []
        self.calls: list[tuple[str, str]] = []

    @override
    def start(self) -> None:
        server = self._server = Server(("127.0.0.1", 0), Handler)
        server.calls, server.headers = self.calls, []
        self.workers = ForkedWorkers(self._folder, server)
        self.bodies = self.workers.bodies
        ours = self.workers.script

        def script(method: str, path: str, body: bytes) -> tuple[int, object]:
            if not self._gates.opened.is_set() or ("/logs/" in path and self._gates.unreadable.is_set()):
                return 503, "not now"
            if path in {"/api/version", "/api/v0/cluster_metadata", "/api/gcs_healthz", "/api/authentication_mode"}:
                return 200, {
                    "data": {"rayVersion": "2.60.0"},
                    "ray_version": "2.60.0",
                    "authentication_mode": "disabled",
                }
            if path.startswith(("/api/v0/actors?", "/api/v0/placement_groups?")):
                return 200, {"data": {"result": {"num_filtered": 0, "result": []}}}
            if path.startswith("/api/v0/tasks?"):
                asked = dict(zip(*(parse_qs(path)[key] for key in ("filter_keys", "filter_values")), strict=True))
                rows = [row for row in self.rows["tasks"] if asked.items() <= row.items()]
                return 200, {"data": {"result": {"num_filtered": len(rows), "result": rows}}}
            return ours(method, path, body)

        server.script = script
        self._thread_of_jobs = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._thread_of_jobs.start()
        super().start()

    @override
    def stop(self, grace_seconds: float) -> None:
        server, self._server = self._server, None
        if server is not None and self.workers is not None and self._thread_of_jobs is not None:
            self.workers.close()
            server.shutdown()
            server.server_close()
            self._thread_of_jobs.join()
        super().stop(grace_seconds)

    @override
    def address(self, port: int) -> tuple[str, int] | None:
        found = super().address(port)
        if found is not None and self._server is not None and port == 8265:
            return "127.0.0.1", self._server.server_port
        return found


@dataclass
class DriverWorld:
    """A simulator, what its heads have run, and a Dagster instance."""

    simulator: Simulator
    folder: Path
    instance: dg.DagsterInstance
    gates: Gates
    heads: list[WorkersNode] = field(default_factory=list[WorkersNode])

    @property
    def bodies(self) -> list[Mapping[str, Any]]:
        """What was submitted to all heads."""
        return [body for head in self.heads for body in head.bodies]

    @property
    def told(self) -> list[Mapping[str, Any]]:
        """What the dashboards say of jobs."""
        return [job for head in self.heads if head.workers is not None for job in head.workers.jobs.values()]

    @property
    def notes(self) -> list[str]:
        """What bodies have noted."""
        file = self.folder / "notes"
        return file.read_text().split() if file.exists() else []

    @property
    def logs(self) -> list[dg.EventLogEntry]:
        """The event log of all runs."""
        return [entry for run in self.instance.get_runs() for entry in self.instance.all_logs(run.run_id)]

    @property
    def log_text(self) -> str:
        """The event log of all runs as text."""
        return "\n".join(f"{entry.user_message} {entry.dagster_event}" for entry in self.logs)

    @property
    def lines(self) -> list[str]:
        """What bodies have logged."""
        messages = [entry.user_message for entry in self.logs if entry.dagster_event is None]
        return [message for message in messages if message.startswith("line ")]

    @property
    def errors(self) -> str:
        """What all errors of the event log say."""
        events = [entry.dagster_event for entry in self.logs if entry.dagster_event is not None]
        found = [getattr(event.event_specific_data, "error", None) for event in events]
        return "\n".join(error.to_string() for error in found if error is not None)

    def kinds(self, *wanted: str) -> list[str]:
        """Return the types of events, of those that are wanted."""
        found = [entry.dagster_event.event_type_value for entry in self.logs if entry.dagster_event is not None]
        return [kind for kind in found if kind in wanted]

    def objects(self, plural: str) -> list[Mapping[str, Any]]:
        """Return what exists and is not being deleted."""
        return [item for item in self.simulator.store.list(plural) if "deletionTimestamp" not in item["metadata"]]

    def fields(self, **more: Any) -> dict[str, Any]:
        """Return the fields of a resource."""
        plain = {"kubeconfig_file": str(self.simulator.kubeconfig), "driver": "cluster", "timeout": 90.0}
        return {**plain, "lifecycle": {"connect": False}, **more}

    def execute(self, job: Any, config: Any = None) -> dg.JobExecutionResult:
        """Run a job."""
        return dg.execute_job(job, self.instance, run_config=config or FORKED_STEPS, raise_on_error=False)

    @contextmanager
    def meanwhile(self, when: Callable[[], object], act: Callable[[], object]) -> Generator[None]:
        """Act once something is so, while the block runs."""

        def wait_and_act() -> None:
            eventually(when)
            act()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def kill_step(self, key: str = "") -> None:
        """Kill the process of the step that started last, or of the one with a key, as a node that goes away does."""
        events = [entry.dagster_event for entry in self.logs if entry.dagster_event is not None]
        started = [event for event in events if event.event_type_value == "STEP_WORKER_STARTED"]
        pids = [event.pid for event in started if key in {"", event.step_key}]
        os.kill(int(pids[-1] or 0), signal.SIGKILL)


@contextmanager
def driver_world(folder: Path) -> Generator[DriverWorld]:
    """Yield a simulator whose heads run workers."""
    start_fork_server("warm_host", folder=str(Path(__file__).parent))
    heads: list[WorkersNode] = []
    gates = Gates()
    gates.opened.set()

    def node(order: NodeOrder) -> WorkersNode:
        heads.append(WorkersNode(order, folder / f"head-{len(heads)}", gates))
        return heads[-1]

    (folder / "home").mkdir()
    options = KubeletOptions(times=FAST, nodes=node)
    with (
        simulated(kubelet_options=options) as simulator,
        dg.DagsterInstance.local_temp(str(folder / "home")) as instance,
    ):
        yield DriverWorld(simulator, folder, instance, gates, heads)
