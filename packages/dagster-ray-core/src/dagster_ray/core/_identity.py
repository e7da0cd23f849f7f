"""Who a cluster belongs to: one run, step, attempt and resource, as labels, annotations and a name. Pure."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

MANAGED_BY = "dagster-ray"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
LABEL_LIMIT = 63
"""Characters that Kubernetes allows in the value of a label."""
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_RUN_ID_CHARACTERS = 8
_HASH_CHARACTERS = 8


def _hash(*parts: str) -> str:
    # The lengths keep ("ab", "c") and ("a", "bc") apart.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]


def label_value(text: str) -> str:
    """Return `text` as the value of a Kubernetes label.

    A label takes up to 63 characters of `[A-Za-z0-9._-]` that start and end with a letter or digit. A text that
    is none keeps what it can and ends in a hash of the whole, so that different texts stay different.
    """
    if _LABEL_VALUE.fullmatch(text):
        return text
    digest = _hash(text)
    room = LABEL_LIMIT - len(digest) - 1
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-")[:room].rstrip("_.-")
    return f"{readable}-{digest}" if readable else digest


def _dns_label(text: str) -> str:
    """Keep what a DNS-1035 label may hold: lower-case letters, digits and `-`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The Dagster side of a cluster: whose it is.

    Two identities with the same `run_id`, `step_key`, `attempt` and `resource_key` are the same user of a
    cluster; the other fields only describe it.

    Args:
        run_id: The run. None outside of a run.
        step_key: The step. None when a resource serves all steps of a process.
        attempt: How often the step was tried before in this run; 0 the first time.
        resource_key: The key of the resource that requests the cluster.
        code_location: The code location of the run's job. None for runs that the command line started.
        git_sha: The commit of the code location, if the deployment reports it.
        deployment: The Dagster deployment.
        instance_id: The id of the Dagster instance: its own, if it was given one, otherwise that of its run storage.
            None if neither is known.
        job: The run's job.
        asset_keys: The assets of the step, as text with `/` between the parts.
        partition_key: The run's partition.
        backfill_id: The backfill that the run is part of.
        nonce: What makes a name unique outside of a run.
    """

    run_id: str | None = None
    step_key: str | None = None
    attempt: int = 0
    resource_key: str | None = None
    code_location: str | None = None
    git_sha: str | None = None
    deployment: str | None = None
    instance_id: str | None = None
    job: str | None = None
    asset_keys: tuple[str, ...] = ()
    partition_key: str | None = None
    backfill_id: str | None = None
    nonce: str = ""

    def full_values(self) -> Mapping[str, str]:
        """Return what is known, by the key of its label; values as they are."""
        known = {
            "dagster/run-id": self.run_id,
            "dagster/step-key": self.step_key,
            "dagster/resource-key": self.resource_key,
            "dagster/code-location": self.code_location,
            "dagster/git-sha": self.git_sha,
            "dagster/deployment": self.deployment,
            "dagster/instance-id": self.instance_id,
            "dagster/job": self.job,
            "dagster/asset-key": ",".join(sorted(self.asset_keys)),
            "dagster/partition": self.partition_key,
            "dagster/backfill": self.backfill_id,
        }
        return {key: value for key, value in known.items() if value}

    @property
    def labels(self) -> dict[str, str]:
        """The labels of everything made for this identity; values that are no label's are shortened and hashed."""
        values = {key: label_value(value) for key, value in self.full_values().items()}
        return {MANAGED_BY_LABEL: MANAGED_BY, **values}

    @property
    def annotations(self) -> dict[str, str]:
        """The full values of those labels that had to be shortened or hashed, under the same keys."""
        return {key: value for key, value in self.full_values().items() if label_value(value) != value}

    @staticmethod
    def label_value(text: str) -> str:
        """Return `text` as the value of a label, in the way in which `labels` does it.

        Valid text stays as it is. All other text is cut and ends in a hash of the whole.
        """
        return label_value(text)

    def cluster_name(self, prefix: str = "dagster", limit: int = 47) -> str:
        """Return `<prefix>-<first 8 characters of the run id>-<hash>`, the same for the same identity.

        The hash is over run id, step key, attempt and resource key, so that a create that was interrupted can be
        found again under its name.

        Args:
            prefix: What the name starts with. Made a valid start of a DNS-1035 label; the first characters of a
                long one are kept.
            limit: Characters that the name may have. KubeRay from 1.4 refuses a RayJob's name of more than 47 and a
                RayCluster's of more than 53 (KubeRay controllers/ray/utils/constant.go).
        """
        run = self.run_id or self.nonce
        digest = _hash(run, self.step_key or "", str(self.attempt), self.resource_key or "")
        tail = "-".join(part for part in (_dns_label(run[:_RUN_ID_CHARACTERS]), digest) if part)
        head = re.sub(r"^[^a-z]+", "", _dns_label(prefix)) or "ray"
        return f"{head[: limit - len(tail) - 1].rstrip('-')}-{tail}"
