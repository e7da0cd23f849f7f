"""What can go wrong, as types.

    DagsterRayError
      NotARayResourceError      a resource lacks members of `RayResource`
      UnknownFieldError         a config has a misspelled or unknown field (also a ValueError)
      InvalidFieldError         a field has a value that cannot work (also a ValueError)
      MissingVariableError      a field refers to an environment variable that is not set (also a ValueError)
      InvalidVariableError      an environment variable has a value that its field cannot use (also a ValueError)
      BackendNotFoundError      no installed package offers the backend
      BackendBrokenError        an installed backend cannot be imported
      RayNotInstalledError      this Python has no ray
      NotCreatedError           a phase was called before `create`
      NotConnectedError         `context` was read before `connect`
      NotReadyError             the deadline passed before the cluster accepted drivers
      ConnectFailedError        ray.init gave up
      DriverInUseError          this process already has a driver on another cluster
      ObjectMissingError        an input is not in Ray's object store
      CleanupFailedError        what the resource made could not be deleted

Each error carries its fields, says what is wrong (`problem`) and what to do (`remedy`), and has a stable `code` with a
page (`errors/<code>`). Its `failure_class` says whose failure it is. A library's error is its `__cause__`. All pickle:
Dagster and Ray move them between processes.
"""

from dagster_ray.core._connect_causes import advice, is_of_network
from dagster_ray.core._declared_error import DagsterRayError
from dagster_ray.core.failures import FailureClass

__all__ = [
    "BackendBrokenError",
    "BackendNotFoundError",
    "CleanupFailedError",
    "ConnectFailedError",
    "DagsterRayError",
    "DriverInUseError",
    "InvalidFieldError",
    "InvalidVariableError",
    "MissingVariableError",
    "NotARayResourceError",
    "NotConnectedError",
    "NotCreatedError",
    "NotReadyError",
    "ObjectMissingError",
    "RayNotInstalledError",
    "UnknownFieldError",
]


def clause(sentence: str) -> str:
    """Return a sentence as it reads in the middle of another one: no capital, no period."""
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}"


class NotARayResourceError(DagsterRayError):
    """An object is used as a `RayResource` but lacks some of its members."""

    code = "not-a-ray-resource"
    failure_class = "configuration"
    problem = "{where} needs a RayResource but got {type_name}, which lacks: {missing}."
    remedy = "put a Ray backend under that resource key, for example dagster_ray.local.LocalRay()."

    where: str
    """The place that needs the resource."""
    type_name: str
    """The object's type."""
    missing: tuple[str, ...]
    """The members that it lacks."""


class UnknownFieldError(DagsterRayError, ValueError):
    """A config was given a field that it does not have. Pydantic wraps it in its ValidationError."""

    code = "unknown-field"
    failure_class = "configuration"
    problem = "{model} has no field `{field}`."
    remedy = "{advice}."

    model: str
    """The config's class name."""
    field: str
    """The unknown field."""
    suggestion: str | None
    """The nearest known field, if one is similar."""
    known: tuple[str, ...]
    """The fields of the class."""

    @property
    def advice(self) -> str:
        """The similar field, or all of them."""
        return f"use one of: {', '.join(self.known)}" if self.suggestion is None else f"write `{self.suggestion}`"


class InvalidFieldError(DagsterRayError, ValueError):
    """A field was given a value that cannot work. Pydantic wraps it in its ValidationError."""

    code = "invalid-field"
    failure_class = "configuration"
    problem = "`{field}` {reason}."
    remedy = "{advice}."

    field: str
    """The field's path."""
    reason: str
    """What is wrong with the value, without the value if it may be a secret."""
    advice: str


class MissingVariableError(DagsterRayError, ValueError):
    """A field refers to an environment variable that is not set."""

    code = "missing-variable"
    failure_class = "configuration"
    problem = "`{path}` refers to the environment variable {variable}, which is not set."
    remedy = "set {variable} in the environment of the Dagster step."

    variable: str
    path: str


class InvalidVariableError(DagsterRayError, ValueError):
    """A field refers to an environment variable whose value the field cannot use."""

    code = "invalid-variable"
    failure_class = "configuration"
    problem = "`{path}` refers to the environment variable {variable}, whose value is not {wanted}."
    remedy = "set {variable} to {wanted}."

    variable: str
    path: str
    wanted: str
    """What the field needs, for example "a whole number"."""


class BackendNotFoundError(DagsterRayError):
    """No installed package offers a backend of this name."""

    code = "backend-not-found"
    failure_class = "configuration"
    problem = "No backend {name!r} is installed (installed: {installed})."
    remedy = "{advice}."

    name: str
    installed: tuple[str, ...]
    """The names of the installed backends."""
    install: str | None
    """The requirement that brings the backend, if it is one of ours."""

    @property
    def advice(self) -> str:
        """What to install."""
        if self.install is not None:
            return f"pip install '{self.install}'"
        return "install the package that declares it in the entry point group dagster_ray.backends"


class BackendBrokenError(DagsterRayError):
    """The entry point of a backend exists but cannot be loaded, or is not a class with the protocol's members."""

    code = "backend-broken"
    failure_class = "configuration"
    problem = "The backend {name!r} ({entry_point}) cannot be used: {reason}."
    remedy = "{advice}."

    name: str
    entry_point: str
    """The entry point's value: `module:Class`."""
    distribution: str
    """The distribution that declares the entry point."""
    reason: str
    advice: str


