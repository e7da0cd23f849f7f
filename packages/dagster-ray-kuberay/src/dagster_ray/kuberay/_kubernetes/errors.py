"""What the Kubernetes API can answer instead of what was asked.

DagsterRayError
  KubeconfigError          no cluster is configured
  CredentialsError         the credentials of the kubeconfig cannot be used
  ExecPluginError          the program that prints them has failed
  ServerTimeUnknownError   the API server's answers do not tell the time
  KubernetesError          a call failed; the subclasses say why
    UnauthorizedError        401: the credentials were not taken
    ForbiddenError           403: the Role lacks a verb on a resource
    NotFoundError            404: the object or its namespace is not there
    KindNotInstalledError    404: the API server does not know the kind (no CRD)
    ConflictError            409: the name is taken, or the object has changed
    GoneError                410: a list's continuation has expired
    InvalidObjectError       400, 422: the object is refused
    KubernetesAnswerError    something else answered: a login page, a redirect, a proxy
    UnavailableError         nothing but transient answers until the deadline
"""

import re

from typing_extensions import override

from dagster_ray.core.errors import DagsterRayError

# kube-apiserver 1.36, of a write into a namespace that does not exist, and of a read of the namespace.
_NO_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found')


class KubeconfigError(DagsterRayError):
    """No Kubernetes cluster is configured, or its configuration cannot be read."""

    code = "kubeconfig"

    def __init__(self, source: str, reason: str) -> None:
        """Take where the configuration was looked for and what is wrong. Never its contents."""
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    @property
    @override
    def problem(self) -> str:
        return f"No Kubernetes cluster can be reached by {self.source}: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return (
            "set `kubeconfig_file` and `kube_context` on the resource, KUBECONFIG in the environment, or run in a pod."
        )


class CredentialsError(DagsterRayError):
    """The credentials that a kubeconfig or a service account names cannot be used."""

    code = "kubernetes-credentials"

    def __init__(self, source: str, reason: str) -> None:
        """Take whose credentials they are and what is wrong. Never the credentials."""
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    @property
    @override
    def problem(self) -> str:
        return f"The credentials of {self.source} cannot be used: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "correct the kubeconfig, or the file that it names."


class ExecPluginError(DagsterRayError):
    """The program that a kubeconfig names for printing credentials has failed."""

    code = "exec-plugin"

    def __init__(self, command: str, reason: str, said: str = "") -> None:
        """Take the program, what went wrong, and what it said on its error output."""
        super().__init__(command, reason, said)
        self.command, self.reason, self.said = command, reason, said

    @property
    def may_pass(self) -> bool:
        """Whether another run may succeed."""
        return self.reason.startswith("failed with exit code")

    @property
    @override
    def problem(self) -> str:
        said = f": {self.said.rstrip('.')}" if self.said else ""
        return f"The exec plug-in `{self.command}` of the kubeconfig {self.reason}{said}."

    @property
    @override
    def remedy(self) -> str:
        if self.reason == "was not found":
            return "install it where the step runs, or put its folder on the step's PATH."
        if self.reason.startswith("has not ended"):
            return "run it with the arguments of the kubeconfig and without a terminal: it must end by itself."
        return "run it with the arguments of the kubeconfig as the step's user, and correct what it reports."


class ServerTimeUnknownError(DagsterRayError):
    """No answer of the API server had a readable header `Date`, so that no lock can be dated."""

    code = "server-time-unknown"

    def __init__(self, server: str) -> None:
        """Take the API server's URL."""
        super().__init__(server)
        self.server = server

    @property
    @override
    def problem(self) -> str:
        return f"The answers of the API server {self.server} do not tell the time: they have no readable header Date."

    @property
    @override
    def remedy(self) -> str:
        return "let the proxy in front of the API server pass the header on."


class KubernetesError(DagsterRayError):
    """A call of the Kubernetes API failed."""

    code = "kubernetes-call"

    def __init__(  # noqa: PLR0917 - an error unpickles by position
        self, verb: str, resource: str, namespace: str | None, name: str | None, status: int, message: str
    ) -> None:
        """Take the verb, the resource as a Role names it, namespace, name, the HTTP status and the server's message."""
        super().__init__(verb, resource, namespace, name, status, message)
        self.verb, self.resource, self.namespace, self.name = verb, resource, namespace, name
        self.status, self.message = status, message

    @property
    def what(self) -> str:
        """The call in words."""
        place = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {self.resource}" + (f" {place}" if place else "")

    @property
    @override
    def problem(self) -> str:
        return f"Kubernetes refused to {self.what} ({self.status}): {self.message.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "act on the server's message."


