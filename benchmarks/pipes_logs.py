"""What it costs to follow a Ray job.

    python benchmarks/pipes_logs.py [--turns N] [--without-older] [--json FILE]

Three readers take turns on one real head, each in a fresh process that submits the job itself:

- ours: this project's `PipesRayJobClient` in an asset;
- floor: Ray's own `JobSubmissionClient.tail_job_logs`;
- older: the older project's `PipesRayJobClient` in an asset, in an environment of its own (see older_project.py).

Two jobs:

- slow: prints the time every 50 ms. Latency is from `print` to the moment when the line reaches the step's stdout;
- fast: prints 200,000 lines of 100 characters. Lines a second from the first to the last that arrives, lines that
  arrived at all, and how far the reader's memory grew at its peak.
"""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# ruff: noqa: PLC0415 - each reader imports only what is in its own environment

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from catalogue import FAST_LINES, PIPES_LOGS, SLOW_LINES
from rivals import Collected, measured, parser_of, peak_above_now, present, take_turns, tell

SLOW_FIGURES, FAST_FIGURES = ("log-p50", "log-p95"), ("log-rate", "log-memory", "log-lines")
SLOW = f"""
import time
for _ in range({SLOW_LINES}):
    print("t", time.time(), flush=True)
    time.sleep(0.05)
"""
FAST = f"""
import sys
for number in range({FAST_LINES}):
    sys.stdout.write("f %092d\\n" % number)
"""


class Arrivals:
    """Takes what a reader writes, and notes when each line came."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.latencies: list[float] = []
        self.fast, self.first, self.last = 0, 0.0, 0.0
        self._rest = ""
        self.peak: Callable[[], float] = lambda: float("nan")

    def expect(self) -> None:
        """Measure memory from now on."""
        self.peak = peak_above_now()

    def write(self, text: str) -> int:
        """Take text as it comes, whole lines or not."""
        now = time.time()  # noqa: TID251 - the job's own clock, on the same machine
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.startswith("t "):
                self.latencies.append(now - float(line[2:]))
            elif line.startswith("f "):
                self.first = self.first or now
                self.fast, self.last = self.fast + 1, now
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Take several texts, as a file does."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Hold nothing back."""

    def fileno(self) -> int:
        """Return the process's own stdout, which capturing of output asks for."""
        return 1


def read_by_asset(client: Any, job: dict[str, Any], arrivals: Arrivals) -> None:
    """Run a job with a Pipes client in an asset."""
    import dagster as dg

    @dg.op
    def follow(context: dg.OpExecutionContext) -> None:
        arrivals.expect()
        sys.stdout = arrivals  # type: ignore[assignment]
        client(context, job)

    @dg.job(executor_def=dg.in_process_executor)
    def followed() -> None:
        follow()

    with dg.DagsterInstance.ephemeral() as instance:
        followed.execute_in_process(instance=instance)


def ours(address: str, job: dict[str, Any], arrivals: Arrivals) -> None:
    """Read with this project."""
    from dagster_ray.pipes import PipesRayJobClient

    client = PipesRayJobClient(address, require_messages="never")
    read_by_asset(lambda context, ray_job: client.run(context=context, ray_job=ray_job), job, arrivals)


def older(address: str, job: dict[str, Any], arrivals: Arrivals) -> None:
    """Read with the older project."""
    from dagster_ray import PipesRayJobClient  # pyright: ignore[reportMissingImports] - in the other environment

    client = PipesRayJobClient(address)
    read_by_asset(lambda context, ray_job: client.run(context=context, submit_job_params=ray_job), job, arrivals)


def rays(address: str, job: dict[str, Any], arrivals: Arrivals) -> None:
    """Read with Ray's own client."""
    import asyncio

    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(address)
    arrivals.expect()
    submission_id = client.submit_job(**job)

    async def follow() -> None:
        async for chunk in client.tail_job_logs(submission_id):
            arrivals.write(chunk)

    asyncio.run(follow())


READERS = {"ours": ours, "floor": rays, "older": older}


def read(reader: str, kind: str, address: str, code: str) -> dict[str, float]:
    """Be one reader: run a job, and return what was measured."""
    arrivals, out = Arrivals(), sys.stdout
    READERS[reader](address, {"entrypoint": f"python {code}"}, arrivals)
    sys.stdout = out
    if kind == "slow":
        if len(arrivals.latencies) < SLOW_LINES:
            raise RuntimeError(f"{len(arrivals.latencies)} lines of {SLOW_LINES} arrived")
        latencies = sorted(arrivals.latencies)
        return {"log-p50": latencies[SLOW_LINES // 2], "log-p95": latencies[SLOW_LINES * 95 // 100]}
    seconds = arrivals.last - arrivals.first
    return {"log-rate": arrivals.fast / seconds, "log-memory": arrivals.peak(), "log-lines": arrivals.fast}


def collect(turns: int, *, with_older: bool) -> Collected:
    """Start a head, and let the readers take turns."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests-integration"))
    from older_project import older_python
    from real_head import ray_head  # pyright: ignore[reportMissingImports]

    pythons = {"ours": sys.executable, "floor": sys.executable} | ({"older": older_python()} if with_older else {})
    collected = Collected()
    with ray_head() as head, tempfile.TemporaryDirectory(prefix="dagster-ray-benchmarks-") as folder:
        for kind, code in (("slow", SLOW), ("fast", FAST)):
            Path(folder, f"{kind}.py").write_text(code, encoding="utf-8")
        for reader in take_turns(turns, list(pythons)):
            for kind, figures in (("slow", SLOW_FIGURES), ("fast", FAST_FIGURES)):
                code = str(Path(folder, f"{kind}.py"))
                found = measured(__file__, reader, kind, head.dashboard, code, python=pythons[reader])
                collected.add(reader, found, figures)
    return collected


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(PIPES_LOGS).parse_args()
    if given.measure:
        tell(read(*given.measure))
    else:
        present(PIPES_LOGS, collect(given.turns, with_older=not given.without_older), given.json)


if __name__ == "__main__":
    main()
