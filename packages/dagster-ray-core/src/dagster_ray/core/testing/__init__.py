"""The conformance kit: tests that every Ray backend passes. Install `dagster-ray-core[testing]`.

The author of a backend writes one test file. This is a whole one:

    from dagster_ray.core.testing import Capability, RayResourceContract
    from my_package import MyRay, is_running

    class TestConformance(RayResourceContract):
        lacks = frozenset({Capability.SHARING, Capability.DEADLINE, Capability.DRIVER_IN_CLUSTER})

        @classmethod
        def make(cls, **fields):
            return MyRay(queue="debug", **fields)

        @classmethod
        def cluster_exists(cls, cluster):
            return is_running(cluster)

`cluster` is what `cluster_id(resource)` returned while the cluster was in use: `display_name`, unless it is
overridden (LocalRay and others whose name is not unique return `address`). `make`, `cluster_id` and `cluster_exists`
are class methods, and the class must be at the top level of its file: some tests run in other processes, which
import the file by its path. What only a fixture knows reaches every `make`, in every process, as plain data:

    @pytest.fixture
    def fields(self, server):
        return {"server_url": server.url}

A backend promises every `Capability` except those in `lacks`. A gap that is not declared fails, and one that is
declared is skipped with the reason. A declared gap that works is no error: the kit does not look.

Some capabilities need more of the author: DEADLINE `make_never_ready`, ADOPTION the fixture `existing`, KEPT_CLUSTER
`discard`, and FAILED_SETUP `make_failing` if the backend does not inherit `BaseRayResource`. Hooks are not
required. `BackendUnderTest` describes all of these.

Runs are shared: most tests look at the notes of a run that another test has asked for, so the whole kit starts about
a dozen clusters, one after the other. Each run is one of Dagster, in this process or in one of its own.
"""

import pytest

# An installed kit would otherwise fail with a bare AssertionError. By module: this package itself is imported already.
pytest.register_assert_rewrite(
    *(
        f"dagster_ray.core.testing._{name}_tests"
        for name in ("cleanup", "configuration", "connection", "lifecycle", "process")
    ),
    *(f"dagster_ray.core.testing._{name}" for name in ("backend", "plan", "runs")),
)

from dagster_ray.core.testing._backend import BackendUnderTest, Capability, ExistingCluster  # noqa: E402
from dagster_ray.core.testing._contract import RayResourceContract  # noqa: E402

__all__ = ["BackendUnderTest", "Capability", "ExistingCluster", "RayResourceContract"]


def __dir__() -> list[str]:
    return sorted(__all__)
