"""The examples of `dagster.yaml` in the page on run launchers load."""

import re
from pathlib import Path

import dagster as dg
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "run-launcher.md"
EXAMPLES = {
    re.findall(r"class: (\w+)", text)[0]: text
    for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
}


@pytest.mark.parametrize("launcher", ["RayRunLauncher", "KubeRayRunLauncher"])
def test_an_example_loads(launcher: str, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(EXAMPLES[launcher])
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_launcher).__name__ == launcher
