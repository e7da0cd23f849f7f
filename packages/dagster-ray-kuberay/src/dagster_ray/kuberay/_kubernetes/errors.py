"""What the Kubernetes API can answer instead of what was asked.

DagsterRayError
  KubeconfigError          no cluster is configured, or the configuration cannot be used
  CredentialsError         the credentials of the kubeconfig cannot be used
  ExecPluginError          the program that prints them has failed
  ServerTimeUnknownError   the API server's answers contain no time
  KubernetesError          a call failed; the subclasses say why
    UnauthorizedError        401: the credentials were not accepted
    ForbiddenError           403: the Role lacks a verb on a resource, or a quota or policy refuses
    NotFoundError            404: the object or its namespace does not exist
    KindNotInstalledError    404: the API server does not know the kind (no CRD)
    ConflictError            409: the name is taken, or the object has changed
    InvalidObjectError       400, 422: the object is refused
    KubernetesAnswerError    something else answered: a login page, a redirect, a proxy
    UnavailableError         nothing but transient answers until the deadline
"""

import re

from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.failures import FailureClass

# kube-apiserver 1.36, of a write into a namespace that does not exist, and of a read of the namespace.
_NO_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found')
# kube-apiserver 1.36: every authorizer's refusal. A quota, a policy and an admission webhook word theirs otherwise.
_NO_RIGHT = re.compile(r'User "[^"]*" cannot ')


class KubeconfigError(DagsterRayError):
    """No Kubernetes cluster is configured, or its configuration cannot be read."""

    code = "kubeconfig"
    failure_class = "configuration"
    problem = "Kubernetes cannot be reached through {source}: {reason}."
    remedy = "{advice}."

    source: str
    """Where the configuration was looked for, or the server that it names."""
    reason: str
    """What is wrong with it, never its contents."""
    advice: str = "correct the kubeconfig"


class CredentialsError(DagsterRayError):
    """The credentials that a kubeconfig or a service account names cannot be used."""

    code = "kubernetes-credentials"
    failure_class = "configuration"
    problem = "The credentials of {source} cannot be used: {reason}."
    remedy = "{advice}."

    source: str
    """Whose credentials they are."""
    reason: str
    """What is wrong with them, never the credentials."""
    advice: str


class ExecPluginError(DagsterRayError):
    """The program that a kubeconfig names for printing credentials has failed."""

    code = "exec-plugin"
    problem = "The exec plug-in `{command}` of the kubeconfig {reason}{printed}."
    remedy = "{advice}."

    command: str
    """The program, without its arguments."""
    reason: str
    """What went wrong."""
    said: str = ""
    """What it printed on its error output."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Infrastructure if the program ran and failed, as without its server; else configuration."""
        return "infrastructure" if self.may_pass else "configuration"

    @property
    def may_pass(self) -> bool:
        """Whether another run may succeed."""
        return self.reason.startswith("failed with exit code")

    @property
    def printed(self) -> str:
        """Its error output, as a part of the text."""
        return f": {self.said}" if self.said else ""

    @property
    def advice(self) -> str:
        """What to do about this failure."""
        if self.reason == "was not found":
            return "install it where the step runs, or put its folder on the step's PATH"
        if self.reason.startswith("has not ended"):
            return "run it with the arguments of the kubeconfig and without a terminal: it must end by itself"
        return "run it with the arguments of the kubeconfig as the step's user, and correct what it reports"


class ServerTimeUnknownError(DagsterRayError):
    """No answer of the API server had a readable header `Date`, so that no lock can be dated."""

    code = "server-time-unknown"
    failure_class = "configuration"
    problem = "The answers of the API server {server} have no readable header Date."
    remedy = "let the proxy in front of the API server pass the header on."

    server: str
    """The API server's URL."""


class KubernetesError(DagsterRayError):
    """A call of the Kubernetes API failed."""

    code = "kubernetes-call"
    problem = "Kubernetes refused to {what} ({status}): {message}."
    remedy = "act on the server's message."

    verb: str
    """The verb, as a Role names it."""
    resource: str
    """The resource, as a Role names it."""
    namespace: str | None
    """The object's namespace; None for a cluster-wide call."""
    name: str | None
    """The object's name; None for a list or a create without a name."""
    status: int
    """The HTTP status, or 0 for no answer."""
    message: str
    """The server's message."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Infrastructure if the server did not answer, or not for a reason of the request's."""
        passes = self.status in {0, 408, 409, 410, 429} or self.status >= 500
        return "infrastructure" if passes else "configuration"

    @property
    def what(self) -> str:
        """The call in words."""
        place = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {self.resource}" + (f" {place}" if place else "")

    @property
    def is_expired(self) -> bool:
        """Whether the server has forgotten the state that a list was to go on from (410); a new list succeeds."""
        return self.status == 410


