"""What a driver of a shared cluster gives to its workers: the environment and the folder of its own step.

The process that holds the cluster has only what Ray and its environment plugins need to run, and steps that differ in
that do not share. The rest is written to a file that only this user can read, and each worker of the driver reads it
before its first task. No value passes through `runtime_env` or the record of a job, which everybody who sees the
dashboard can read.
"""

import contextlib
import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dagster_ray.local._machine import path_of_ray

# What Ray, pip, uv and conda need to run on this machine, and what decides how Ray itself works.
_OF_THE_CLUSTER = re.compile(
    r"HOME|USER|LOGNAME|SHELL|PATH|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|DYLD_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE"
    r"|CURL_CA_BUNDLE|(?:RAY|CUDA|NVIDIA|HIP|ROCR|NEURON|TPU|PIP|UV|CONDA|XDG)_\w+|\w+_VISIBLE_\w+"
    r"|(?i:https?_proxy|no_proxy|all_proxy)"
)
_SET_BY_RAYS_IMPORT = "RAY_CLIENT_MODE"
_FILE = re.compile(r"step-(\d+)-[0-9a-f]+\.json")


def of_the_cluster(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that the process which holds a shared cluster gets, and its `python`."""
    kept = {
        name: value
        for name, value in environ.items()
        if _OF_THE_CLUSTER.fullmatch(name) and name != _SET_BY_RAYS_IMPORT
    }
    return {**kept, "PATH": path_of_ray(environ)}


def write_step_environment(folder: Path, environ: Mapping[str, str]) -> Path:
    """Write this step's environment and working directory to a file in `folder` that only this user can read."""
    said = {
        "environ": {
            **{name: value for name, value in environ.items() if name not in ("PWD", _SET_BY_RAYS_IMPORT)},
            "PATH": path_of_ray(environ),
        },
        "of_the_cluster": of_the_cluster(environ),
        "cwd": str(Path.cwd()),
        "cluster_cwd": str(folder),
    }
    path = folder / f"step-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(said, file)
    return path


def remove_dead_steps(folder: Path) -> None:
    """Remove the files of steps whose process was killed before it could do so."""
    for path in folder.glob("step-*.json"):
        name = _FILE.fullmatch(path.name)
        if name is None:
            continue
        try:
            os.kill(int(name[1]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except OSError:  # it lives, as somebody else's
            continue


def with_step_environment(runtime_env: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return a `runtime_env` whose workers take their environment from the file, then run the user's own hook."""
    return {**runtime_env, "worker_process_setup_hook": _worker_setup(str(path), runtime_env.get(_HOOK))}


_HOOK = "worker_process_setup_hook"


def _worker_setup(path: str, then: Callable[[], None] | str | None) -> Callable[[], None]:
    def take_the_steps_environment() -> None:
        """Run in a worker. Nested, so that it travels by value: importing this package would import Dagster."""
        import importlib
        import json
        import os
        from pathlib import Path

        said = json.loads(Path(path).read_text(encoding="utf-8"))
        before, mine = said["of_the_cluster"], said["environ"]
        for name, value in mine.items():
            # A value that differs from the cluster's was set for this worker, by Ray or by its runtime_env.
            if name not in os.environ or os.environ[name] == before.get(name):
                os.environ[name] = value
        if Path.cwd() == Path(said["cluster_cwd"]):  # else runtime_env has chosen a folder
            os.chdir(said["cwd"])
            os.environ["PWD"] = said["cwd"]
        known = set(sys.path)
        sys.path[1:1] = [
            entry for entry in mine.get("PYTHONPATH", "").split(os.pathsep) if entry and entry not in known
        ]
        if isinstance(then, str):
            module, _, function = then.rpartition(".")
            getattr(importlib.import_module(module), function)()
        elif then is not None:
            then()

    return take_the_steps_environment


def remove(path: Path | None) -> None:
    """Remove the file of a step that has ended."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()
