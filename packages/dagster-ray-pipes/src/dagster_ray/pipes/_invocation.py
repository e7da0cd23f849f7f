"""What a Pipes client returns when its job has succeeded."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias, cast

from dagster import AssetCheckResult, MaterializeResult, PipesSession
from dagster._core.pipes.client import PipesClientCompletedInvocation
from typing_extensions import override

Result: TypeAlias = MaterializeResult[Any] | AssetCheckResult


class CompletedRayJob(PipesClientCompletedInvocation, tuple[Result, ...]):
    """The results of a job that has succeeded.

    It is the tuple of its results, so an asset may return it as it is: Dagster takes each result of a returned tuple.
    `get_results`, `get_materialize_result`, `get_asset_check_result` and `get_custom_messages` work as with every
    Pipes client.
    """

    _reported: int
    """How many of the results the job has reported; the others are implied."""

    def __new__(cls, session: PipesSession, metadata: Mapping[str, Any]) -> Self:
        """Take the session, whose messages are all there, and metadata that each result gets."""
        invocation = PipesClientCompletedInvocation(session, metadata)
        reported = _results(invocation, implied=False)
        keys = {result.asset_key for result in reported if isinstance(result, MaterializeResult)}
        # What was reported is taken by now, so that each selected asset counts as implied.
        implied = [result for result in _results(invocation, implied=True) if result.asset_key not in keys]
        found = super().__new__(cls, (*reported, *implied))
        found._reported = len(reported)
        return found

    def __init__(self, session: PipesSession, metadata: Mapping[str, Any]) -> None:
        """Keep the session, for custom messages."""
        super().__init__(session, metadata)  # pyright: ignore[reportUnknownMemberType]

    @override
    def get_results(self, *, implicit_materializations: bool = True) -> Sequence[Result]:
        """Return the results, as often as it is called.

        Args:
            implicit_materializations: Whether an asset of the step about which nothing was reported is among them.
        """
        return tuple(self) if implicit_materializations else tuple(self)[: self._reported]


def _results(invocation: PipesClientCompletedInvocation, *, implied: bool) -> tuple[Result, ...]:
    found = cast("Any", invocation).get_results(implicit_materializations=implied)
    return tuple(cast("Sequence[Result]", found))
