"""What can go wrong, as types.

    DagsterRayError
      NotARayResourceError      a resource lacks members of `RayResource`
      UnknownFieldError         a config has a misspelt or unknown field (also a ValueError)
      InvalidFieldError         a field has a value that cannot work (also a ValueError)
      MissingVariableError      a field refers to an environment variable that is not set (also a ValueError)
      InvalidVariableError      an environment variable has a value that its field cannot take (also a ValueError)
      BackendNotFoundError      no installed package offers the backend
      BackendBrokenError        an installed backend cannot be imported
      RayNotInstalledError      this Python has no ray
      NotCreatedError           a phase was called before `create`
      NotConnectedError         `context` was read before `connect`
      NotReadyError             the deadline passed before the cluster accepted drivers
      ConnectFailedError        ray.init gave up
      DriverInUseError          this process has a driver on another cluster already
      CleanupFailedError        what the resource made could not be deleted

Each error carries its fields, says what is wrong (`problem`) and what to do (`remedy`), and has a
stable `code` with a page in the documentation (`errors/<code>`). The error of a library underneath
is the `__cause__`. All of them pickle: Dagster and Ray move exceptions between processes.
"""

from abc import abstractmethod

from typing_extensions import override

from dagster_ray.core._connect_causes import advice

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
    "RayNotInstalledError",
    "UnknownFieldError",
]


class DagsterRayError(Exception):
    """Root of every error that dagster-ray raises on its own account.

    A subclass passes its fields to `super().__init__` in order, so that it unpickles, and says what is
    wrong and what to do in `problem` and `remedy`.
    """

    code: str
    """Stable identifier of the kind of error; the documentation has a page `errors/<code>`."""

    def __init_subclass__(cls, **options: object) -> None:
        """Let a traceback name the class by where users import it: our private modules' stand in `errors`."""
        super().__init_subclass__(**options)
        package, private, _ = cls.__module__.partition("._")
        if private and package.startswith("dagster_ray."):
            cls.__module__ = f"{package}.errors"

    @property
    @abstractmethod
    def problem(self) -> str:
        """One sentence: what is wrong, with the values that matter."""
        raise NotImplementedError

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What the reader can do about it, as an instruction."""
        raise NotImplementedError

    @override
    def __str__(self) -> str:
        return f"{self.problem} To fix: {self.remedy} [dagster-ray: {self.code}]"


class NotARayResourceError(DagsterRayError):
    """An object stands where a `RayResource` is needed but lacks some of its members."""

    code = "not-a-ray-resource"

    def __init__(self, where: str, type_name: str, missing: tuple[str, ...]) -> None:
        """Take the place that needs the resource, the type found there and the members it lacks."""
        super().__init__(where, type_name, missing)
        self.where, self.type_name, self.missing = where, type_name, missing

    @property
    @override
    def problem(self) -> str:
        return f"{self.where} needs a RayResource but got {self.type_name}, which lacks: {', '.join(self.missing)}."

    @property
    @override
    def remedy(self) -> str:
        return "put a Ray backend under that resource key, for example dagster_ray.local.LocalRay()."


class UnknownFieldError(DagsterRayError, ValueError):
    """A config was given a field that it does not have. Pydantic wraps it in its ValidationError."""

    code = "unknown-field"

    def __init__(self, model: str, field: str, suggestion: str | None, known: tuple[str, ...]) -> None:
        """Take the config's class name, the unknown field, the nearest known field and all known ones."""
        super().__init__(model, field, suggestion, known)
        self.model, self.field, self.suggestion, self.known = model, field, suggestion, known

    @property
    @override
    def problem(self) -> str:
        return f"{self.model} has no field `{self.field}`."

    @property
    @override
    def remedy(self) -> str:
        if self.suggestion is not None:
            return f"write `{self.suggestion}`."
        return f"use one of: {', '.join(self.known)}."


