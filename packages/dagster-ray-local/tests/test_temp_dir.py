"""Where a cluster keeps its sessions, and how Ray's job server finds it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from dagster_ray.local._machine import cluster_temp_dir, name_current_cluster


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", "/tmp/ray-7/12"),
        ({}, "darwin", "/tmp/ray-7/12"),
        ({"TMPDIR": "/var/t"}, "linux", "/var/t/ray-7/12"),
        ({"TMPDIR": "/var/folders/x"}, "darwin", "/tmp/ray-7/12"),
        ({"TMPDIR": "/var/t", "RAY_TMPDIR": "/r"}, "linux", "/r/ray-7/12"),
        ({"TMPDIR": ""}, "linux", "/tmp/ray-7/12"),
        ({"RAY_TMPDIR": "/" + "r" * 60}, "linux", "/tmp/ray-7/12"),
        ({"TMPDIR": "/" + "r" * 60}, "linux", "/tmp/ray-7/12"),
    ],
)
def test_the_folder(environ: Mapping[str, str], platform: str, expected: str) -> None:
    assert cluster_temp_dir("12", 7, environ, platform) == expected


def test_the_longest_folder_has_room_for_rays_sockets() -> None:
    found = [cluster_temp_dir("c", 7, {"RAY_TMPDIR": "/" + "r" * length}, "linux") for length in range(1, 100)]
    longest = max(found, key=len)
    assert len(f"{longest}/session_2026-11-24_12-35-00_759017_4194304/sockets/plasma_store") == 107


def test_the_file_is_that_of_ray_start(tmp_path: Path) -> None:
    from ray._private.utils import read_ray_address

    name_current_cluster(str(tmp_path), "127.0.0.1:12345")
    assert read_ray_address(str(tmp_path)) == "127.0.0.1:12345"
