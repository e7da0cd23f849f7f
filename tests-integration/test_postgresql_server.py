"""Which of several PostgreSQL servers the tests start."""

from pathlib import Path

import postgresql_server
import pytest


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        pytest.param(["9.6", "15"], "15", id="versions are numbers, and no text"),
        pytest.param(["9.6", "10", "9.10"], "10", id="a minor version counts less"),
        pytest.param(["9.6", "local"], "9.6", id="a folder without a version is the last choice"),
    ],
)
def test_the_newest_server_is_found(
    versions: list[str], newest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in versions:
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        for name in postgresql_server.PROGRAMS:
            (folder / name).touch()
    (tmp_path / "99" / "bin").mkdir(parents=True)  # without programs
    monkeypatch.setattr(postgresql_server, "DEBIAN", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert postgresql_server.programs() == tmp_path / newest / "bin"
