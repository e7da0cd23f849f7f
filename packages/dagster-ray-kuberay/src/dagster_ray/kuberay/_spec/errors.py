"""What can be wrong with a specification before anything is sent to a cluster.

    DagsterRayError, ValueError
      InvalidSpecError       a field or a combination of fields that cannot work
      SpecFileError          a file of a specification that cannot be used

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
        return "give a YAML file of at most 1 MiB with one RayJob or RayCluster, or the spec of one."