class RayNotInstalledError(DagsterRayError):
    """A step needs to connect to Ray, and its Python environment has no ray."""

    code = "ray-not-installed"
    failure_class = "configuration"
    problem = "{target} needs ray in the environment of the Dagster step, and ray is not installed there."
    remedy = "pip install '{install}', in the version that the cluster runs."

    target: str
    install: str
    """The requirement that brings ray."""


class NotCreatedError(DagsterRayError):
    """A phase was called on a resource whose cluster was not requested yet."""

    code = "not-created"
    failure_class = "user"
    problem = "`{phase}` was called on {target} before `create`."
    remedy = "call `create(context)` first, or leave `create` on in `Lifecycle`."

    target: str
    phase: str
    """The phase that was called."""


class NotConnectedError(DagsterRayError):
    """Something that only a connected driver has was read before `connect`."""

    code = "not-connected"
    failure_class = "user"
    problem = "`{member}` of {target} was read, but no driver is connected: {why}."
    remedy = "call `create`, `wait` and `connect` in the step, or leave them on in `Lifecycle`."

    target: str
    member: str
    """What was read."""
    why: str
    """Why there is no connection."""


class NotReadyError(DagsterRayError):
    """The cluster did not accept drivers before the deadline. It may still come up."""

    code = "not-ready"
    problem = "{target} was not ready within {budget_seconds:g} s (last seen: {last_seen}).{last_lines}"
    remedy = "{what_to_do}."

    target: str
    budget_seconds: float
    """The whole budget, in seconds."""
    last_seen: str
    """What the cluster was last seen doing."""
    advice: str = ""
    """What to do about it, as a sentence, where the backend knows."""
    log: str = ""
    """The last lines of the cluster's own log."""
    cause_class: FailureClass = "infrastructure"
    """Whose failure it is, where the backend knows why the cluster is not ready."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the cause."""
        return self.cause_class

    @property
    def last_lines(self) -> str:
        """The log, as a part of the text."""
        return f" Its last lines:\n{self.log}\n" if self.log else ""

    @property
    def what_to_do(self) -> str:
        """The backend's advice, and what always helps against a deadline that is too short."""
        if self.advice:
            return f"{clause(self.advice)}; raise `timeout` if it only needs longer"
        return "raise `timeout` if the cluster needs longer to start; otherwise look at what it was last seen doing"


class ConnectFailedError(DagsterRayError):
    """`ray.init` failed in a way that another attempt does not cure, or the deadline ended the attempts."""

    code = "connect-failed"
    problem = "ray.init({address!r}) for {target} was tried {times} and failed: {reason}."
    remedy = "{advice}."

    target: str
    address: str
    """Where the driver tried to connect."""
    attempts: int
    """How often it tried."""
    reason: str
    """Ray's own words."""

    @property
    def times(self) -> str:
        """How often it was tried, in words."""
        return "once" if self.attempts == 1 else f"{self.attempts} times"

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Infrastructure if the cluster could not be reached; configuration for a reason that stays."""
        return "infrastructure" if is_of_network(self.reason) else "configuration"

    @property
    def advice(self) -> str:
        """What helps against what Ray reported."""
        return advice(self.reason, self.address)


class DriverInUseError(DagsterRayError):
    """This process has a Ray driver on another cluster, and a process has only one."""

    code = "driver-in-use"
    failure_class = "configuration"
    problem = (
        "{target} needs a Ray driver, but this process is already connected to the cluster at {present}, and a "
        "process has only one driver."
    )
    remedy = (
        "use one resource for all parts of the step, and run steps that need different clusters in separate processes "
        "(the multiprocess executor does)."
    )

    target: str
    present: str
    """The address of the cluster that the process is connected to."""


class ObjectMissingError(DagsterRayError):
    """An input of a step is not in the object store of its Ray cluster, and no other IO manager has it."""

    code = "object-missing"
    problem = "{what}{of_partitions} is not in the object store: {reason}."
    remedy = (
        "run {step} again in the same run as the steps that read it, or give `RayIOManager` an `underlying` IO manager "
        "for what must last."
    )

    what: str
    """The asset or input."""
    partitions: tuple[str, ...]
    """The partitions that are missing; empty if it has none."""
    reason: str
    """What was seen."""
    step: str
    """What makes it."""
    is_lost: bool = False
    """Whether it was there in this run."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Infrastructure if it was lost; configuration if no step of the run has left it."""
        return "infrastructure" if self.is_lost else "configuration"

    @property
    def of_partitions(self) -> str:
        """The partitions, as a part of the text."""
        more = f" and {len(self.partitions) - 3} more" if len(self.partitions) > 3 else ""
        return f" (partitions {', '.join(self.partitions[:3])}{more})" if self.partitions else ""


class CleanupFailedError(DagsterRayError):
    """What the resource had made could not be deleted; it may go on costing money."""

    code = "cleanup-failed"
    failure_class = "infrastructure"
    problem = "{target} could not be cleaned up: {reason}."
    remedy = "delete it by hand if it still exists."

    target: str
    reason: str


def __dir__() -> list[str]:
    return sorted(__all__)
