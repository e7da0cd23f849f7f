"""Backends by name, found through the entry points that installed distributions declare."""

from importlib.metadata import EntryPoint, entry_points

from dagster_ray.core._protocol import RayResource, missing_members
from dagster_ray.core.errors import BackendBrokenError, BackendNotFoundError

GROUP = "dagster_ray.backends"
_INSTALLS = {"kuberay": "dagster-ray[kuberay]>=0.5", "local": "dagster-ray[local]>=0.5"}


def installed_backends() -> tuple[str, ...]:
    """Return the names of all installed backends, sorted. Imports none of them."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_backend(name: str) -> type[RayResource]:
    """Return the resource class of an installed backend.

    Args:
        name: The name under which a distribution declares it in the entry point group
            `dagster_ray.backends`: `local`, `kuberay`, or that of a third party.

    Raises:
        BackendNotFoundError: Nothing installed has that name; the error says what to install.
        BackendBrokenError: The entry point cannot be imported, or is not a Ray backend.
    """
    for point in entry_points(group=GROUP, name=name):
        return _load(point)
    raise BackendNotFoundError(name, installed_backends(), _INSTALLS.get(name))


def _load(point: EntryPoint) -> type[RayResource]:
    distribution = point.dist.name if point.dist is not None else "its package"

    def broken(reason: str, advice: str) -> BackendBrokenError:
        return BackendBrokenError(point.name, point.value, distribution, reason, advice)

    try:
        backend: object = point.load()
    except ImportError as error:
        raise broken(f"{type(error).__name__}: {error}", f"reinstall {distribution} with its dependencies") from error
    except AttributeError as error:
        raise broken(f"{type(error).__name__}: {error}", f"correct the entry point in {distribution}") from error
    if not isinstance(backend, type):
        raise broken("it is not a class", f"let the entry point in {distribution} name a class")
    if missing := missing_members(backend):
        raise broken(f"it lacks {', '.join(missing)}", f"add these members to the class in {distribution}")
    return backend
