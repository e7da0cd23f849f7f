"""How many CPUs Ray may count on, by what the kernel's files say. Pure."""

from collections.abc import Iterable


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
