"""What it costs to run each step of a run as a Ray job.

    python benchmarks/executor.py [--turns N] [--steps N] [--json FILE]

One run of many steps that do nothing, of which at most four run at the same time; its storage is SQLite. Two executors
take turns, each in a fresh process:

- ours: `ray_executor`, on one real head on the same machine, through a proxy that counts requests;
- floor: Dagster's own `multiprocess_executor`.

Seconds are from the event that starts the run to the one that ends it. A false failure is an attempt of a step that is
not told as a success: no step of this run has a reason to fail.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import http.client
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from catalogue import AT_ONCE, EXECUTOR, STEPS
from rivals import Collected, measured, parser_of, present, take_turns, tell
from typing_extensions import override

PATIENCE_SECONDS = 1800.0
_ANSWER_SECONDS = 30.0
_FAILED = {"STEP_FAILURE", "STEP_UP_FOR_RETRY"}


# The job server, as this project sees it


class CountingProxy(ThreadingHTTPServer):
    """Passes requests on to a job server, and counts them by their methods."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        """Take the job server."""
        super().__init__(("127.0.0.1", 0), _PassedOn)
        self.behind = urlsplit(address).netloc
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _PassedOn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the client keeps its connection
    server: CountingProxy  # pyright: ignore[reportIncompatibleVariableOverride]

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked[self.command] += 1
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        behind = http.client.HTTPConnection(self.server.behind, timeout=_ANSWER_SECONDS)
        try:
            behind.request(self.command, self.path, body or None, headers)
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 - http.server's names

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def counted(address: str) -> Generator[CountingProxy]:
    """Yield a proxy before a job server."""
    with CountingProxy(address) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


# Rivals


@dg.op
def nothing() -> None:
    """Do nothing."""


def job_of(rival: str, steps: int, folder: str) -> dg.JobDefinition:
    """Return the job; the process of each step loads it here, too."""
    from dagster_ray.pipes import ray_executor  # noqa: PLC0415 - the floor does without

    executor = ray_executor if rival == "ours" else dg.multiprocess_executor
    io_manager = dg.FilesystemIOManager(base_dir=folder)

    @dg.job(executor_def=executor, resource_defs={"io_manager": io_manager})
    def many() -> None:
        for number in range(steps):
            nothing.alias(f"nothing_{number}")()

    return many


def measure(rival: str, steps: int, address: str) -> dict[str, float]:
    """Be a rival: return steps a second and attempts that were not told as a success."""
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        arguments: Any = (rival, steps, folder)
        job = dg.build_reconstructable_job("executor", "job_of", arguments, {}, str(Path(__file__).parent))
        ray = {"ray": {"address": address}} if rival == "ours" else {}
        config: dict[str, Any] = {"execution": {"config": {"max_concurrent": AT_ONCE, **ray}}}
        result = dg.execute_job(job, instance, run_config=config, raise_on_error=False)
        entries = instance.all_logs(result.run_id)
    events = [(entry.dagster_event.event_type_value, entry) for entry in entries if entry.dagster_event is not None]
    kinds = Counter(kind for kind, _ in events)
    if kinds["STEP_SUCCESS"] != steps:
        failed = [entry.user_message for kind, entry in events if kind in _FAILED]
        raise RuntimeError(f"{kinds['STEP_SUCCESS']} of {steps} steps succeeded; {failed[:3]}")
    at = {kind: entry.timestamp for kind, entry in events if kind in {"PIPELINE_START", "PIPELINE_SUCCESS"}}
    seconds = at["PIPELINE_SUCCESS"] - at["PIPELINE_START"]
    return {"executor-rate": steps / seconds, "executor-failures": sum(kinds[kind] for kind in _FAILED)}


def collect(turns: int, steps: int) -> Collected:
    """Start a head, and let the executors take turns."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests-integration"))
    from real_head import ray_head  # pyright: ignore[reportMissingImports]  # noqa: PLC0415 - found by the line above

    collected = Collected()
    with ray_head() as head, counted(head.dashboard) as proxy:
        for rival in take_turns(turns, ["floor", "ours"]):
            proxy.asked.clear()
            found = measured(__file__, rival, str(steps), proxy.url, patience=PATIENCE_SECONDS)
            collected.add(rival, found, ["executor-rate"])
            if rival == "ours":
                print(f"requests: {dict(proxy.asked)}", file=sys.stderr)
                asked = {f"executor-{kind.lower()}s": proxy.asked[kind] / steps for kind in ("POST", "GET")}
                own = ["executor-failures", *asked]
                collected.add("ours", None if found is None else {**found, **asked}, own)
    return collected


def main() -> None:
    """Measure in turns, or be a rival."""
    parser = parser_of(EXECUTOR)
    parser.add_argument("--steps", type=int, default=STEPS, help="how many steps the run has")
    given = parser.parse_args()
    if given.measure:
        rival, steps, address = given.measure
        tell(measure(rival, int(steps), address))
        return
    present(EXECUTOR, collect(given.turns, given.steps), given.json)


if __name__ == "__main__":
    main()
