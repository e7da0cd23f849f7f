"""The part of a contract class that every backend made of `FileRay` shares."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from file_ray import FileRay, SimulatedClock, cluster_of

from dagster_ray.core import DagsterContext, RayResource
from dagster_ray.core.testing import BackendUnderTest, ExistingCluster


class FileRayContract(BackendUnderTest):
    """Like an author's class; `backend` is what differs."""

    backend: ClassVar[type[FileRay]] = FileRay
    deletion_seconds = 0.0

    @classmethod
    def make(cls, **fields: Any) -> RayResource:
        return cls.backend(**fields)

    @classmethod
    def cluster_id(cls, resource: RayResource) -> str:
        return cluster_of(resource)

    @classmethod
    def cluster_exists(cls, cluster: str) -> bool:
        return Path(cluster).exists()

    @classmethod
    def discard(cls, cluster: str) -> None:
        shutil.rmtree(cluster)

    @classmethod
    def seconds(cls) -> float:
        return SimulatedClock.seconds()

    @classmethod
    def make_never_ready(cls, **fields: Any) -> RayResource:
        return cls.backend(**fields, ready=False)

    @classmethod
    def make_failing(cls, fail: Callable[[RayResource], None], **fields: Any) -> RayResource:
        class Failing(cls.backend):
            def connect(self, context: DagsterContext) -> None:
                super().connect(context)
                fail(self)

        return Failing(**fields)

    @pytest.fixture
    def fields(self, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
        return {"directory": str(tmp_path_factory.mktemp("clusters"))}

    @pytest.fixture
    def existing(self, tmp_path_factory: pytest.TempPathFactory) -> ExistingCluster:
        directory = tmp_path_factory.mktemp("clusters")
        cluster = directory / "somebody's"
        cluster.mkdir()
        return ExistingCluster(str(cluster), {"directory": str(directory), "name": cluster.name})
