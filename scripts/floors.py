"""Run imports and the fast tests with the lowest versions that the packages declare: `python scripts/floors.py`.

The oldest Python gets the lowest version of every direct dependency, Python 3.13 the newest one, if it is on the PATH.
A floor that is too low fails here, and so does a release of a library that the packages do not get along with.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from declared import dependencies, project_of

ROOT = Path(__file__).parents[1]
UV = str(ROOT / ".tools/bin/uv")
MEMBERS = ("core", "pipes", "local", "kuberay", "simulator")
FOLDERS = tuple(ROOT / f"packages/dagster-ray-{member}" for member in MEMBERS)
TOOLS = ("hypothesis", "psutil", "pytest-xdist")
NEWEST_PYTHON = "3.13"
# Old libraries warn of what newer ones have done away with. The conformance kit starts real clusters for a minute.
OPTIONS = (
    *("-q", "-n", "2", "-m", "not many_processes and not weekly", "-p", "no:cacheprovider", "-W", "default"),
    *("--disable-warnings", "--ignore-glob", "*/test_conformance*.py", "--ignore-glob", "*/tests/kit/*"),
)


@dataclass(frozen=True, slots=True)
class End:
    """One end of the range that the packages declare."""

    name: str
    python: str
    resolution: str


def run(*command: str, shown: bool = False) -> str:
    """Run a command; on failure show all that it printed and stop."""
    given = {**os.environ, "UV_LINK_MODE": "hardlink"}
    done = subprocess.run(command, check=False, capture_output=not shown, text=True, env=given, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout or ''}{done.stderr or ''}")
    return done.stdout or ""


def found_python(version: str) -> str | None:
    """Return the interpreter of this version; None if this machine has none."""
    command = (UV, "python", "find", "--no-python-downloads", "--system", version)
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() or None


def modules() -> Iterator[str]:
    """Yield every module of every package."""
    for folder in FOLDERS:
        source = folder / "src"
        for path in sorted(source.glob("**/*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            if parts[-1] != "__main__":
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def check(end: End, interpreter: str, folder: Path) -> None:
    """Install one end of the range, import every module and run the fast tests."""
    requirements, python = str(folder / "requirements.txt"), str(folder / "venv/bin/python")
    projects = [str(folder / "pyproject.toml") for folder in FOLDERS]
    own = [f"--no-emit-package=dagster-ray-{member}" for member in MEMBERS]
    resolve = ("pip", "compile", "--quiet", "--python", interpreter, "--resolution", end.resolution, "--all-extras")
    run(UV, *resolve, *own, *projects, "--output-file", requirements)
    run(UV, "venv", "--quiet", "--python", interpreter, str(folder / "venv"))
    install = (UV, "pip", "install", "--quiet", "--python", python)
    run(*install, "--requirement", requirements, *TOOLS)
    run(*install, "--no-deps", *(f"--editable={folder}" for folder in FOLDERS))
    print(f"{end.name} versions on Python {end.python}: {', '.join(direct(Path(requirements)))}", flush=True)
    names = tuple(modules())
    run(python, "-c", "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)", *names)
    print(f"{len(names)} modules imported", flush=True)
    run(python, "-m", "pytest", *OPTIONS, *(str(folder / "tests") for folder in FOLDERS), shown=True)


def direct(requirements: Path) -> list[str]:
    """Return the versions of what the packages themselves ask for."""
    resolved = re.findall(r"(?m)^([\w.-]+)==(\S+)", requirements.read_text(encoding="utf-8"))
    asked = {name for folder in FOLDERS for name in dependencies(project_of(folder))}
    return [f"{name} {version}" for name, version in resolved if name in asked]


def main() -> None:
    """Check the lowest versions, then the newest ones where there is a Python for them."""
    oldest = str(project_of(FOLDERS[0])["requires-python"]).removeprefix(">=")
    for end in (End("Lowest", oldest, "lowest-direct"), End("Newest", NEWEST_PYTHON, "highest")):
        interpreter = found_python(end.python)
        if interpreter is None and end.python == oldest:
            sys.exit(f"python{oldest} is not on the PATH, and the lowest versions are those of the oldest Python.")
        if interpreter is None:
            print(f"python{end.python} is not on the PATH: the newest versions were not tried.")
            continue
        with tempfile.TemporaryDirectory(prefix="floors-") as scratch:
            check(end, interpreter, Path(scratch))


if __name__ == "__main__":
    main()
