"""What can be wrong with a specification before anything is sent to a cluster.

    DagsterRayError, ValueError
      InvalidSpecError       a field or a combination of fields that cannot work
      SpecFileError          a file of a specification that cannot be used
      MissingVariableError   `{"env": "NAME"}` names a variable that is not set

Pydantic wraps them in its ValidationError where a configuration is built.
"""

from typing_extensions import override

from dagster_ray.core.errors import DagsterRayError


class InvalidSpecError(DagsterRayError, ValueError):
    """A field, or several together, that the operator or the API server would refuse, or that cannot work."""

    code = "invalid-spec"

    def __init__(self, field: str, reason: str, advice: str, versions: str = "") -> None:
        """Take the field's path as in YAML, what is wrong, what to do, and which KubeRay versions it concerns."""
        super().__init__(field, reason, advice, versions)
        self.field, self.reason, self.advice, self.versions = field, reason, advice, versions

    @property
    @override
    def problem(self) -> str:
        where = f" ({self.versions})" if self.versions else ""
        return f"`{self.field}` {self.reason}{where}."

    @property
    @override
    def remedy(self) -> str:
        return f"{self.advice}."


class SpecFileError(DagsterRayError, ValueError):
    """The file that `spec_file` names cannot be read, or what it holds cannot be used."""

    code = "spec-file"

    def __init__(self, file: str, key: str, reason: str) -> None:
        """Take the file's path, the key in it (empty: the file as a whole) and what is wrong."""
        super().__init__(file, key, reason)
        self.file, self.key, self.reason = file, key, reason

    @property
    @override
    def problem(self) -> str:
        where = f"`{self.key}` in {self.file}" if self.key else f"The file {self.file}"
        return f"{where} cannot be used: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "give one YAML document of at most 1 MiB: a RayJob, a RayCluster, or the spec of one."


class MissingVariableError(DagsterRayError, ValueError):
    """A value is to come from the environment, and the variable is not set there."""

    code = "missing-variable"

    def __init__(self, variable: str, path: str) -> None:
        """Take the variable's name and the path of the field that wants it."""
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