class InvalidFieldError(DagsterRayError, ValueError):
    """A field was given a value that cannot work. Pydantic wraps it in its ValidationError."""

    code = "invalid-field"

    def __init__(self, field: str, reason: str, advice: str) -> None:
        """Take the field's path, what is wrong with its value and what to do, both without the value."""
        super().__init__(field, reason, advice)
        self.field, self.reason, self.advice = field, reason, advice

    @property
    @override
    def problem(self) -> str:
        return f"`{self.field}` {self.reason}."

    @property
    @override
    def remedy(self) -> str:
        return f"{self.advice}."


class MissingVariableError(DagsterRayError, ValueError):
    """A field takes its value from an environment variable that is not set."""

    code = "missing-variable"

    def __init__(self, variable: str, path: str) -> None:
        """Take the variable's name and the path of the field that refers to it."""
        super().__init__(variable, path)
        self.variable, self.path = variable, path

    @property
    @override
    def problem(self) -> str:
        return f"`{self.path}` takes its value from the environment variable {self.variable}, which is not set."

    @property
    @override
    def remedy(self) -> str:
        return f"set {self.variable} in the environment of the Dagster step, or write the value into the field."


class InvalidVariableError(DagsterRayError, ValueError):
    """A field takes its value from an environment variable that holds something else than the field can take."""

    code = "invalid-variable"

    def __init__(self, variable: str, path: str, wanted: str) -> None:
        """Take the variable's name, the path of the field that refers to it and what the field takes."""
        super().__init__(variable, path, wanted)
        self.variable, self.path, self.wanted = variable, path, wanted

    @property
    @override
    def problem(self) -> str:
        return (
            f"`{self.path}` takes its value from the environment variable {self.variable}, which is not {self.wanted}."
        )

    @property
    @override
    def remedy(self) -> str:
        return f"set {self.variable} to {self.wanted}."


class BackendNotFoundError(DagsterRayError):
    """No installed package offers a backend of this name."""

    code = "backend-not-found"

    def __init__(self, name: str, installed: tuple[str, ...], install: str | None) -> None:
        """Take the name asked for, the names that are installed, and what to install if it is known."""
        super().__init__(name, installed, install)
        self.name, self.installed, self.install = name, installed, install

    @property
    @override
    def problem(self) -> str:
        return f"No backend {self.name!r} is installed (installed: {', '.join(self.installed) or 'none'})."

    @property
    @override
    def remedy(self) -> str:
        if self.install is not None:
            return f"pip install '{self.install}'."
        return "install the package that declares it under the entry point group dagster_ray.backends."


class BackendBrokenError(DagsterRayError):
    """The entry point of a backend exists but cannot be loaded, or is not a class with the protocol's members."""

    code = "backend-broken"

    def __init__(self, name: str, entry_point: str, distribution: str, reason: str) -> None:
        """Take the backend's name, its entry point, the distribution that declares it and what went wrong."""
        super().__init__(name, entry_point, distribution, reason)
        self.name, self.entry_point, self.distribution, self.reason = name, entry_point, distribution, reason

    @property
    @override
    def problem(self) -> str:
        return f"The backend {self.name!r} ({self.entry_point}) cannot be used: {self.reason}."

    @property
    @override
    def remedy(self) -> str:
        return f"reinstall {self.distribution} with its dependencies, or correct the entry point if it is yours."


class RayNotInstalledError(DagsterRayError):
    """A step needs to connect to Ray, and this Python environment has no ray."""

    code = "ray-not-installed"

    def __init__(self, target: str, install: str) -> None:
        """Take what was to be connected to and what to install."""
        super().__init__(target, install)
        self.target, self.install = target, install

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} needs ray in the environment of the Dagster step, and ray is not installed there."

    @property
    @override
    def remedy(self) -> str:
        return f"pip install '{self.install}', in the version that the cluster runs."


