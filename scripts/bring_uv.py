"""Install the one uv version that this project uses into a folder of the project.

Standard library only: it runs before anything else exists. `make` calls it.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

MINIMUM_PYTHON = (3, 11)


def install(folder: Path, version: str) -> None:
    """Make `folder`/bin/uv of `version`, with `venv` where Python has it, else with `pip --target`."""
    shutil.rmtree(folder, ignore_errors=True)
    wanted = f"uv=={version}"
    try:
        venv.create(folder, with_pip=True)
    except (subprocess.CalledProcessError, ImportError, OSError):  # Debian's python3 without python3-venv
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), wanted]
    else:
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", wanted]
    if subprocess.run(pip, check=False).returncode != 0:
        sys.exit(
            f"uv {version} could not be installed into {folder}/. To fix: give this Python pip or venv "
            "(Debian: apt install python3-venv) and access to a package index, then run make again."
        )


def main(folder: str, version: str) -> None:
    """Check Python, then install."""
    if sys.version_info < MINIMUM_PYTHON:
        sys.exit(f"Python {sys.version.split()[0]} is too old: dagster-ray needs 3.11 or later.")
    install(Path(folder), version)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
