"""What the tests share."""

import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from ray_like_server import RayLike
from scripted_job_server import Handler, Server


@pytest.fixture
def server() -> Generator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.calls, found.headers = [], []
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def ray(server: Server, tmp_path: Path) -> Generator[RayLike]:
    """A job server that runs each entrypoint as a process of this machine."""
    found = RayLike(tmp_path / "ray", server)
    yield found
    found.close()
