"""Dagster's own `dg` lists, scaffolds and checks the components, in a project of its own."""

# dg's command line and Dagster are typed in part only.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from test_documents import blocks_of

from dagster_ray.kuberay import KubeRayCluster, KubeRayComponent, KubeRayInteractiveJob
from dagster_ray.local import LocalRay, LocalRayComponent

PAGE = "docs/components.md"
PATIENCE_SECONDS = 120
FILES = {
    "pyproject.toml": """
[project]
name = "ray_project"
version = "0.1.0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "ray_project"
""",
    "src/ray_project/__init__.py": "",
    "src/ray_project/defs/__init__.py": "",
    "src/ray_project/defs/assets.py": """
import dagster as dg
from dagster_ray.core import RayResource

@dg.asset
def trained(ray_cluster: RayResource) -> None: ...
""",
    "src/ray_project/definitions.py": """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs() -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
}
COMPONENTS = {"KubeRayComponent": KubeRayComponent, "LocalRayComponent": LocalRayComponent}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


# Several commands in one process: most of the time of one is the import of Dagster.
RUN = """
import json, sys
from click.testing import CliRunner
from dagster_dg_cli.cli import create_dg_cli

answers = [CliRunner().invoke(create_dg_cli(), command) for command in json.loads(sys.argv[1])]
print(json.dumps([[answer.exit_code, answer.output] for answer in answers]))
"""


def run_dg(project: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Run commands of `dg` in a project, which gets `dg`'s own state too; return exit code and output of each."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
    more = {"PYTHONPATH": str(project / "src"), "HOME": str(project), "COLUMNS": "200", "NO_COLOR": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=project,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env={**environ, **more, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return [(code, output) for code, output in json.loads(done.stdout.splitlines()[-1])]


def test_dg_lists_scaffolds_and_checks_both_components(project: Path) -> None:
    (project / "src/ray_project/defs/bad").mkdir()
    bad = project / "src/ray_project/defs/bad/defs.yaml"
    bad.write_text(
        "type: dagster_ray.kuberay.KubeRayComponent\nattributes:\n  timout: 3\n  cleanup_sensor: {grace_second: 3}\n",
        encoding="utf-8",
    )
    listed, refused, scaffolded = run_dg(
        project,
        ["list", "components"],
        ["check", "yaml"],
        ["scaffold", "defs", "dagster_ray.kuberay.KubeRayComponent", "ray"],
    )
    assert "dagster_ray.kuberay.KubeRayComponent" in listed[1]
    assert "dagster_ray.local.LocalRayComponent" in listed[1]

    assert scaffolded[0] == 0, scaffolded[1]
    written = project / "src/ray_project/defs/ray/defs.yaml"
    assert yaml.safe_load(written.read_text(encoding="utf-8")) == {
        "type": "dagster_ray.kuberay.KubeRayComponent",
        "attributes": {"resource_key": "ray_cluster", "resource": "KubeRayInteractiveJob"},
    }

    assert refused[0] != 0, refused[1]
    assert re.search(r"defs\.yaml:3 - .* attributes\.timout .*'timout' was unexpected", refused[1])
    assert re.search(r"defs\.yaml:4 - .* attributes\.cleanup_sensor.*'grace_second' was unexpected", refused[1])

    bad.unlink()
    with written.open("a", encoding="utf-8") as file:
        file.write("  cleanup_sensor: {namespaces: [ray]}\n---\ntype: dagster_ray.local.LocalRayComponent\n")
        file.write("attributes: {resource_key: small_ray, num_cpus: 2}\n")
    (checked,) = run_dg(project, ["check", "defs"])
    assert checked[0] == 0, checked[1]
    assert "All component YAML validated successfully." in checked[1]


def documented() -> Iterator[Any]:
    for block in blocks_of(PAGE):
        if block.language == "yaml":
            for number, document in enumerate(yaml.safe_load_all(block.text)):
                yield pytest.param(document, id=f"line {block.line}, document {number}")


@pytest.mark.parametrize("document", [*documented()])
def test_a_documented_file_declares_what_it_says(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_WORKERS", "8")
    attributes = document["attributes"]
    kind = COMPONENTS[document["type"].rpartition(".")[2]]
    component = kind.from_attributes_dict(attributes=attributes)
    defs = component.build_defs(dg.ComponentTree.for_test().load_context)

    resources = {type(made).__name__ for made in (defs.resources or {}).values()}
    expected = {"LocalRay"} if kind is LocalRayComponent else {attributes.get("resource", "KubeRayInteractiveJob")}
    assert resources == expected - {None}
    assert resources <= {one.__name__ for one in (KubeRayCluster, KubeRayInteractiveJob, LocalRay)}
    assert bool(defs.sensors) == ("cleanup_sensor" in attributes)
