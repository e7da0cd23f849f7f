"""Run all benchmarks, one after another, and write what people read of them.

    python benchmarks/run_all.py [--turns N]    # `make bench`
    python benchmarks/run_all.py --render       # the pages again, from benchmarks/results.json

Writes benchmarks/results.json, benchmarks/RESULTS.md, docs/images/benchmarks.svg, and the part between the markers of
README.md and docs/figures.md. A benchmark that failed or was interrupted has no figures there, and the pages say why.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from catalogue import BENCHMARKS, EXECUTOR, IMPORT_COST, STEPS_A_TURN, SUMMARY
from figures import NOT_MEASURED, Values, verdict
from machine import machine, versions
from results_page import Results, docs_part, figures_of, readme_part, results_page, with_part
from results_plot import plot

ROOT = Path(__file__).parents[1]
FILE = ROOT / "benchmarks/results.json"
PAGE = ROOT / "benchmarks/RESULTS.md"
PLOT = ROOT / "docs/images/benchmarks.svg"
PARTS = {ROOT / "README.md": readme_part, ROOT / "docs/figures.md": docs_part}
PATIENCE_SECONDS = 1200.0
FAREWELL_SECONDS = 60.0
# It takes a few seconds a turn, and its values scatter most.
MORE_TURNS = {IMPORT_COST.name: 3}
OPTIONS = {EXECUTOR.name: ("--steps", str(STEPS_A_TURN))}
"""What a benchmark is told here that it does not do by itself."""


def load(file: Path = FILE) -> Results | None:
    """Return the results of the last run; None before the first."""
    return Results(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def pages(results: Results | None) -> dict[Path, str]:
    """Return every file that shows figures, as it is with these results."""
    shown = {path: with_part(path.read_text(encoding="utf-8"), part(results)) for path, part in PARTS.items()}
    if results is not None:
        chosen = figures_of(results.values)
        shown[PAGE] = results_page(results)
        shown[PLOT] = plot([chosen[key] for key in SUMMARY])
    return shown


def write(results: Results) -> None:
    """Write the results and every file that shows them."""
    FILE.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")
    for path, text in pages(results).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def end(process: "subprocess.Popen[bytes]") -> None:
    """Let a benchmark stop what it has started; then end what is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(FAREWELL_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measured(name: str, turns: int, folder: str) -> tuple[Values, str | None]:
    """Run a benchmark in a process of its own; return its values, or why it has none."""
    file = Path(folder, f"{name}.json")
    command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), "--turns", str(turns), "--json", str(file)]
    command.extend(OPTIONS.get(name, ()))
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        end(process)
        return {}, f"it took longer than {PATIENCE_SECONDS:.0f} s"
    except KeyboardInterrupt:
        end(process)
        raise
    if code != 0 or not file.exists():
        return {}, f"it ended with exit code {code}"
    return json.loads(file.read_text(encoding="utf-8")), None


def run(turns: int) -> Results:
    """Run all benchmarks; Ctrl-C ends the one that runs, and those to come have no figures."""
    facts, begun = {"machine": machine(), "versions": versions()}, time.monotonic()
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    values: dict[str, object] = {}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for place, benchmark in enumerate(BENCHMARKS):
            try:
                print(f"==> {benchmark.name}", flush=True)
                found, failure = measured(benchmark.name, turns * MORE_TURNS.get(benchmark.name, 1), folder)
            except KeyboardInterrupt:
                failures |= {left.name: "the run was interrupted" for left in BENCHMARKS[place:]}
                break
            values |= found
            failures |= {benchmark.name: failure} if failure else {}
    minutes = (time.monotonic() - begun) / 60
    return Results(date=date, turns=turns, minutes=minutes, values=values, failures=failures, **facts)  # type: ignore[arg-type]


def main() -> int:
    """Run, or render; return 1 if something has no figure."""
    parser = argparse.ArgumentParser(description="Run all benchmarks.")
    parser.add_argument("--turns", type=int, default=3, help="how often each rival is measured")
    parser.add_argument("--render", action="store_true", help="write the pages from the results of the last run")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = load() if given.render else run(given.turns)
    if results is None:
        parser.error("there are no results; run without --render")
    write(results)
    figures = figures_of(results.values).values()
    for figure in figures:
        print(f"{verdict(figure):<14} {figure.title}")
    return int(any(verdict(figure) == NOT_MEASURED for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