class UnauthorizedError(KubernetesError):
    """The API server did not take the credentials."""

    code = "kubernetes-unauthorized"

    @property
    @override
    def remedy(self) -> str:
        return "renew the credentials of the kubeconfig; `kubectl get rayjobs` must work with it."


class ForbiddenError(KubernetesError):
    """The account lacks a right."""

    code = "kubernetes-forbidden"

    @property
    @override
    def remedy(self) -> str:
        return f"allow `{self.verb}` on `{self.resource}` in a Role of namespace {self.namespace or '(all)'}."


class NotFoundError(KubernetesError):
    """The object or its namespace does not exist."""

    code = "kubernetes-not-found"

    @property
    def missing_namespace(self) -> str | None:
        """The namespace, where it is what does not exist."""
        found = _NO_NAMESPACE.match(self.message)
        return None if found is None else found[1]

    @property
    @override
    def problem(self) -> str:
        namespace = self.missing_namespace
        if namespace is None:
            return super().problem
        return f"Namespace {namespace} does not exist: Kubernetes refused to {self.what}."

    @property
    @override
    def remedy(self) -> str:
        if self.missing_namespace is not None:
            return f"correct the namespace, or run `kubectl create namespace {self.missing_namespace}`."
        return "check the name and the namespace; the object may have been deleted."


class KindNotInstalledError(KubernetesError):
    """The API server does not know the kind of object."""

    code = "kind-not-installed"

    @property
    @override
    def problem(self) -> str:
        return f"The Kubernetes cluster does not know {self.resource}: it was asked to {self.what}."

    @property
    @override
    def remedy(self) -> str:
        return "install the KubeRay operator with its CRDs, 1.3.0 or later, or choose another `kube_context`."


class ConflictError(KubernetesError):
    """The name is taken, or the object is not the one that was meant."""

    code = "kubernetes-conflict"

    @property
    @override
    def remedy(self) -> str:
        return "read the object again; somebody else has created or changed it."


class GoneError(KubernetesError):
    """The server does not remember the state that a list was to go on from."""

    code = "kubernetes-gone"

    @property
    @override
    def remedy(self) -> str:
        return "list again from the start."


class InvalidObjectError(KubernetesError):
    """The API server refuses the object."""

    code = "kubernetes-invalid"

    def __init__(  # noqa: PLR0917 - an error unpickles by position
        self,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str | None,
        status: int,
        message: str,
        causes: tuple[tuple[str, str], ...] = (),
        unknown_fields: tuple[str, ...] = (),
    ) -> None:
        """Take the call, the server's message, its causes as pairs of field and text, and fields it does not know."""
        super().__init__(verb, resource, namespace, name, status, message)
        self.args = (verb, resource, namespace, name, status, message, causes, unknown_fields)
        self.causes, self.unknown_fields = causes, unknown_fields

    @property
    def is_too_long(self) -> bool:
        """Whether the annotations of the object would exceed what Kubernetes allows for all of them: 256 KiB."""
        return any(field == "metadata.annotations" and "Too long" in text for field, text in self.causes)

    @property
    @override
    def remedy(self) -> str:
        fields = ", ".join(f"`{field}`" for field, _ in self.causes) or ", ".join(self.unknown_fields)
        return f"correct {fields}." if fields else "act on the server's message."


class KubernetesAnswerError(KubernetesError):
    """Something other than the Kubernetes API answered: a login page, a redirect, a proxy."""

    code = "kubernetes-answer"

    @property
    @override
    def problem(self) -> str:
        return f"Kubernetes was asked to {self.what}, and something else answered: {self.message.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "check the kubeconfig's `server` and the proxies between the step and it, or sign in to what answered."


class UnavailableError(KubernetesError):
    """The API server gave nothing but transient answers, or none, until the deadline."""

    code = "kubernetes-unavailable"

    def __init__(  # noqa: PLR0917 - an error unpickles by position
        self,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str | None,
        status: int,
        message: str,
        attempts: int,
    ) -> None:
        """Take the call, the last answer (status 0: none), and how often it was tried."""
        super().__init__(verb, resource, namespace, name, status, message)
        self.args = (verb, resource, namespace, name, status, message, attempts)
        self.attempts = attempts

    @property
    @override
    def problem(self) -> str:
        times = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"Kubernetes was asked {times} to {self.what} without success; last answer: {self.message.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "check that the API server can be reached from the step; raise `timeout` if it is only slow."
