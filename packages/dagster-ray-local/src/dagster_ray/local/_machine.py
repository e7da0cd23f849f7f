"""What a Ray that starts on this machine needs of it: whole CPUs, a folder for its sessions, the step's own Python."""

import importlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
# A socket's path has 107 bytes at most; Ray puts `session_<date and time>_<pid>/sockets/plasma_store` under the folder.
_LONGEST = 107 - len("/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_SHORT = "/tmp"  # noqa: S108 - where Ray's own sessions are
_CURRENT_CLUSTER = "ray_current_cluster"
_VARIABLE = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"


# CPUs


def quota_of(cpu_max: str) -> float | None:
    """Return the CPUs that a cgroup v2 `cpu.max` file grants; None if it sets no limit.

    The file holds a quota and a period in microseconds, or the word max and a period
    (kernel documentation, admin-guide/cgroup-v2).
    """
    quota, _, period = cpu_max.strip().partition(" ")
    return _ratio(quota, period or "100000")


def quota_of_v1(cfs_quota_us: str, cfs_period_us: str) -> float | None:
    """Return the CPUs that the two files of a cgroup v1 grant; None if they set no limit (quota -1)."""
    return _ratio(cfs_quota_us.strip(), cfs_period_us.strip())


def _ratio(quota: str, period: str) -> float | None:
    try:
        granted, per = int(quota), int(period)
    except ValueError:  # the word max
        return None
    return granted / per if granted > 0 and per > 0 else None


def cpus_for_ray(usable_cores: int, quotas: Iterable[float | None]) -> int:
    """Return the `num_cpus` for a local Ray: whole CPUs within every limit, and at least one.

    Ray's own default truncates a quota of half a CPU to none, on which no task can ever run
    (ray/_private/utils.py, get_num_cpus).

    Args:
        usable_cores: Cores that this process may run on.
        quotas: CPUs granted by this process' cgroup and those around it; None where one sets no limit.
    """
    limits = [float(usable_cores), *(quota for quota in quotas if quota is not None)]
    return max(1, int(min(limits)))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # another kernel, or no such limit
        return None


def _cgroup_quotas(root: Path, own: Path) -> Iterator[float | None]:
    """Yield the limits of this process' cgroup and of those around it: the kernel applies all of them."""
    for line in (_read(own) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers:
            continue
        folder = root / path.strip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            if (cpu_max := _read(group / "cpu.max")) is not None:
                yield quota_of(cpu_max)
    quota, period = _read(root / "cpu/cpu.cfs_quota_us"), _read(root / "cpu/cpu.cfs_period_us")
    if quota is not None and period is not None:
        yield quota_of_v1(quota, period)


def usable_cpus(root: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Return the whole CPUs that this process may use, at least one: affinity and cgroup limits respected."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cpus_for_ray(cores, _cgroup_quotas(root, own))


# The folder
#
# Ray's job server finds the cluster that a job's driver belongs to by the file `ray_current_cluster` in the temporary
# folder of its node; without that file it takes any cluster of the machine (job_supervisor.py in
# ray/dashboard/modules/job, ray/_private/services.py). `ray start` writes the file and `ray.init` does not. So with
# Ray's default folder, a job that is submitted to one of two clusters may run on the other one.


def cluster_temp_dir(cluster: str, user_id: int, environ: Mapping[str, str], platform: str) -> str:
    """Return the folder for a cluster, beside Ray's default one, or below /tmp if that is too long for Ray's sockets.

    Args:
        cluster: What no other cluster of this user is called meanwhile.
        user_id: The user's number.
        environ: RAY_TMPDIR, and on Linux TMPDIR, move it as they move Ray's own (ray/_common/utils.py).
        platform: `sys.platform`.
    """
    moved = environ.get("RAY_TMPDIR") or (environ.get("TMPDIR") if platform.startswith("linux") else None)
    found = str(Path(moved or _SHORT, f"ray-{user_id}", cluster))
    return found if len(found.encode()) <= _LONGEST else str(Path(_SHORT, f"ray-{user_id}", cluster))


def name_current_cluster(temp_dir: str, address: str) -> None:
    """Let Ray's job server find the cluster whose folder this is, as `ray start` does."""
    Path(temp_dir, _CURRENT_CLUSTER).write_text(address, encoding="utf-8")


# The Python
#
# When Ray notices that the driver runs under `uv run`, it packs the working directory and starts each worker by that
# same uv command in the copy (ray/_private/runtime_env/uv_runtime_env_hook.py). That carries an environment to other
# machines. On this machine it builds the environment once more, or fails where it cannot; the step's own Python is here
# already.


def use_this_python() -> bool:
    """Switch Ray's propagation of `uv run` off, unless the user has set it; return whether it was on."""
    constants: Any = importlib.import_module("ray._private.ray_constants")
    if _VARIABLE in os.environ or not getattr(constants, _VARIABLE, False):
        return False
    setattr(constants, _VARIABLE, False)
    return True


def undo_use_this_python() -> None:
    """Switch it on again."""
    constants: Any = importlib.import_module("ray._private.ray_constants")
    setattr(constants, _VARIABLE, True)


def path_with_python(path: str, executable: str, *, is_environment: bool) -> str:
    """Return a PATH on which `python` is this Python: a job whose command begins with it runs in the step's packages.

    Without an activated environment, as in `.venv/bin/dg dev`, `python` would be another one, or none.

    Args:
        path: PATH as it is.
        executable: `sys.executable`.
        is_environment: Whether this is a virtual environment. The folder of another Python has more programs, so it
            comes first only where there is no `python` at all.
    """
    folder = Path(executable).parent
    found = shutil.which("python", path=path)
    is_right = found is not None and (Path(found).parent == folder or not is_environment)
    return path if is_right or not (folder / "python").exists() else os.pathsep.join((str(folder), path or os.defpath))


def path_of_ray(environ: Mapping[str, str]) -> str:
    """Return the PATH of a Ray that this process starts."""
    given = environ.get("PATH", os.defpath)
    return path_with_python(given, sys.executable, is_environment=sys.prefix != sys.base_prefix)
