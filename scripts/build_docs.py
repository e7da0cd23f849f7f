"""Build the documentation into site/ and check it: `python scripts/build_docs.py`.

The version and the addresses come from the root's pyproject.toml, the one place that states them. While it has no
`[project.urls]`, the site has no link to the source.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHECKS = (("prose.py",), ("site_links.py", "site"), ("reference_fields.py", "site"))


def variables_of(pyproject: dict[str, Any]) -> dict[str, str]:
    """Return what `!ENV` in mkdocs.yml reads."""
    project = pyproject["project"]
    urls: dict[str, str] = project.get("urls", {})
    found = {"SITE_VERSION": f"dagster-ray {project['version']}"}
    for variable, label in (("SITE_SOURCE", "Source"), ("SITE_URL", "Documentation")):
        if label in urls:
            found[variable] = urls[label]
    return found


def main() -> int:
    """Build, then run every check, and return 1 if anything failed."""
    variables = variables_of(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    zensical = [str(Path(sys.executable).parent / "zensical"), "build", "--clean", "--strict"]
    subprocess.run(zensical, check=True, cwd=ROOT, env={**os.environ, **variables})
    scripts = [[sys.executable, f"scripts/{name}", *arguments] for name, *arguments in CHECKS]
    return max(subprocess.run(command, check=False, cwd=ROOT).returncode for command in scripts)


if __name__ == "__main__":
    sys.exit(main())
