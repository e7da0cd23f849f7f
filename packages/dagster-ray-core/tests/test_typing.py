"""What a type checker tells a user."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

USERS_FILE = """
import dagster as dg
from dagster_ray.core import RayResource

class NotABackend:
    address = "ray://head:10001"

@dg.asset
def train(ray_cluster: RayResource) -> None:
    ray_cluster.adress

backend: RayResource = NotABackend()
"""


def pyright(path: Path) -> list[dict[str, Any]]:
    if find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return report["generalDiagnostics"]


def test_an_unknown_attribute_and_a_backend_that_lacks_members_are_errors(tmp_path: Path) -> None:
    users_file = tmp_path / "users_file.py"
    users_file.write_text(USERS_FILE)
    found = [item for item in pyright(users_file) if item["severity"] == "error"]
    lines = USERS_FILE.splitlines()
    assert [lines[item["range"]["start"]["line"]] for item in found] == [
        "    ray_cluster.adress",
        "backend: RayResource = NotABackend()",
    ]
    assert 'attribute "adress" for class "RayResource"' in found[0]["message"]
    assert '"create" is not present' in found[1]["message"]


def test_what_the_types_promise_holds() -> None:
    assert pyright(Path(__file__).parent / "typing_api.py") == []