class UnauthorizedError(KubernetesError):
    """The API server did not accept the credentials."""

    code = "kubernetes-unauthorized"
    remedy = "renew the credentials; `kubectl get rayjobs` must work with them."


class ForbiddenError(KubernetesError):
    """The account lacks a right, or a quota or a policy refuses the call."""

    code = "kubernetes-forbidden"
    remedy = "{advice}."

    @property
    def advice(self) -> str:
        """What to do about a missing right, and about any other refusal."""
        if _NO_RIGHT.search(self.message):
            return f"allow `{self.verb}` on `{self.resource}` in a Role of namespace {self.namespace or '(all)'}"
        return "change the quota or policy that the message names, or the object that it refuses"


class NotFoundError(KubernetesError):
    """The object or its namespace does not exist."""

    code = "kubernetes-not-found"
    problem = "{sentence}."
    remedy = "{advice}."

    @property
    def missing_namespace(self) -> str | None:
        """The namespace, where it is what does not exist."""
        found = _NO_NAMESPACE.match(self.message)
        return None if found is None else found[1]

    @property
    def sentence(self) -> str:
        """What does not exist."""
        if self.missing_namespace is None:
            return f"Kubernetes refused to {self.what} ({self.status}): {self.message}"
        return f"Namespace {self.missing_namespace} does not exist: Kubernetes refused to {self.what}"

    @property
    def advice(self) -> str:
        """What to do about a missing namespace, and about a missing object."""
        if self.missing_namespace is None:
            return "check the name and the namespace"
        return f"correct the namespace, or run `kubectl create namespace {self.missing_namespace}`"


class KindNotInstalledError(KubernetesError):
    """The API server does not know the kind of object."""

    code = "kind-not-installed"
    problem = "The Kubernetes cluster does not know {resource}, so it could not {what}."
    remedy = "install the KubeRay operator with its CRDs, 1.3.0 or later, or choose another `kube_context`."


class ConflictError(KubernetesError):
    """The name is taken, or the object is not the one that was meant."""

    code = "kubernetes-conflict"
    remedy = "read the object again: it was created or changed in the meantime."


class InvalidObjectError(KubernetesError):
    """The API server refuses the object."""

    code = "kubernetes-invalid"
    remedy = "{advice}."

    causes: tuple[tuple[str, str], ...] = ()
    """The server's causes, as pairs of field and text."""
    unknown_fields: tuple[str, ...] = ()
    """Fields that the server does not know."""

    @property
    def is_too_long(self) -> bool:
        """Whether the annotations of the object would exceed what Kubernetes allows for all of them: 256 KiB."""
        return any(field == "metadata.annotations" and "Too long" in text for field, text in self.causes)

    @property
    def advice(self) -> str:
        """Which fields to correct."""
        fields = ", ".join(f"`{field}`" for field, _ in self.causes) or ", ".join(self.unknown_fields)
        return f"correct {fields}" if fields else "act on the server's message"


class KubernetesAnswerError(KubernetesError):
    """Something other than the Kubernetes API answered: a login page, a redirect, a proxy."""

    code = "kubernetes-answer"
    problem = "Kubernetes was asked to {what}, but something else answered: {message}."
    remedy = "check `server` of the kubeconfig and the proxies between the step and the API server."


class UnavailableError(KubernetesError):
    """The API server gave nothing but transient answers, or none, until the deadline."""

    code = "kubernetes-unavailable"
    problem = "Kubernetes was asked {times} to {what} without success; last answer: {message}."
    remedy = "check that the API server can be reached from the step; raise `timeout` if it is only slow."

    attempts: int
    """How often the call was tried."""

    @property
    def times(self) -> str:
        """How often the call was tried, in words."""
        return "once" if self.attempts == 1 else f"{self.attempts} times"
