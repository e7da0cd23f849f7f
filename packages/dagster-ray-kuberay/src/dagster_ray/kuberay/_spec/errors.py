"""What can be wrong with a specification before anything is sent to a cluster.

    DagsterRayError, ValueError
      InvalidSpecError       a field or a combination of fields that cannot work
      SpecFileError          a file of a specification that cannot be used

Pydantic wraps them in its ValidationError where a configuration is built.
"""

from dagster_ray.core.errors import DagsterRayError


class InvalidSpecError(DagsterRayError, ValueError):
    """A field, or several together, that the operator or the API server would refuse, or that cannot work."""

    code = "invalid-spec"
    failure_class = "configuration"
    problem = "`{field}` {reason}{where}."
    remedy = "{advice}."

    field: str
    """The field's path, as in YAML."""
    reason: str
    advice: str
    versions: str = ""
    """The KubeRay versions that refuse it; empty for all."""

    @property
    def where(self) -> str:
        """The versions, as a part of the text."""
        return f" ({self.versions})" if self.versions else ""


class SpecFileError(DagsterRayError, ValueError):
    """The file that `spec_file` names cannot be read, or its contents cannot be used."""

    code = "spec-file"
    failure_class = "configuration"
    problem = "{place} cannot be used: {reason}."
    remedy = "{advice}."

    file: str
    """The file's path."""
    key: str
    """The key in it; empty for the file as a whole."""
    reason: str
    advice: str

    @property
    def place(self) -> str:
        """Key and file, as a part of the text."""
        return f"`{self.key}` in {self.file}" if self.key else f"The file {self.file}"
