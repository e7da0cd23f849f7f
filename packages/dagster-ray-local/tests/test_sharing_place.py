from pathlib import Path

import pytest

from dagster_ray.local import SharedClusterError
from dagster_ray.local._shared_cluster import Place


def test_the_files_of_a_cluster_are_in_a_folder_of_this_user(tmp_path: Path) -> None:
    place = Place.of("k", tmp_path)
    assert place.socket.parent.stat().st_mode & 0o777 == 0o700
    assert place == Place.of("k", tmp_path)
    assert place.socket != Place.of("other", tmp_path).socket


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    Place.of("k", tmp_path).socket.parent.chmod(0o755)
    with pytest.raises(SharedClusterError, match="private"):
        Place.of("k", tmp_path)


def test_a_link_to_another_folder_is_refused(tmp_path: Path) -> None:
    folder = Place.of("k", tmp_path).socket.parent
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SharedClusterError, match="private"):
        Place.of("k", tmp_path)
