"""What this machine grants to this process."""

import os
from collections.abc import Iterator
from pathlib import Path

from dagster_ray.local._cpu_limit import cpus_for_ray, quota_of, quota_of_v1

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


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
