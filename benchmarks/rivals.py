"""Processes of their own in which rivals are measured, and what a script of benchmarks does with the values."""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import Benchmark
from results_page import benchmark_section

PATIENCE_SECONDS = 300.0
MARK = "MEASURED "


def parser_of(benchmark: Benchmark, turns: int = 3) -> argparse.ArgumentParser:
    """Return the options that every script has."""
    parser = argparse.ArgumentParser(description=f"{benchmark.title}. {benchmark.text}")
    parser.add_argument("--turns", type=int, default=turns, help="how often each rival is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the values there, too")
    parser.add_argument("--without-older", action="store_true", help="make no environment for dagster-ray 0.4.8")
    parser.add_argument("--measure", nargs="+", metavar=("RIVAL", "ARGUMENT"), help=argparse.SUPPRESS)
    return parser


def tell(found: Any) -> None:
    """Say what this process has measured, to the process that started it."""
    print(f"\n{MARK}{json.dumps(found)}", flush=True)


def measured(
    script: str, rival: str, *arguments: str, python: str = sys.executable, patience: float = PATIENCE_SECONDS
) -> Any:
    """Let a fresh process measure a rival; return what it told, or None if it failed, which stderr then explains."""
    command = [python, script, "--measure", rival, *arguments]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=patience)
    except subprocess.TimeoutExpired as error:
        print(f"{Path(script).stem}: {rival} took longer than {error.timeout:.0f} s", file=sys.stderr)
        return None
    told = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not told:
        print(f"{Path(script).stem}: {rival} ended with {done.returncode}\n{done.stderr[-3000:]}", file=sys.stderr)
        return None
    return json.loads(told[-1].removeprefix(MARK))


def take_turns(turns: int, rivals: Sequence[str]) -> Iterator[str]:
    """Yield rivals so that a machine whose speed drifts treats all alike: each once a turn, the order reversed."""
    for turn in range(turns):
        yield from rivals if turn % 2 == 0 else reversed(rivals)


class Collected:
    """Values by figure and rival, in turn."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.values: dict[str, dict[str, list[float | None]]] = {}

    def add(self, rival: str, found: Mapping[str, float] | None, figures: Sequence[str]) -> None:
        """Add what a turn has shown of some figures; None if the rival failed."""
        for key in figures:
            self.values.setdefault(key, {}).setdefault(rival, []).append(None if found is None else found[key])


def present(benchmark: Benchmark, collected: Collected, file: Path | None) -> None:
    """Print the tables, and write the values if there is a file for them."""
    print(benchmark_section(benchmark, collected.values))
    if file is not None:
        file.write_text(json.dumps(collected.values), encoding="utf-8")


def megabytes(field: str) -> float:
    """Return VmRSS or VmHWM (the peak) of this process (proc_pid_status(5))."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def peak_above_now() -> Callable[[], float]:
    """Forget the peak so far; return what tells how many megabytes this process grew at its peak since.

    `5` resets the peak to what is resident (proc_pid_clear_refs(5)).
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = megabytes("VmRSS")
    return lambda: max(megabytes("VmHWM") - before, 0.0)
