"""An environment of its own for dagster-ray 0.4.8, which benchmarks compare this project with.

0.4.8 is another code base of the same name: where it is installed, its regular package hides this project's namespace.
So it lives in a folder of the user's cache, outside of the checkout, which is made once for each Ray and Python.
"""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

VERSION = "0.4.8"
UV = Path(__file__).parents[1] / ".tools/bin/uv"


def requirements() -> list[str]:
    """Return what 0.4.8 needs to run.

    It calls `ApiClient.call_api` as kubernetes had it before 36, and connecting imports `ray.data`, which needs pandas
    and pyarrow; its own metadata says none of this.
    """
    ray = importlib.metadata.version("ray")
    return [f"dagster-ray=={VERSION}", "kubernetes<36", "pandas", "pyarrow", f"ray[client,default]=={ray}"]


def older_python() -> str:
    """Return the Python of an environment with 0.4.8 and this environment's Ray; make it if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"dagster-ray-{VERSION}-ray-{importlib.metadata.version('ray')}-python-{platform.python_version()}"
    folder = cache / "dagster-ray-benchmarks" / name
    python, complete = folder / "bin/python", folder / "complete"
    if not complete.exists():
        uv = [str(UV), "--quiet"]
        subprocess.run([*uv, "venv", "--clear", "--python", platform.python_version(), str(folder)], check=True)
        subprocess.run([*uv, "pip", "install", "--python", str(python), *requirements()], check=True)
        complete.touch()
    return str(python)


def older_packages() -> str:
    """Return the folder of its packages, which its clusters need: it sends functions of its own there by name."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([older_python(), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()
