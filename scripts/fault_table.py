"""Write docs/what-happens-when.md from the fault matrix: `python scripts/fault_table.py [--check]`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/what-happens-when.md"
sys.path.insert(0, str(ROOT / "tests-integration"))

from fault_matrix import CELLS  # noqa: E402 - found by the path above
from fault_terms import FAULTS, PHASES, Cell, Fault  # noqa: E402
from written_page import write_or_check  # noqa: E402

HEAD = """# What happens when

<!-- Written by scripts/fault_table.py from tests-integration/fault_matrix.py; change that. -->

What a fault does to a step, and what becomes of its cluster. [Who deletes the cluster](kuberay-deletion.md) has
the ends of a step that no fault has caused, and the settings that change what this page says.

Each row of a table is backed by tests on the [simulator](kuberay-simulator.md), most of them in accelerated time; the
repository's `tests-integration/fault_matrix.py` names them. Defaults throughout: `timeout` 600,
`ttl_seconds_after_finished` 60, `lifecycle` as it is, ticks of the
[cleanup sensor](kuberay-garbage-collection.md) every 60 s.
Nothing that dagster-ray has not made is deleted in any of them.

`driver="cluster"` asks Kubernetes and follows its job by the code of `PipesKubeRayJobClient`. The tests of that client
stand for both where a row has both.

The phases of a step are *create*, *wait* (for the head), *connect* (with a Ray job: *submit*), *run* (the step's own
code, or the job) and *cleanup*.
"""


def where(cell: Cell) -> str:
    """Return features and phases in words."""
    parts: list[str] = []
    for feature, phases in cell.where.items():
        whole = phases == PHASES[feature]
        parts.append(feature if whole else f"{feature}: {', '.join(phases)}")
    return "<br>".join(parts)


def section(fault: Fault) -> str:
    """Return the part of the page about one fault: first what somebody notices, then what makes no difference."""
    cells = [cell for cell in CELLS if cell.fault == fault]
    rows = "".join(f"| {where(cell)} | {cell.sees} | {cell.cleaned} |\n" for cell in cells if cell.tests)
    table = f"| where | what you see | what is cleaned, by whom, within how long |\n|---|---|---|\n{rows}"
    reasons = [f"- {where(cell).replace('<br>', '; ')}. {cell.reason}\n" for cell in cells if cell.reason]
    none = f"\nNo difference in:\n\n{''.join(reasons)}" if reasons else ""
    return f"\n## {fault.title}\n\n{fault.text}\n\n{table}{none}"


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(section(fault) for fault in FAULTS)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page()))
