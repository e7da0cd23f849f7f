"""The manifest that a resource would send, with placeholders for what only a step knows. Pure."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from typing_extensions import override

from dagster_ray.core import CleanupPolicy, Identity
from dagster_ray.core.variables import Placeholder, resolved
from dagster_ray.kuberay._labels import GENERATION_LABEL, cleanup_labels
from dagster_ray.kuberay._sharing.choice import selection_of, spec_hash
from dagster_ray.kuberay._sharing.config import ClusterSharing
from dagster_ray.kuberay._spec.manifests import RenderInput, metadata_text, named, render_raycluster, render_rayjob
from dagster_ray.kuberay._spec.plain_json import Json, with_values

RUN_ID, STEP_KEY = "RUN-ID", "STEP-KEY"
NAME = "dagster-run-step"
_PREFIX = "dagster"
_MARK = "from-environ-"


class References(Mapping[str, str]):
    """An environment in which each variable is set to a mark, so that no value of the real one is seen."""

    def __init__(self) -> None:
        """Begin without marks."""
        self._names: list[str] = []

    @override
    def __getitem__(self, name: str) -> str:
        if name not in self._names:
            self._names.append(name)
        return Placeholder(f"{_MARK}{self._names.index(name)}x")

    @override
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @override
    def __len__(self) -> int:
        return len(self._names)

    def shown(self, value: object) -> Any:
        """Return plain JSON in which marks are references again, as the user wrote them."""
        if isinstance(value, Mapping):
            return {key: self.shown(item) for key, item in cast("Mapping[str, object]", value).items()}
        if isinstance(value, list | tuple):
            return [self.shown(item) for item in cast("list[object]", value)]
        if not isinstance(value, str) or _MARK not in value:
            return value
        for name in self._names:
            if value == self[name]:
                return {"env": name}
            value = value.replace(self[name], f"$({name})")
        return value


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a resource without a step.

    Attributes:
        resource_key: Its key in the definitions.
        namespace: The namespace, unless the configuration names one.
        image: The image of containers that name none.
        ray_version: `rayVersion`; None where ray is not installed.
        env_vars: Environment of the Ray containers.
        queue: Kueue's queue.
        priority: Kueue's priority class.
        cleanup: The lifecycle's policy.
        pre_running_deadline_seconds: When the operator gives up a RayJob that no driver has come to; None: not known.
        environ: Where `{"env": "NAME"}` finds its value: `References`, or the real environment.
    """

    resource_key: str
    namespace: str
    image: str
    ray_version: str | None
    env_vars: Mapping[str, str]
    queue: str | None
    priority: str | None
    cleanup: CleanupPolicy
    pre_running_deadline_seconds: int | None
    environ: Mapping[str, str]

    @property
    def identity(self) -> Identity:
        """A step that does not exist."""
        return Identity(run_id=RUN_ID, step_key=STEP_KEY, resource_key=self.resource_key)

    def wish(self, plain: Json) -> RenderInput:
        """Return the facts that go into a manifest."""
        return RenderInput(
            name=metadata_text(plain, "name", self.environ) or NAME,
            namespace=metadata_text(plain, "namespace", self.environ) or self.namespace,
            labels=self.identity.labels,
            annotations=self.identity.annotations,
            image=self.image,
            ray_version=self.ray_version,
            env_vars=self.env_vars,
            queue=self.queue,
            priority=self.priority,
            environ=self.environ,
        )

    def rayjob(self, plain: Json) -> Mapping[str, Any]:
        """Return the RayJob of a step."""
        wish = self._owned(self.wish(plain))
        seconds = self.pre_running_deadline_seconds
        return self._shown(render_rayjob(plain, dataclasses.replace(wish, pre_running_deadline_seconds=seconds)))

    def raycluster(self, plain: Json) -> Mapping[str, Any]:
        """Return the RayCluster of a step."""
        return self._shown(render_raycluster(plain, self._owned(self.wish(plain))))

    def shared_raycluster(self, plain: Json, sharing: ClusterSharing) -> Mapping[str, Any]:
        """Return the first RayCluster of the steps that share it, without the lock of its maker."""
        wish = self.wish(plain)
        anybodys = render_raycluster(plain, dataclasses.replace(wish, name="any", labels={}, annotations={}))
        selection = selection_of(self.identity, sharing.rules(), spec_hash(anybodys))
        name = selection.name(metadata_text(plain, "name", self.environ) or _PREFIX, 1)
        labels = {**wish.labels, **selection.labels, GENERATION_LABEL: "1"}
        return self._shown(named(anybodys, name, labels, wish.annotations))

    def written(self, plain: Json) -> Mapping[str, Any]:
        """Return what the configuration itself says, in the form of the manifest."""
        return self._shown(with_values(plain, self.environ))

    def _owned(self, wish: RenderInput) -> RenderInput:
        return dataclasses.replace(wish, labels={**wish.labels, **cleanup_labels(self.cleanup)})

    def _shown(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.environ.shown(manifest) if isinstance(self.environ, References) else manifest


def plain_text(value: object, environ: Mapping[str, str], field: str) -> str | None:
    """Return the text of a resource's field: a reference to a variable as what the environment says.

    Raises:
        MissingVariableError: The variable is not set.
    """
    return None if value is None else str(resolved(value, environ, field))
