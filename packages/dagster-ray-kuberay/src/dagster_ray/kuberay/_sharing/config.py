"""Configuration of shared clusters."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Self, cast

from pydantic import Field, model_validator

from dagster_ray.core import StrictConfig
from dagster_ray.core.variables import is_env_var
from dagster_ray.kuberay._labels import MANAGED_BY_LABEL, SharingRules
from dagster_ray.kuberay._operator_rules.names import KEY_ADVICE, wrong_key
from dagster_ray.kuberay._sharing.locks import TTL_LIMIT_SECONDS
from dagster_ray.kuberay._spec.errors import InvalidSpecError

_RENEWALS = 3
_OURS = "dagster/"


class MatchDagsterLabels(StrictConfig):
    """Which facts of Dagster two steps must have in common to share a cluster."""

    code_location: bool = Field(default=True, description="The same code location.")
    git_sha: bool = Field(default=True, description="The same commit, if the deployment reports it.")
    resource_key: bool = Field(default=True, description="The same resource key.")
    job: bool = Field(default=False, description="The same job.")


class ClusterSharing(StrictConfig):
    """Let steps and runs with the same labels use one RayCluster."""

    enabled: bool = Field(
        default=False, description="Use a cluster of another step if one fits, and leave it to others."
    )
    ttl_seconds: float = Field(
        default=600.0,
        ge=10,
        le=TTL_LIMIT_SECONDS,
        description=(
            "Seconds that a step's lock on a cluster lives after it was applied or renewed; at most 30 days. When the "
            "last lock has ended, the cleanup sensor deletes the cluster."
        ),
    )
    heartbeat: bool = Field(
        default=True,
        description="Renew the lock while the step lives. Off: a step that runs longer than ttl_seconds loses it.",
    )
    renew_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Seconds between renewals. Unset: a third of ttl_seconds, so that two renewals may fail.",
    )
    release_on_success: bool = Field(
        default=False,
        description="Remove the lock when the step has succeeded. Off: it keeps its remaining time, for the next step.",
    )
    match_run: bool = Field(
        default=False,
        description=(
            "Share within the run only. The cluster lives as long as the run; then the cleanup sensor deletes it."
        ),
    )
    match_backfill: bool = Field(
        default=False,
        description=(
            "Share within the backfill only. The cluster lives as long as the backfill; then the cleanup sensor "
            "deletes it. A run outside of a backfill shares as if this were off."
        ),
    )
    match_spec: bool = Field(
        default=True,
        description=(
            "Use only clusters that were made from the same specification, image and Ray version. Off: a step "
            "reuses an existing cluster even if its specification differs."
        ),
    )
    match_dagster_labels: MatchDagsterLabels = Field(
        default_factory=MatchDagsterLabels, description="What must be the same in Dagster, such as the code location."
    )
    match_labels: dict[str, str] = Field(
        default_factory=dict, description="Labels of your own that a cluster must have; new clusters get them."
    )

    def rules(self) -> SharingRules:
        """Return with whom a step shares."""
        match = cast("MatchDagsterLabels", self.match_dagster_labels)
        return SharingRules(
            code_location=match.code_location,
            git_sha=match.git_sha,
            resource_key=match.resource_key,
            job=match.job,
            run=self.match_run,
            backfill=self.match_backfill,
            spec=self.match_spec,
            labels=dict(self.match_labels),
        )

    def renewal_interval_seconds(self) -> float:
        """Return the seconds between two renewals of a lock."""
        return self.ttl_seconds / _RENEWALS if self.renew_seconds is None else self.renew_seconds

    @model_validator(mode="after")
    def _two_lost_renewals_are_survivable(self) -> Self:
        if any(map(is_env_var, (self.ttl_seconds, self.renew_seconds))):
            return self  # checked when a step knows them
        most = self.ttl_seconds / _RENEWALS
        if self.renewal_interval_seconds() > most:
            reason = f"is {self.renew_seconds:g}, and ttl_seconds is {self.ttl_seconds:g}: two renewals may get lost"
            raise InvalidSpecError("renew_seconds", reason, f"use at most {most:g}, or leave it unset")
        return self

    @model_validator(mode="after")
    def _match_labels_are_labels_and_not_ours(self) -> Self:
        if (wrong := wrong_key(self.match_labels)) is not None:
            raise InvalidSpecError("match_labels", f"has `{wrong}`, which is not a valid label key", KEY_ADVICE)
        for key in self.match_labels:
            if key.startswith(_OURS) or key == MANAGED_BY_LABEL:
                advice = "use match_dagster_labels, match_run, match_backfill and match_spec for it"
                raise InvalidSpecError("match_labels", f"has `{key}`, which is set by dagster-ray", advice)
        return self
