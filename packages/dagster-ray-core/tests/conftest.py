"""What the tests share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

HERE = Path(__file__).parent


@pytest.fixture
def journal(tmp_path: Path) -> str:
    """Where the probes of one test write."""
    return str(tmp_path / "journal")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with a storage that other processes reach."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        yield instance


@pytest.fixture
def stand_in_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `import ray` find the stand-in, here and in the processes of executors."""
    real = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "ray"}
    for name in real:
        del sys.modules[name]
    monkeypatch.setattr("sys.path", [str(HERE / "stand_in"), *sys.path])
    monkeypatch.delenv("RAY_STAND_IN", raising=False)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        del sys.modules[name]  # other tests of this process want the real one
    sys.modules.update(real)
