"""What the tests share: one Ray head for all tests of a process."""

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

os.environ["RAY_AUTH_MODE"] = "disabled"
# The conformance kit imports a test file by path in other processes; its neighbours must be found there, too.
sys.path.insert(0, str(Path(__file__).parent))

from ray_head import RayHead, started_head


@pytest.fixture(scope="session")
def ray_head() -> Generator[RayHead]:
    """A real Ray head."""
    with started_head() as head:
        yield head
