"""Ray's own places for the token of a cluster."""

from pathlib import Path

import pytest

from dagster_ray.core._connection import token_of_environment


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        pytest.param({}, None, id="no mode"),
        pytest.param({"RAY_AUTH_TOKEN": "a"}, None, id="a token without the mode"),
        pytest.param(
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a", "RAY_AUTH_TOKEN_PATH": "own"}, "a", id="the text"
        ),
        pytest.param({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "own"}, "of-path", id="a file"),
        pytest.param({"RAY_AUTH_MODE": "token"}, "of-home", id="the file of the account"),
        pytest.param({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "absent"}, None, id="a file that is not there"),
        pytest.param({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "binary"}, None, id="a file that is not text"),
    ],
)
def test_where_a_token_is_found(
    environ: dict[str, str], found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-home\n")
    (tmp_path / "own").write_text("of-path\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert token_of_environment(environ) == found
