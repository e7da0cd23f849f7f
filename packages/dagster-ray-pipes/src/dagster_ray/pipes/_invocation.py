"""What a Pipes client returns when its job has succeeded."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias, cast

from dagster import AssetCheckResult, MaterializeResult, PipesSession
from dagster._core.pipes.client import PipesClientCompletedInvocation

Result: TypeAlias = MaterializeResult[Any] | AssetCheckResult


class CompletedRayJob(PipesClientCompletedInvocation, tuple[Result, ...]):
    """The results of a job that has succeeded.

    It is the tuple of its results, so an asset may return it as it is: Dagster takes each result of a returned tuple.
    `get_results`, `get_materialize_result`, `get_asset_check_result` and `get_custom_messages` return what they
    return for every Pipes client.
    """

    def __new__(cls, session: PipesSession, metadata: Mapping[str, Any]) -> Self:
        """Take the session, whose messages are all there, and metadata that each result gets."""
        results = cast("Any", PipesClientCompletedInvocation(session, metadata)).get_results()
        return super().__new__(cls, cast("Sequence[Result]", results))

    def __init__(self, session: PipesSession, metadata: Mapping[str, Any]) -> None:
        """Keep the session, which `get_results` and the others ask."""
        super().__init__(session, metadata)  # pyright: ignore[reportUnknownMemberType]
