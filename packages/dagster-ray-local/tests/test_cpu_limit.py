from pathlib import Path

import pytest

from dagster_ray.local._machine import cpus_for_ray, quota_of, quota_of_v1, usable_cpus


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        pytest.param("max 100000\n", None, id="no limit"),
        pytest.param("50000 100000\n", 0.5, id="half a CPU"),
        pytest.param("150000 100000", 1.5, id="one and a half"),
        pytest.param("400000", 4.0, id="a quota with the default period"),
        pytest.param("", None, id="an empty file"),
    ],
)
def test_quota_of(cpu_max: str, expected: float | None) -> None:
    assert quota_of(cpu_max) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        pytest.param("-1\n", "100000\n", None, id="no limit"),
        pytest.param("200000\n", "100000\n", 2.0, id="two CPUs"),
    ],
)
def test_quota_of_v1(quota: str, period: str, expected: float | None) -> None:
    assert quota_of_v1(quota, period) == expected


@pytest.mark.parametrize(
    ("cores", "quotas", "expected"),
    [
        pytest.param(8, [], 8, id="all cores without a limit"),
        pytest.param(8, [None], 8, id="a cgroup that sets no limit"),
        pytest.param(8, [0.5], 1, id="half a CPU still runs tasks"),
        pytest.param(8, [1.5], 1, id="a part of a CPU does not count"),
        pytest.param(8, [6.0, None, 2.0], 2, id="the narrowest cgroup counts"),
        pytest.param(2, [6.0], 2, id="no more than there are cores"),
    ],
)
def test_cpus_for_ray(cores: int, quotas: list[float | None], expected: int) -> None:
    assert cpus_for_ray(cores, quotas) == expected


def test_the_limit_of_a_cgroup_further_up_counts(tmp_path: Path) -> None:
    own = tmp_path / "self-cgroup"
    own.write_text("0::/pod/container\n")
    (tmp_path / "pod/container").mkdir(parents=True)
    (tmp_path / "pod/cpu.max").write_text("100000 100000\n")
    (tmp_path / "pod/container/cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path, own) == 1


def test_a_version_1_cgroup_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path, tmp_path / "none") == 1


def test_a_machine_without_cgroups_grants_at_least_one(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path, tmp_path / "none") >= 1
