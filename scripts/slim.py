"""Install each wheel alone into an empty environment and use it there: `python scripts/slim.py dist`.

A package that secretly needs a sibling, or brings a library that it promises not to bring, fails here.
The tests of a package run against its wheel with that package's own dependencies and pytest. Those of kuberay and the
simulator are imported only: they need the extra `testing`, which brings Ray, the simulator and with it all that the
workspace has, so they would show here what `make test` has shown already. Of files whose tests start a Ray or several
processes each, a few tests run here: what counts is that these work without the siblings.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = str(ROOT / ".tools/bin/uv")
# Measured in the environment itself: what an import costs on top of `import dagster`.
COST = """
import json, resource, sys, time
import dagster
memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, start = memory(), time.perf_counter()
__import__(sys.argv[1])
took = time.perf_counter() - start
loaded = [name for name in ("ray", "kubernetes") if name in sys.modules]
print(json.dumps({"ms": round(took * 1000, 1), "mb": round((memory() - before) / 1024, 1), "loaded": loaded}))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A wheel, and what its environment must and must not have."""

    member: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    tests_need: str = ""
    """The extra of the package without which its tests cannot run."""
    runs_tests: bool = True
    """Whether its tests run here, or are imported only."""
    which: str = ""
    """Which tests run here, as an expression for pytest's `-k`. Empty: all that no marker leaves out."""

    @property
    def module(self) -> str:
        """The import name."""
        return f"dagster_ray.{self.member}"


# The longest first.
CASES = (
    Case(
        "pipes",
        has=("dagster-pipes", "requests"),
        lacks=("ray", "kubernetes", "dagster-ray-local"),
        which="not (test_driver_in_cluster.py or test_executor.py or test_run_launcher.py) "
        "or test_assets_checks or test_retries_failures or test_steps_run_as_jobs "
        "or test_a_worker_that_is_killed_is_resumed",
    ),
    Case(
        "local",
        has=("ray",),
        lacks=("kubernetes", "dagster-ray-pipes", "pandas", "pyarrow"),
        which="not (test_local_ray.py or test_share.py) "
        "or test_a_run_gets_its_own_ray or test_steps_that_run_at_the_same_time",
    ),
    Case("core", has=("dagster",), lacks=("ray", "kubernetes", "dagster-ray-local", "dagster-ray-pipes")),
    Case(
        "kuberay",
        has=("kubernetes", "dagster-ray-pipes"),
        lacks=("ray", "pytest", "dagster-ray-local", "dagster-ray-simulator"),
        tests_need="testing",
        runs_tests=False,
    ),
    Case("simulator", has=("dagster-ray-kuberay", "ray"), lacks=("dagster-ray-local",), runs_tests=False),
)


def run(*command: str, **environment: str) -> str:
    """Run a command; on failure show all that it printed and stop."""
    # The environments live for a minute on the cache's own file system, as a rule: links are enough.
    given = {**os.environ, "UV_LINK_MODE": "hardlink", **environment}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=given, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder: Path) -> str:
    """Make an empty environment and return its Python."""
    run(UV, "venv", "--quiet", str(folder))
    return str(folder / "bin/python")


def install(python: str, dist: Path, *requirements: str) -> None:
    """Install requirements; packages of this family come from `dist` only, never from an older build in a cache."""
    fresh = [f"--refresh-package=dagster-ray-{case.member}" for case in CASES] + ["--refresh-package=dagster-ray"]
    run(UV, "pip", "install", "--quiet", "--python", python, "--find-links", str(dist), *fresh, *requirements)


def installed(python: str) -> Mapping[str, str]:
    """Return name and version of all that is installed."""
    listed = json.loads(run(UV, "pip", "list", "--quiet", "--python", python, "--format", "json"))
    return {package["name"]: package["version"] for package in listed}


def version() -> str:
    """Return the version of the family."""
    match = re.search(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return match[1] if match else sys.exit("pyproject.toml has no version")


def check(case: Case, dist: Path, folder: Path) -> None:
    """Install one wheel, look at what came with it, import it and run its tests."""
    python = environment(folder)
    install(python, dist, f"dagster-ray-{case.member}=={version()}")
    packages = installed(python)
    wrong = [f"lacks {name}" for name in case.has if name not in packages]
    wrong += [f"brings {name}" for name in case.lacks if name in packages]
    if wrong:
        sys.exit(f"{case.module} {', '.join(wrong)}")
    cost = json.loads(run(python, "-c", COST, case.module))
    if cost["loaded"]:
        sys.exit(f"import {case.module} loads {', '.join(cost['loaded'])}")
    print(f"{case.module}: {len(packages)} packages, import +{cost['ms']} ms +{cost['mb']} MB", flush=True)
    tests = ROOT / f"packages/dagster-ray-{case.member}/tests"
    extra = (f"dagster-ray-{case.member}[{case.tests_need}]=={version()}",) if case.tests_need else ()
    install(python, dist, "hypothesis", "psutil", "pytest>=9", "pytest-xdist", *extra)
    # The conformance kit needs core's extra `testing`, which no user of a backend has; `make test` runs it.
    ignored = ("--ignore-glob", str(tests / "test_conformance*.py"), "--ignore", str(tests / "kit"))
    # What these tests run stands in other tests of their package too; here counts that it runs, not how often.
    how = ("-n", "2") if case.runs_tests else ("--collect-only",)
    select = (
        "-q",
        *how,
        "-m",
        "not many_processes and not weekly",
        *ignored,
        *(("-k", case.which) if case.which else ()),
    )
    print(run(python, "-m", "pytest", *select, str(tests)).splitlines()[-1], flush=True)


def documented_installs(page: Path) -> list[str]:
    """Return the requirements on this family of every `pip install` line of a page, without their versions."""
    lines = re.findall(r"(?m)^\s*pip install (.+)$", page.read_text(encoding="utf-8"))
    return [name for line in lines for name in re.findall(r"'(dagster-ray[\w,\[\]-]*)>=[\d.]+'", line)]


def main(dist_folder: str) -> None:
    """Check every package, then every install command of the documents."""
    dist = Path(dist_folder).resolve()
    with tempfile.TemporaryDirectory(prefix="slim-") as scratch:
        # Half of the time one process installs or collects, so two environments keep two cores busy.
        with ThreadPoolExecutor(2) as at_once:
            try:
                for done in [at_once.submit(check, case, dist, Path(scratch) / case.member) for case in CASES]:
                    done.result()
            finally:
                at_once.shutdown(cancel_futures=True)
        for number, requirement in enumerate(dict.fromkeys(documented_installs(ROOT / "docs/install.md"))):
            python = environment(Path(scratch) / f"documented-{number}")
            install(python, dist, f"{requirement}=={version()}")
            print(f"pip install {requirement!r}: {len(installed(python))} packages", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
