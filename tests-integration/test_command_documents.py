"""What the documents say of the `dagster-ray` command is so."""

import subprocess
import sys
from pathlib import Path

import yaml
from test_document_claims import ROOT, rows_of
from test_documents import blocks_of

from dagster_ray.kuberay import _rights as rights

PERMISSIONS = "docs/kuberay-permissions.md"


def test_the_table_of_permissions_is_that_of_the_code() -> None:
    found = [tuple(cell.replace("`", "") for cell in row) for row in rows_of(PERMISSIONS, "feature")]
    assert found == [tuple(cell.replace("`", "") for cell in row) for row in rights.table()]


def test_the_role_on_the_page_is_what_the_line_before_it_prints() -> None:
    line, role = blocks_of(PERMISSIONS)[:2]
    command = Path(sys.executable).parent / "dagster-ray"
    words = line.text.split()
    assert words[0] == command.name
    done = subprocess.run([command, *words[1:]], check=True, capture_output=True, text=True, cwd=ROOT)
    assert yaml.safe_load(done.stdout) == yaml.safe_load(role.text)
