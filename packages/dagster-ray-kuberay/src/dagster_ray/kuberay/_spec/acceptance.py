"""What KubeRay would refuse of a configuration, told while the code location loads.

Loads with the first configuration that is made: the operator's rules take long to load.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dagster_ray.kuberay._operator_rules.specs import raycluster_rejections, rayjob_rejections
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster, render_rayjob
from dagster_ray.kuberay._spec.plain_json import references
from dagster_ray.kuberay._spec.rules import check_raycluster, check_rayjob

if TYPE_CHECKING:
    from dagster_ray.kuberay.configs import InteractiveRayJobConfig, RayClusterConfig

NEWEST = "1.7.0"
"""The newest KubeRay whose rules are known."""
# Which gates are on is seen only by asking the operator; what one of them allows is not refused here.
_GATES: tuple[str, ...] = (
    "GCSFaultToleranceEmbeddedStorage", "RayClusterHistoryServer", "RayClusterMTLS", "RayClusterNetworkPolicy",
    "RayJobDeletionPolicy",
)  # fmt: skip
_ALL_GATES: Mapping[str, bool] = dict.fromkeys(_GATES, True)
# Stands for the facts of a step while a code location loads.
_ANY_STEP = RenderInput(name="a", namespace="default", image="a", ray_version="2.60.0")


def check_rayjob_config(config: "InteractiveRayJobConfig") -> None:
    """Raise if KubeRay or the API server would refuse the RayJob, whichever step asks for it.

    Raises:
        InvalidSpecError: They would; it names the field.
        SpecFileError: Its file cannot be used.
    """
    plain = config.plain()
    check_rayjob(plain["metadata"], plain["spec"])
    # What comes from the environment is known in the step only.
    if not any(references(plain)):
        _refuse_if(rayjob_rejections(render_rayjob(config, _ANY_STEP), NEWEST, _ALL_GATES))


def check_raycluster_config(config: "RayClusterConfig") -> None:
    """Raise if KubeRay or the API server would refuse the RayCluster, whichever step asks for it.

    Raises:
        InvalidSpecError: They would; it names the field.
        SpecFileError: Its file cannot be used.
    """
    plain = config.plain()
    check_raycluster(plain["metadata"], plain["spec"])
    if not any(references(plain)):
        _refuse_if(raycluster_rejections(render_raycluster(config, _ANY_STEP), NEWEST, _ALL_GATES))


def _refuse_if(texts: tuple[str, ...]) -> None:
    """Raise if the operator has reasons to refuse a finished manifest."""
    if texts:
        reason = f"is refused by the operator: {texts[0].rstrip('.')}"
        raise InvalidSpecError("spec", reason, "change the field that it names", f"KubeRay {NEWEST}")
