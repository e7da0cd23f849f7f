"""What it costs to follow a Ray job: `python benchmarks/pipes_logs.py [--turns N] [--without-older]`.

Three readers take turns on one real head, each in a fresh process that submits the job itself:

- this project's `PipesRayJobClient` in an asset;
- Ray's own `JobSubmissionClient.tail_job_logs`;
- the older project's `PipesRayJobClient` in an asset, in an environment of its own (see older_project.py).

Two jobs:

- slow: prints the time every 50 ms. Latency is from `print` to the moment when the line reaches the step's stdout
  (budget: p95 0.3 s);
- fast: prints 200,000 lines of 100 characters. Lines a second from the first to the last that arrives, lines that
  arrived at all, and the reader's peak memory over what it had before (budget: 50,000 lines a second, 64 MB).
"""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# ruff: noqa: PLC0415 - each reader imports only what is in its own environment

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SLOW_LINES, FAST_LINES = 100, 200_000
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
MEASURE = "BENCHMARK "


class Arrivals:
    """Takes what a reader writes, and notes when each line came."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.latencies: list[float] = []
        self.fast, self.first, self.last = 0, 0.0, 0.0
        self._rest = ""
        self.megabytes = peak_megabytes()

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


def peak_megabytes() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_by_asset(client: Any, job: dict[str, Any], arrivals: Arrivals) -> None:
    """Run a job with a Pipes client in an asset."""
    import dagster as dg

    @dg.op
    def follow(context: dg.OpExecutionContext) -> None:
        arrivals.megabytes = peak_megabytes()
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
    arrivals.megabytes = peak_megabytes()
    submission_id = client.submit_job(**job)

    async def follow() -> None:
        async for chunk in client.tail_job_logs(submission_id):
            arrivals.write(chunk)

    asyncio.run(follow())


READERS = {"ours": ours, "ray": rays, "older": older}


def read(reader: str, address: str, code: str) -> None:
    """Be one reader: run a job, and print what was measured."""
    arrivals, out = Arrivals(), sys.stdout
    READERS[reader](address, {"entrypoint": f"python {code}"}, arrivals)
    found = {
        "latencies": arrivals.latencies,
        "fast": arrivals.fast,
        "seconds": arrivals.last - arrivals.first,
        "megabytes": peak_megabytes() - arrivals.megabytes,
    }
    out.write(f"\n{MEASURE}{json.dumps(found)}\n")
    out.flush()


def measured(python: str, reader: str, address: str, code: str) -> dict[str, Any]:
    """Run one reader in a process of its own."""
    command = [python, __file__, "--read", reader, address, code]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MEASURE)]
    if not lines:
        raise RuntimeError(f"{reader} said nothing:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix(MEASURE))


def row(reader: str, slow: list[dict[str, Any]], fast: list[dict[str, Any]]) -> str:
    """Return a line of the table: medians over the turns, and the fewest lines that arrived."""
    latencies = sorted(latency for turn in slow for latency in turn["latencies"])
    p50, p95 = (latencies[int(len(latencies) * part)] if latencies else float("nan") for part in (0.5, 0.95))
    came = min(len(turn["latencies"]) for turn in slow)
    rates = [turn["fast"] / turn["seconds"] if turn["seconds"] else float("nan") for turn in fast]
    rate, megabytes = statistics.median(rates), statistics.median(turn["megabytes"] for turn in fast)
    lines = min(turn["fast"] for turn in fast)
    return (
        f"| {reader} | {p50:.2f} s | {p95:.2f} s | {came}/{SLOW_LINES} | {rate:,.0f} | {lines:,}/{FAST_LINES:,} "
        f"| {megabytes:.0f} MB |"
    )


def main(turns: int, *, with_older: bool) -> None:
    """Start a head, let the readers take turns, and print a table."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests-integration"))
    from older_project import older_python
    from real_head import ray_head  # pyright: ignore[reportMissingImports]

    readers = {"ours": sys.executable, "ray": sys.executable} | ({"older": older_python()} if with_older else {})
    slow: dict[str, list[dict[str, Any]]] = {reader: [] for reader in readers}
    fast: dict[str, list[dict[str, Any]]] = {reader: [] for reader in readers}
    with ray_head() as head:
        folder = Path(os.environ.get("TMPDIR", "/tmp"))
        codes = {"slow": folder / f"slow-{os.getpid()}.py", "fast": folder / f"fast-{os.getpid()}.py"}
        codes["slow"].write_text(SLOW)
        codes["fast"].write_text(FAST)
        try:
            for _ in range(turns):
                for reader, python in readers.items():
                    slow[reader].append(measured(python, reader, head.dashboard, str(codes["slow"])))
                    fast[reader].append(measured(python, reader, head.dashboard, str(codes["fast"])))
        finally:
            for code in codes.values():
                code.unlink()
    print(f"{turns} turns each")
    print("| reader | p50 | p95 | slow lines | fast lines/s | fast lines | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for reader in readers:
        print(row(reader, slow[reader], fast[reader]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What it costs to follow a Ray job.")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--without-older", action="store_true", help="make no environment for dagster-ray 0.4.8")
    parser.add_argument("--read", nargs=3, metavar=("READER", "ADDRESS", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read(*given.read)
    else:
        main(given.turns, with_older=not given.without_older)
