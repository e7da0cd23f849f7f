"""What a backend promises before any cluster is made."""

import pytest

from dagster_ray.core import CleanupPolicy, Lifecycle
from dagster_ray.core.testing._backend import BackendUnderTest, Capability, require_members
from dagster_ray.core.testing._plan import Notes
from dagster_ray.core.testing._runs import Runs
from dagster_ray.core.testing._steps import lifecycle_of


class ConfigurationTests(BackendUnderTest):
    """Members, fields, and what may be read before `connect`."""

    def test_it_has_every_member_of_ray_resource(self, runs: Runs) -> None:
        """A step can swap this backend for another one."""
        require_members(self.make(**runs.fields))

    def test_a_misspelled_field_is_refused(self, runs: Runs) -> None:
        """A typing error shows when the code location loads."""
        self.need(Capability.STRICT_CONFIG)
        notes = Notes()
        assert not notes.note("make", lambda: self.make(**runs.fields, tiemout=1.0)), (
            "`make(tiemout=1.0)` was accepted: refuse unknown fields, else a user's setting is dropped in silence"
        )
        error = notes.errors["make"]
        assert "tiemout" in error, (
            f"the error for the misspelled field `tiemout` must name it, else the user has to guess: {error}"
        )

    @pytest.mark.parametrize("cleanup", ["always", "on_exception", "never"])
    def test_the_lifecycle_that_was_given_is_kept(self, runs: Runs, cleanup: CleanupPolicy) -> None:
        """A resource says what it was told."""
        self.need(Capability.SAME_CONFIG)
        wanted = {"create": False, "wait": True, "connect": False, "cleanup": cleanup}
        resource = self.make(**runs.fields, lifecycle=Lifecycle(create=False, connect=False, cleanup=cleanup))
        assert lifecycle_of(resource) == wanted, (
            "`lifecycle` must read as it was given: it decides whether a cluster that costs money is deleted"
        )

    def test_the_step_gets_the_configuration_that_was_given(self, runs: Runs) -> None:
        """Dagster builds a new instance for each execution; fields must survive that."""
        self.need(Capability.SAME_CONFIG)
        step, wanted = runs.failing().step, {"create": True, "wait": True, "connect": True, "cleanup": "on_exception"}
        assert step.get("lifecycle") == wanted, (
            "the `lifecycle` given in the code location did not reach the step: Dagster copies resources, so keep "
            "configuration in fields; else clusters are kept or deleted against the user's word"
        )
        assert step.get("timeout") in (None, self.run_seconds), (
            "the `timeout` given in the code location did not reach the step: keep configuration in fields"
        )

    def test_the_step_gets_the_defaults_of_the_code_location(self, runs: Runs) -> None:
        """A nested default given by a `default_factory` is lost when Dagster executes."""
        self.need(Capability.SAME_CONFIG)
        seen, declared = runs.succeeding().step.get("lifecycle"), lifecycle_of(self.make(**runs.fields))
        assert seen == declared, (
            "the default `lifecycle` changes when Dagster executes: put defaults into a subclass of `Lifecycle`, not "
            "into a `default_factory`, which Dagster ignores; else clusters are kept or deleted by surprise"
        )

    @pytest.mark.parametrize("member", ["context", "job_id"])
    def test_reading_it_before_connect_raises_not_connected_error(self, runs: Runs, member: str) -> None:
        """A step that forgot to connect is told so, and does not run on a Ray of its own."""
        self.need(Capability.NOT_CONNECTED)
        resource = self.make(**runs.fields)
        notes = Notes()
        connected = notes.note(member, lambda: getattr(resource, member))
        assert not connected, (
            f"`{member}` before `connect` returned {notes.values[member]!r}; raise NotConnectedError, else a step that "
            "is not connected fails later and elsewhere, or runs on a Ray that starts in secret"
        )
        error = notes.errors[member]
        assert error.startswith("NotConnectedError"), (
            f"`{member}` before `connect` must raise NotConnectedError, whose text says what to do; it raised {error}"
        )

    def test_it_can_be_named_before_it_is_connected(self, runs: Runs) -> None:
        """Logs and errors name the cluster at any time."""
        resource = self.make(**runs.fields)
        assert resource.display_name.strip(), "`display_name` must not be empty: logs and errors name the cluster by it"
        url: object = resource.dashboard_url
        assert url is None or isinstance(url, str), "`dashboard_url` must be text, or None while it is not known"
