"""A backend that keeps its promises passes the kit, and shows how a backend without Ray uses it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from file_ray_contract import FileRayContract

from dagster_ray.core.testing import Capability, RayResourceContract

_WITHOUT_RAY = frozenset({Capability.REMOTE_TASKS, Capability.TASK_OUTPUT, Capability.DRIVER_IN_CLUSTER})


class TestClusterOfItsOwn(FileRayContract, RayResourceContract):
    """Each resource makes a cluster."""

    lacks = _WITHOUT_RAY | {Capability.SHARING}


class TestSharedCluster(FileRayContract, RayResourceContract):
    """Resources of one directory meet."""

    lacks = _WITHOUT_RAY | {Capability.MULTIPROCESS, Capability.TERMINATION}

    @pytest.fixture
    def fields(self, tmp_path: Path) -> Mapping[str, Any]:
        return {"directory": str(tmp_path), "share": True}
