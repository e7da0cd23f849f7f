"""With whom a step shares its cluster. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingRules:
    """With whom a step shares.

    Attributes:
        code_location, git_sha, resource_key, job: Facts of Dagster that must be the same.
        run: Whether only steps of one run share; the cluster then ends with the run.
        spec: Whether the specification must be the same.
        labels: Labels that a cluster must have beside.
    """

    code_location: bool = True
    git_sha: bool = True
    resource_key: bool = True
    job: bool = False
    run: bool = False
    spec: bool = True
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
