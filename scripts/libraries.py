"""Run Ray Data, Ray Train and Ray Tune in bodies inside the cluster: `python scripts/libraries.py`.

They bring pandas, pyarrow and LightGBM, half a gigabyte that nothing else here needs, so they get an environment of
their own in a temporary folder. It has Dagster and Ray in the versions of the workspace, and this source, editable.
"""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from slim import ROOT, UV, environment, run

REQUIREMENTS = ("tests-integration/pyproject.toml", "examples/ray_train/requirements.txt")
TESTS = ("tests-integration/test_ray_libraries.py", "examples/ray_train", "examples/batch_inference")


def pins() -> str:
    """Return the versions that the workspace has."""
    return "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in ("dagster", "ray"))


def main() -> int:
    """Install, then run the tests; return their exit code."""
    with tempfile.TemporaryDirectory(prefix="libraries-") as scratch:
        python = environment(Path(scratch) / "venv")
        (constraints := Path(scratch, "constraints.txt")).write_text(pins(), encoding="utf-8")
        given = [word for file in REQUIREMENTS for word in ("--requirement", str(ROOT / file))]
        more = ("--editable", str(ROOT / "packages/dagster-ray-simulator"), "ray[tune]", "psutil")
        install = ("pip", "install", "--quiet", "--compile-bytecode", "--python", python)
        # A head waits 15 s for its agent, which has no time to compile Ray and pyarrow first.
        run(UV, *install, "--constraint", str(constraints), *given, *more)
        env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        return subprocess.run([python, "-m", "pytest", *TESTS], cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
