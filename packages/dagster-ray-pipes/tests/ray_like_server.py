"""A job server that behaves as Ray 2.60 does, without Ray: each entrypoint is a process of this machine."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from scripted_job_server import Server

NODE = "n"


class RayLike:
    """Jobs, packages and the log folder of a head. `script` answers as the dashboard and the agent do."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.logs = folder / "session" / "logs"
        self.logs.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.agent: str | None = self.url
        """Where jobs say that the agent of their node is."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.packages: set[str] = set()
        self.away = False
        """Whether the server answers nothing but 503."""
        self.server = server
        server.script = self.script

    def script(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Return status and content of an answer."""
        if self.away:
            return 503, "no"
        parts = urlsplit(path)
        for beginning, answer in (
            ("/nodes", self._nodes),
            ("/api/packages/gcs/", self._package),
            ("/api/v0/logs/", self._dashboards_file),
            ("/logs/", self._agents_file),
            ("/api/jobs/", self._job),
        ):
            if parts.path.startswith(beginning):
                return answer(method, parts, body)
        return 404, "404: Not Found"

    def _nodes(self, _method: str, _parts: SplitResult, _body: bytes) -> tuple[int, object]:
        socket = str(self.logs.parent / "sockets" / "raylet")
        head = {"nodeId": NODE, "isHeadNode": True, "state": "ALIVE", "rayletSocketName": socket}
        return 200, {"data": {"summary": [{"raylet": head}]}}

    def _package(self, method: str, parts: SplitResult, _body: bytes) -> tuple[int, object]:
        name = parts.path.rpartition("/")[2]
        if method == "PUT":
            self.packages.add(name)
        return (200, "") if name in self.packages else (404, f"Package {name} does not exist")

    def _dashboards_file(self, _method: str, parts: SplitResult, _body: bytes) -> tuple[int, object]:
        asked = parse_qs(parts.query)
        if "filename" not in asked or asked.get("node_id") != [NODE]:
            return 500, "500 Internal Server Error\n\nServer got itself in trouble"
        return self.file(asked["filename"][0], (500, "RuntimeError: not found"))

    def _agents_file(self, _method: str, parts: SplitResult, _body: bytes) -> tuple[int, object]:
        return self.file(parts.path.removeprefix("/logs/"), (404, "404: Not Found"))

    def _job(self, method: str, parts: SplitResult, body: bytes) -> tuple[int, object]:
        if (method, parts.path) == ("POST", "/api/jobs/"):
            return self.submit(json.loads(body))
        if (method, parts.path) == ("GET", "/api/jobs/"):
            return 200, [self.look(name) for name in self.jobs]
        name = parts.path.removeprefix("/api/jobs/").removesuffix("/stop")
        if name not in self.jobs:
            return 404, f"Job {name} does not exist"
        return 200, {"stopped": self.stop(name)} if method == "POST" else self.look(name)

    def file(self, name: str, missing: tuple[int, object]) -> tuple[int, object]:
        """Return a file of the log folder, whole."""
        file = self.logs / name
        return (200, file.read_bytes()) if file.is_file() else missing

    def submit(self, body: Mapping[str, Any]) -> tuple[int, object]:
        """Start a job."""
        name = str(body["submission_id"])
        if name in self.jobs:
            return 500, f"Traceback\nRuntimeError: Job with submission_id {name} already exists"
        variables: dict[str, str] = body.get("runtime_env", {}).get("env_vars", {})
        with (self.logs / f"job-driver-{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                body["entrypoint"],
                shell=True,
                env={**os.environ, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.jobs[name] = {**body, "status": "RUNNING", "driver_node_id": NODE, "driver_agent_http_address": self.agent}
        return 200, {"submission_id": name}

    def look(self, name: str) -> dict[str, Any]:
        """Return what the server says of a job now."""
        job, code = self.jobs[name], self.processes[name].poll()
        if code is not None and job["status"] == "RUNNING":
            job["driver_exit_code"] = code
            job["status"] = "STOPPED" if job.get("asked") else "SUCCEEDED" if code == 0 else "FAILED"
        return job

    def stop(self, name: str) -> bool:
        """Stop a job; return whether there was something to stop."""
        running = self.look(name)["status"] == "RUNNING"
        if running:
            self.jobs[name]["asked"] = True
            self.end(name)
        return running

    def end(self, name: str) -> None:
        """End a job's processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    def asked(self, method: str, part: str) -> int:
        """Count the calls of a kind."""
        return sum(one == method and part in path for one, path in self.server.calls)

    def close(self) -> None:
        """End everything that still runs."""
        for name in self.processes:
            self.end(name)
