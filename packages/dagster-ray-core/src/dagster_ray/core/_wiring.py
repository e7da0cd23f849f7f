"""Check, when a code location loads, that a Ray backend stands behind every `RayResource` parameter.

Dagster decides by the annotation that a parameter is a resource, and then passes whatever is bound to the
key. A step that never touches its `ray_cluster` would run on a Ray that `ray.get` starts in secret.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import dagster as dg
from dagster._config.pythonic_config import ConfigurableResource, ConfigurableResourceFactory
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction

from dagster_ray.core._protocol import RayResource, require_ray_resource


def check_ray_resources(definitions: dg.Definitions) -> dg.Definitions:
    """Check every `RayResource` parameter of the assets, asset checks and ops, and return the definitions.

    A key that is not bound at all is Dagster's own error. A resource made by a function
    (`@dg.resource`) is not known before it runs, and is skipped.

    Raises:
        NotARayResourceError: The key of such a parameter is bound to something else; the error names both.
    """
    resources: Mapping[str, Any] = definitions.resources or {}
    for op, parameter in _ray_parameters(definitions):
        bound: object = resources.get(parameter)
        if bound is None or isinstance(bound, dg.ResourceDefinition) or _yields_something_else(bound):
            continue
        require_ray_resource(bound, where=f"`{op}`, parameter `{parameter}`,")
    return definitions


def _yields_something_else(resource: object) -> bool:
    """A factory hands its own product to the step, which is not known before it runs."""
    factory = isinstance(resource, ConfigurableResourceFactory)
    return factory and not isinstance(resource, ConfigurableResource)


def _ray_parameters(definitions: dg.Definitions) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for job in definitions.resolve_all_job_defs():
        for op in job.graph.iterate_op_defs():
            if op.name in seen or not isinstance(op.compute_fn, DecoratedOpFunction):
                continue
            seen.add(op.name)
            hints = get_type_hints(op.compute_fn.decorated_fn)
            yield from ((op.name, name) for name, hint in hints.items() if hint is RayResource and name != "return")