class NotCreatedError(DagsterRayError):
    """A phase was called on a resource whose cluster was not asked for yet."""

    code = "not-created"

    def __init__(self, target: str, phase: str) -> None:
        """Take the resource's display name and the phase that was called."""
        super().__init__(target, phase)
        self.target, self.phase = target, phase

    @property
    @override
    def problem(self) -> str:
        return f"`{self.phase}` was called on {self.target}, whose cluster was not created yet."

    @property
    @override
    def remedy(self) -> str:
        return "call `create(context)` first, or leave `Lifecycle(create=True)` so that it is called for you."


class NotConnectedError(DagsterRayError):
    """Something that only a connected driver has was read before `connect`."""

    code = "not-connected"

    def __init__(self, target: str, member: str, why: str) -> None:
        """Take the resource's display name, the member that was read and why there is no connection."""
        super().__init__(target, member, why)
        self.target, self.member, self.why = target, member, why

    @property
    @override
    def problem(self) -> str:
        return f"`{self.member}` of {self.target} was read, but no driver is connected: {self.why}."

    @property
    @override
    def remedy(self) -> str:
        return "call `create`, `wait` and `connect` in the step, or leave them on in `Lifecycle`."


class NotReadyError(DagsterRayError):
    """The cluster did not accept drivers before the deadline. It may still come up."""

    code = "not-ready"

    def __init__(self, target: str, budget_seconds: float, last_seen: str, advice: str = "", log: str = "") -> None:
        """Take the resource's display name, the whole budget in seconds and the last thing that was seen.

        Args:
            target: The resource's display name.
            budget_seconds: The whole budget.
            last_seen: What the cluster was last seen doing.
            advice: What to do about it, as a sentence, where the backend knows.
            log: The last lines of the cluster's own log.
        """
        super().__init__(target, budget_seconds, last_seen, advice, log)
        self.target, self.budget_seconds, self.last_seen = target, budget_seconds, last_seen
        self.advice, self.log = advice, log

    @property
    @override
    def problem(self) -> str:
        log = f" Its last lines:\n{self.log}\n" if self.log else ""
        return f"{self.target} was not ready within {self.budget_seconds:g} s (last seen: {self.last_seen}).{log}"

    @property
    @override
    def remedy(self) -> str:
        if self.advice:
            return f"{self.advice[:1].lower()}{self.advice[1:].rstrip('.')}; raise `timeout` if it only needs longer."
        return "raise `timeout` if the cluster needs longer to start; otherwise look at what it was last seen doing."


class ConnectFailedError(DagsterRayError):
    """`ray.init` failed in a way that trying again does not cure, or the deadline ended the attempts."""

    code = "connect-failed"

    def __init__(self, target: str, address: str, attempts: int, reason: str) -> None:
        """Take the resource's display name, the address, how often it was tried and Ray's own words."""
        super().__init__(target, address, attempts, reason)
        self.target, self.address, self.attempts, self.reason = target, address, attempts, reason

    @property
    @override
    def problem(self) -> str:
        times = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"ray.init({self.address!r}) for {self.target} was tried {times} and failed: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return f"{advice(self.reason, self.address)}."


class DriverInUseError(DagsterRayError):
    """This process has a Ray driver on another cluster, and a process has only one."""

    code = "driver-in-use"

    def __init__(self, target: str, present: str) -> None:
        """Take the resource's display name and the address of the cluster that the process is connected to."""
        super().__init__(target, present)
        self.target, self.present = target, present

    @property
    @override
    def problem(self) -> str:
        return (
            f"{self.target} needs a Ray driver, but this process is already connected to the cluster at "
            f"{self.present}, and a process has only one driver."
        )

    @property
    @override
    def remedy(self) -> str:
        return (
            "use one resource for all parts of the step, run steps that need different clusters in separate processes "
            "(the multiprocess executor does), or set Lifecycle(connect=False) on the one that needs no driver."
        )


class CleanupFailedError(DagsterRayError):
    """What the resource had made could not be deleted; it may go on costing money."""

    code = "cleanup-failed"

    def __init__(self, target: str, reason: str) -> None:
        """Take the resource's display name and what went wrong."""
        super().__init__(target, reason)
        self.target, self.reason = target, reason

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} could not be cleaned up: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "delete it by hand if it still exists."
