"""What the tests share."""

import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

# Tests import the modules beside this file.
sys.path.insert(0, str(Path(__file__).parent))

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
