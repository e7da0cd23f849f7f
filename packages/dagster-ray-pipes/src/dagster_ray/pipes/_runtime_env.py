"""The runtime_env of a job, apart from its packages: which keys it may have, and the files that it names.

Keys and files are those of Ray 2.46 to 2.60 (ray/runtime_env/runtime_env.py, ray/_private/runtime_env/validation.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.core.variables import env_vars_fault

_KNOWN = (
    *("working_dir", "py_modules", "py_executable", "java_jars", "excludes", "pip", "uv", "conda", "container"),
    *("image_uri", "env_vars", "config", "worker_process_setup_hook", "mpi", "nsight", "rocprof_sys"),
)
_EDITS = 2
_CONDA_SUFFIXES = {".yml", ".yaml"}


def check_runtime_env(runtime_env: Mapping[Any, Any]) -> None:
    """Check keys and environment variables of a runtime_env. Pure.

    Raises:
        InvalidFieldError: A key is a misspelled one of Ray's, or a variable is not text.
    """
    for key in unknown_keys(runtime_env):
        for known in _KNOWN:
            if edits(key, known) <= _EDITS:
                raise InvalidFieldError(f"runtime_env.{key}", "is not a key of Ray", f"write `{known}`")
    fault = env_vars_fault(runtime_env.get("env_vars") or {}, "runtime_env.env_vars")
    if fault is not None:
        raise InvalidFieldError(*fault)


def unknown_keys(runtime_env: Mapping[Any, Any]) -> Sequence[str]:
    """Return the keys that are not Ray's own, and may be those of a plug-in. Pure."""
    return [str(key) for key in runtime_env if key not in _KNOWN and not str(key).startswith("_")]


def edits(one: str, other: str) -> int:
    """Return how many characters must be inserted, deleted or replaced to make one text the other. Pure."""
    row = list(range(len(other) + 1))
    for number, character in enumerate(one, 1):
        before, row[0] = row[0], number
        for column, wanted in enumerate(other, 1):
            cost = before if character == wanted else 1 + min(before, row[column], row[column - 1])
            before, row[column] = row[column], cost
    return row[-1]


def with_files_read(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Return a runtime_env with the content of the files that `pip`, `uv` and `conda` name.

    Ray reads such a file where the job is submitted; the job server would look for it on the head.

    Raises:
        InvalidFieldError: A file cannot be read.
    """
    found = dict(runtime_env)
    for key in ("pip", "uv"):
        if isinstance(found.get(key), str):
            found[key] = _requirements(f"runtime_env.{key}", found[key])
    pip: object = found.get("pip")
    if isinstance(pip, Mapping):
        options = dict(cast("Mapping[str, Any]", pip))
        if isinstance(options.get("packages"), str):
            options["packages"] = _requirements("runtime_env.pip.packages", options["packages"])
        found["pip"] = options
    conda: object = found.get("conda")
    if isinstance(conda, str) and Path(conda).suffix in _CONDA_SUFFIXES:
        found["conda"] = _conda("runtime_env.conda", conda)
    return found


def _requirements(field: str, path: str) -> list[str]:
    return _text(field, path).strip().split("\n")


def _conda(field: str, path: str) -> dict[str, Any]:
    import yaml

    text = _text(field, path)
    try:
        found: object = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidFieldError(field, f"names the file {path}, which is not YAML", f"correct {path}") from error
    if not isinstance(found, dict):
        reason = f"names the file {path}, which does not contain a YAML mapping"
        raise InvalidFieldError(field, reason, f"write the conda environment into {path}")
    return cast("dict[str, Any]", found)


def _text(field: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        what = f"names the file {path}, which cannot be read: {reason}"
        raise InvalidFieldError(field, what, f"correct `{field}`: the step reads this file") from error
