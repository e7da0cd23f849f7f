"""The fault matrix has every combination once, each with tests that exist, and the page says what it says."""

import itertools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from fault_matrix import CELLS
from fault_terms import FAULTS, PHASES

ROOT = Path(__file__).parents[1]


def test_every_combination_is_in_exactly_one_cell() -> None:
    wanted = Counter(
        (fault.title, feature, phase)
        for fault, (feature, phases) in itertools.product(FAULTS, PHASES.items())
        for phase in phases
    )
    found = Counter(
        (cell.fault.title, feature, phase)
        for cell in CELLS
        for feature, phases in cell.where.items()
        for phase in phases
    )
    assert found == wanted


def test_each_cell_has_tests_or_a_reason() -> None:
    wrong = [cell for cell in CELLS if bool(cell.tests) is bool(cell.reason) or not cell.sees or not cell.cleaned]
    assert wrong == []


def test_the_tests_exist() -> None:
    named = {test for cell in CELLS for test in cell.tests}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert named - set(done.stdout.splitlines()) == set()


def test_the_errors_that_are_named_have_pages() -> None:
    named = {code for cell in CELLS for code in re.findall(r"\(errors/([a-z-]+)\.md\)", cell.sees + cell.cleaned)}
    assert {code for code in named if not (ROOT / f"docs/errors/{code}.md").is_file()} == set()


def test_the_page_is_up_to_date() -> None:
    script = [sys.executable, str(ROOT / "scripts/fault_table.py"), "--check"]
    done = subprocess.run(script, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
