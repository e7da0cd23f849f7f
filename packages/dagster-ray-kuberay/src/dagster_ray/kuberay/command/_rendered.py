"""What `dagster-ray render` prints: a manifest with placeholders and marked lines, or why it is refused. Pure."""

# pydantic's error details are plain dictionaries.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import yaml
from pydantic import ValidationError
from typing_extensions import override

from dagster_ray.core import CleanupPolicy, Identity
from dagster_ray.core.errors import DagsterRayError, InvalidFieldError
from dagster_ray.core.variables import Placeholder, resolved
from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._labels import GENERATION_LABEL, cleanup_labels
from dagster_ray.kuberay._sharing.choice import selection_of, spec_hash
from dagster_ray.kuberay._sharing.config import ClusterSharing
from dagster_ray.kuberay._spec.manifests import RenderInput, metadata_text, named, render_raycluster, render_rayjob
from dagster_ray.kuberay._spec.plain_json import Json, with_values
from dagster_ray.kuberay._spec.secrets import EnvValue
from dagster_ray.kuberay.command._checks import Refusal

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
    env_vars: Mapping[str, EnvValue]
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


MARK = "# dagster-ray"
"""The comment at the end of each line that the configuration does not have, or has with another value."""


class _Absent:
    """Stands for what nobody has written."""


_ABSENT: Final = _Absent()


def marked_yaml(manifest: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """Return a manifest in YAML.

    Args:
        manifest: What is sent.
        written: The part of it that the user's configuration has, with the same names. Items of lists stand in the
            same order in both, and those that were added follow.
    """
    return "\n".join(f"{line}  {MARK}" if is_added else line for line, is_added in _of_mapping(manifest, written))


def _of_mapping(value: Mapping[str, Any], written: object) -> Iterator[tuple[str, bool]]:
    known = mapping(written)
    for key, item in value.items():
        yield from _entry(f"{_scalar(key)}:", item, known.get(key, _ABSENT))


def _entry(start: str, item: object, written: object) -> Iterator[tuple[str, bool]]:
    if pairs := mapping(item):
        yield start, written is _ABSENT
        for line, is_added in _of_mapping(pairs, written):
            yield f"  {line}", is_added
    elif items := _list(item):
        yield start, written is _ABSENT
        yield from _of_list(items, written)
    else:
        yield f"{start} {_scalar(item)}", written is _ABSENT or written != item


def _of_list(items: list[object], written: object) -> Iterator[tuple[str, bool]]:
    known = _list(written)
    for n, item in enumerate(items):
        theirs = known[n] if n < len(known) else _ABSENT
        if pairs := mapping(item):
            lines = _of_mapping(pairs, theirs)
        elif inner := _list(item):
            lines = _of_list(inner, theirs)
        else:
            lines = iter([(_scalar(item), theirs is _ABSENT or theirs != item)])
        for m, (line, is_added) in enumerate(lines):
            yield f"{'  ' if m else '- '}{line}", is_added


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _scalar(value: object) -> str:
    """Return a value on one line; text of several lines with its breaks escaped."""
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)
    text = yaml.safe_dump(value, width=float("inf"), allow_unicode=True, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")


_HIDDEN = "'...'"
# Types of pydantic's errors whose text is somebody else's, or quotes the value.
_QUOTING = {"value_error", "assertion_error", "union_tag_invalid"}
_ADVICE = "correct its value"


def refused(error: BaseException) -> tuple[Refusal, ...]:
    """Return what an exception, or one that it was raised from, says of a configuration; empty if it is about none."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        if isinstance(now, DagsterRayError):
            return (_plain(now, {}),)
        if isinstance(now, ValidationError):
            return tuple(_of_pydantic(now.title, one) for one in now.errors(include_url=False))
        now = now.__cause__ or now.__context__
    return ()


def _of_pydantic(model: str, detail: Mapping[str, Any]) -> Refusal:
    ours = detail.get("ctx", {}).get("error")
    if isinstance(ours, DagsterRayError):
        return _plain(ours, detail.get("input"))
    field = ".".join([model, *map(str, detail["loc"])])
    kind = detail["type"]
    reason = "has a value that its own check refuses" if kind in _QUOTING else f"was refused: {detail['msg']}"
    return _plain(InvalidFieldError(field, reason, _ADVICE), {})


def _plain(error: DagsterRayError, value: object) -> Refusal:
    return Refusal(error.code, _without(error.problem, value), _without(error.remedy, value))


def _without(text: str, value: object) -> str:
    """Return a text in which no value of the configuration is quoted: a module may have computed it from a secret."""
    for leaf in _texts(value):
        text = text.replace(repr(leaf), _HIDDEN).replace(f'"{leaf}"', _HIDDEN)
    return text


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
