"""`RayResourceContract`: all tests of the kit in one class."""

import dagster as dg
import pytest

from dagster_ray.core.testing._backend import require_members
from dagster_ray.core.testing._cleanup_tests import CleanupTests
from dagster_ray.core.testing._configuration_tests import ConfigurationTests
from dagster_ray.core.testing._connection_tests import ConnectionTests
from dagster_ray.core.testing._jobs import ephemeral_instance
from dagster_ray.core.testing._lifecycle_tests import LifecycleTests
from dagster_ray.core.testing._process_tests import ProcessTests
from dagster_ray.core.testing._runs import Runs

_RUNS = pytest.StashKey[Runs]()
_INSTANCE = pytest.StashKey[dg.DagsterInstance]()


class RayResourceContract(ConfigurationTests, ConnectionTests, LifecycleTests, CleanupTests, ProcessTests):
    """What every Ray backend promises, as tests. Subclass it as `Test...` at the top level of a test file."""

    @pytest.fixture
    def runs(
        self, request: pytest.FixtureRequest, fields: dict[str, object], tmp_path_factory: pytest.TempPathFactory
    ) -> Runs:
        """The runs that the tests of this class share."""
        require_members(self.make(**fields))
        owner = request.node.getparent(pytest.Class)
        if _RUNS not in owner.stash:
            directory = tmp_path_factory.mktemp("conformance")
            owner.stash[_RUNS] = Runs(type(self), fields, directory, _instance_of(request.config))
        return owner.stash[_RUNS]


def _instance_of(config: pytest.Config) -> dg.DagsterInstance:
    """Return the one Dagster instance of the test session: to make one takes longer than a run."""
    if _INSTANCE not in config.stash:
        config.stash[_INSTANCE] = ephemeral_instance()
        config.add_cleanup(config.stash[_INSTANCE].dispose)
    return config.stash[_INSTANCE]
