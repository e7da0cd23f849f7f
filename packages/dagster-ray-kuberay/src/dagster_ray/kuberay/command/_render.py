"""`dagster-ray render`: the manifest that a resource of a Dagster module would send."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click
from dagster_shared.seven import import_module_from_path

from dagster_ray.core import with_values
from dagster_ray.core.variables import is_env_var, resolved
from dagster_ray.kuberay._cluster import KubeRayCluster
from dagster_ray.kuberay._interactive_job import KubeRayInteractiveJob
from dagster_ray.kuberay._spec.image import choose_image
from dagster_ray.kuberay._spec.rules import selected_cluster
from dagster_ray.kuberay._spec.secrets import env_values
from dagster_ray.kuberay._steps.requests import local_ray, operator_deadline
from dagster_ray.kuberay.command._checks import Refusal
from dagster_ray.kuberay.command._rendered import (
    MARK,
    NAME,
    RUN_ID,
    STEP_KEY,
    Asked,
    References,
    marked_yaml,
    plain_text,
    refused,
)
from dagster_ray.kuberay.command._terminal import FINDING, FINE, Place, answered, note, tell_refused
from dagster_ray.kuberay.configs import ClusterSharing, InteractiveRayJobConfig, RayClusterConfig

_NO_RAY = "rayproject/ray"


@click.command()
@click.argument("module_or_file")
@click.argument("resource_key")
@click.option("--namespace", "-n", default="default", help="The namespace, unless the resource names one.")
@click.option("--resolve-env", is_flag=True, help='Show the values of {"env": NAME} and of EnvVar, secrets included.')
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def render(module_or_file: str, resource_key: str, namespace: str, resolve_env: bool, as_json: bool) -> None:
    """Print the RayJob or RayCluster that a resource of a Dagster module or file would send. No cluster is asked.

    What only a step knows has placeholders. References to the environment stay references unless --resolve-env. Lines
    that dagster-ray adds to the configuration, or changes, end with `# dagster-ray`.
    """
    place = Place(None, None, namespace, as_json)
    answered(_printed, place, module_or_file, resource_key, resolve_env)


def _printed(place: Place, module_or_file: str, resource_key: str, resolve_env: bool) -> int:
    module = _loaded(module_or_file)
    if not isinstance(module, ModuleType):
        tell_refused(f"{module_or_file} has a configuration that dagster-ray refuses.", module, as_json=place.as_json)
        return FINDING
    resource = _resource(module, module_or_file, resource_key)
    asked, config, sharing = _asked(resource, resource_key, place.namespace or "default", resolve_env=resolve_env)
    plain = config.plain()
    selected = selected_cluster(plain["spec"])
    if selected is not None:
        note(f"{resource_key} uses the RayCluster {selected}, which exists already; nothing is sent but a lock.")
        return FINE
    if isinstance(config, InteractiveRayJobConfig):
        manifest = asked.rayjob(plain)
    else:
        manifest = asked.raycluster(plain) if sharing is None else asked.shared_raycluster(plain, sharing)
    kind = {key: manifest[key] for key in ("apiVersion", "kind")}
    place.printed(manifest, marked_yaml(manifest, {**kind, **asked.written(plain)}))
    if not place.as_json:
        note(f"{NAME}, {RUN_ID} and {STEP_KEY} stand for what only a step knows. Lines with `{MARK}` are not yours.")
    return FINE


def _loaded(module_or_file: str) -> ModuleType | tuple[Refusal, ...]:
    """Import a module, or the file at a path; return what is wrong with a configuration in it, if that is refused."""
    path = Path(module_or_file)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise click.BadParameter(f"{module_or_file} does not exist")
    sys.path.insert(0, str(path.resolve().parent if is_file else Path.cwd()))
    try:
        if is_file:  # by its path, as Dagster does: `import` would find another module of that name that is loaded
            return import_module_from_path(path.stem, path)
        return importlib.import_module(module_or_file)
    except Exception as error:
        if is_file:
            sys.modules.pop(path.stem, None)  # half of a module, which `import` would drop as well
        if told := refused(error):
            return told
        # Other texts may quote what the module has computed, such as a secret.
        text = f": {error}" if isinstance(error, ImportError | SyntaxError) else ""
        raise click.BadParameter(f"{module_or_file} cannot be imported, {type(error).__name__}{text}") from error
    finally:
        del sys.path[0]


def _resource(module: ModuleType, where: str, key: str) -> "KubeRayInteractiveJob | KubeRayCluster":
    """Return the resource of a module's definitions, or the module's variable of that name."""
    import dagster as dg

    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if isinstance(value, dg.Definitions):
            found |= dict(cast("Mapping[str, Any]", value.resources or {}))
        elif isinstance(value, KubeRayInteractiveJob | KubeRayCluster):
            found.setdefault(name, value)
    ours = {name: one for name, one in found.items() if isinstance(one, KubeRayInteractiveJob | KubeRayCluster)}
    if key in ours:
        return ours[key]
    known = f"it has {', '.join(sorted(ours))}" if ours else "it has none"
    what = f"is a {type(found[key]).__name__}" if key in found else "does not exist"
    raise click.BadParameter(
        f"{key} of {where} {what}; only KubeRayInteractiveJob and KubeRayCluster are rendered, of which {known}"
    )


def _asked(
    resource: KubeRayInteractiveJob | KubeRayCluster, key: str, namespace: str, *, resolve_env: bool
) -> tuple[Asked, InteractiveRayJobConfig | RayClusterConfig, ClusterSharing | None]:
    """Return what is known of a resource, its configuration, and how it is shared if it is."""
    environ = os.environ if resolve_env else References()
    if resolve_env:
        resource = with_values(resource, environ, key)
    ray_version = local_ray()
    python = platform.python_version()
    image = plain_text(resource.image, environ, "image") or os.environ.get("DAGSTER_CURRENT_IMAGE")
    if image is None:
        image = _NO_RAY if ray_version is None else choose_image(None, {}, None, None, ray_version, python).image
    asked = Asked(
        resource_key=key,
        namespace=namespace,
        image=image,
        ray_version=ray_version,
        env_vars=env_values(resource.env_vars, resource.runtime_env, environ),
        queue=plain_text(resource.queue, environ, "queue"),
        priority=plain_text(resource.priority, environ, "priority"),
        cleanup=resolved(resource.lifecycle.cleanup, environ, "lifecycle.cleanup"),
        pre_running_deadline_seconds=None if is_env_var(resource.timeout) else operator_deadline(resource.timeout),
        environ=environ,
    )
    if isinstance(resource, KubeRayInteractiveJob):
        return asked, cast("InteractiveRayJobConfig", resource.ray_job), None
    config = cast("RayClusterConfig", resource.ray_cluster)
    sharing = cast("ClusterSharing | None", resource.cluster_sharing) or config.sharing
    if sharing is not None and is_env_var(sharing.enabled):
        raise click.BadParameter(f"whether {key} is shared comes from the environment; use --resolve-env")
    return asked, config, sharing if sharing is not None and sharing.enabled else None
