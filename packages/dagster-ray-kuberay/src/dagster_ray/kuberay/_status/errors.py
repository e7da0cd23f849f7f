"""What can go wrong between a RayJob and the driver that waits for it.

DagsterRayError
  SpecRefusedError        the operator refused the spec
  RayJobEndedError        the RayJob ended before the driver was there
  ClusterGoneError        the RayJob was deleted by somebody else
  CannotStartError        the cluster cannot start, and waiting does not help: image, crash, quota, rights
  RightsMissingError      the account lacks rights that the step will need
  OperatorSilentError     the deadline passed and no operator had looked at the RayJob
  QueueTimeoutError       a queue held the RayJob longer than `queue_timeout`
  NameTakenError          an object of that name exists and is not ours
  WriteDeniedError        a policy or webhook denies what a step must write into its object
  FieldNotSupportedError  the cluster's KubeRay is older than a field of the spec
  VersionMismatchError    Ray or Python of the step and of the cluster differ
  TokenRequiredError      the cluster wants a token that we do not have
  ClientPortClosedError   the head is ready but does not accept Ray Client drivers
"""

from typing_extensions import override

from dagster_ray.core.errors import DagsterRayError


class SpecRefusedError(DagsterRayError):
    """The KubeRay operator refused the spec. It does not look at it again; a new RayJob is needed."""

    code = "spec-refused"

    def __init__(self, target: str, reason: str, message: str) -> None:
        """Take the RayJob's display name, the operator's reason and its message."""
        super().__init__(target, reason, message)
        self.target, self.reason, self.message = target, reason, message

    @property
    @override
    def problem(self) -> str:
        return f"The KubeRay operator refused {self.target} ({self.reason}): {self.message.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "change the spec as the message says; the operator's version decides which fields it accepts."


class RayJobEndedError(DagsterRayError):
    """The RayJob reached its end while the step was still waiting for the cluster."""

    code = "rayjob-ended"

    def __init__(self, target: str, status: str, reason: str, message: str) -> None:
        """Take the RayJob's display name, its deployment status, and the operator's reason and message."""
        super().__init__(target, status, reason, message)
        self.target, self.status, self.reason, self.message = target, status, reason, message

    @property
    @override
    def problem(self) -> str:
        why = f"{self.reason}: {self.message}" if self.message else self.reason or "no reason given"
        return f"{self.target} is {self.status} before a driver was connected: {why.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        if self.reason == "PreRunningDeadlineExceeded":
            return "raise `timeout`, from which `preRunningDeadlineSeconds` follows, or set that field yourself."
        return "look at the RayJob's events and at the head pod's log."


class ClusterGoneError(DagsterRayError):
    """The RayJob or its cluster was deleted by somebody else while the step needed it."""

    code = "cluster-gone"

    def __init__(self, target: str, what: str) -> None:
        """Take the RayJob's display name and what happened to it."""
        super().__init__(target, what)
        self.target, self.what = target, what

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} is gone: {self.what}."

    @property
    @override
    def remedy(self) -> str:
        return "find out who deleted it (audit log, quota or clean-up jobs of the namespace), and run the step again."


class CannotStartError(DagsterRayError):
    """The cluster cannot start, and waiting longer will not change that."""

    code = "cannot-start"

    def __init__(  # noqa: PLR0917 - an error unpickles by position
        self, target: str, diagnosis: str, reason: str, message: str, advice: str, log: str = ""
    ) -> None:
        """Take the display name, the diagnosis' code, the reason, message, and remedy, and the head's last lines."""
        super().__init__(target, diagnosis, reason, message, advice, log)
        self.target, self.diagnosis, self.reason, self.message = target, diagnosis, reason, message
        self.advice, self.log = advice, log

    @property
    @override
    def problem(self) -> str:
        log = f" The head's last lines:\n{self.log}\n" if self.log else ""
        return f"{self.target} cannot start ({self.reason}): {self.message.rstrip('.')}.{log}"

    @property
    @override
    def remedy(self) -> str:
        return f"{self.advice[:1].lower()}{self.advice[1:].rstrip('.')} (diagnosis {self.diagnosis})."


class RightsMissingError(DagsterRayError):
    """The account lacks rights that the step will need; nothing was created."""

    code = "rights-missing"

    def __init__(self, namespace: str, missing: tuple[tuple[str, str], ...], features: tuple[str, ...]) -> None:
        """Take the namespace, pairs of verb and resource, and the features that need them."""
        super().__init__(namespace, missing, features)
        self.namespace, self.missing, self.features = namespace, missing, features

    @property
    @override
    def problem(self) -> str:
        rights = ", ".join(f"`{verb}` on `{resource}`" for verb, resource in self.missing)
        return f"The account may not do in namespace {self.namespace} what the step will need: {rights}."

    @property
    @override
    def remedy(self) -> str:
        features = " ".join(f"--feature {feature}" for feature in self.features)
        return f"grant it; `dagster-ray rbac {features}` prints the Role."


class OperatorSilentError(DagsterRayError):
    """No operator wrote a status into the RayJob before the deadline."""

    code = "operator-silent"

    def __init__(self, target: str, budget_seconds: float) -> None:
        """Take the RayJob's display name and the whole budget in seconds."""
        super().__init__(target, budget_seconds)
        self.target, self.budget_seconds = target, budget_seconds

    @property
    @override
    def problem(self) -> str:
        return f"No KubeRay operator has looked at {self.target} within {self.budget_seconds:g} s: its status is empty."

    @property
    @override
    def remedy(self) -> str:
        return (
            "check that the operator runs (`kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator`) and "
            + ("that it watches this namespace.")
        )


class QueueTimeoutError(DagsterRayError):
    """A queue held the RayJob back for longer than `queue_timeout`."""

    code = "queue-timeout"

    def __init__(self, target: str, queue: str, budget_seconds: float) -> None:
        """Take the RayJob's display name, what holds it and the seconds that were allowed."""
        super().__init__(target, queue, budget_seconds)
        self.target, self.queue, self.budget_seconds = target, queue, budget_seconds

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} was not admitted within {self.budget_seconds:g} s: {self.queue}."

    @property
    @override
    def remedy(self) -> str:
        return "raise `queue_timeout`, give it a higher `priority`, or look at the queue's Workload objects."


class WriteDeniedError(DagsterRayError):
    """The API server, or a policy or webhook behind it, denies what a step must write into an object that exists."""

    code = "write-denied"

    def __init__(self, target: str, what: str, reason: str) -> None:
        """Take the object's display name, what was to be written, and the server's words."""
        super().__init__(target, what, reason)
        self.target, self.what, self.reason = target, what, reason

    @property
    @override
    def problem(self) -> str:
        return f"{self.what} could not be written into {self.target}: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return "change the policy or webhook that denies this update, so that the step's account may make it."


class NameTakenError(DagsterRayError):
    """An object of the name that we need exists, and it is not ours."""

    code = "name-taken"

    def __init__(self, target: str) -> None:
        """Take the RayJob's display name."""
        super().__init__(target)
        self.target = target

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} exists already and does not belong to this step. It was left as it is."

    @property
    @override
    def remedy(self) -> str:
        return "leave `metadata.name` unset, so that each step gets a name of its own, or delete the old object."


class FieldNotSupportedError(DagsterRayError):
    """The spec has a field that the KubeRay of this Kubernetes cluster does not know."""

    code = "field-not-supported"

    def __init__(self, target: str, field: str) -> None:
        """Take the RayJob's display name and the field's path."""
        super().__init__(target, field)
        self.target, self.field = target, field

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} sets `{self.field}`, which the KubeRay of this Kubernetes cluster does not know."

    @property
    @override
    def remedy(self) -> str:
        return "correct the field's name, leave it out, or upgrade the operator together with its CRDs."


class VersionMismatchError(DagsterRayError):
    """Ray or Python of the step and of the cluster differ so much that Ray Client cannot work."""

    code = "version-mismatch"

    def __init__(self, target: str, what: str, ours: str, theirs: str) -> None:
        """Take the RayJob's display name, `Ray` or `Python`, the step's version and the cluster's."""
        super().__init__(target, what, ours, theirs)
        self.target, self.what, self.ours, self.theirs = target, what, ours, theirs

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} runs {self.what} {self.theirs}, the step runs {self.what} {self.ours}."

    @property
    @override
    def remedy(self) -> str:
        return f"use an image with {self.what} {self.ours}, or run the step with {self.what} {self.theirs}."


class TokenRequiredError(DagsterRayError):
    """The cluster asks for a token that this process does not have, or has a wrong one of."""

    code = "token-required"

    def __init__(self, target: str, answer: str) -> None:
        """Take the RayJob's display name and what the dashboard answered."""
        super().__init__(target, answer)
        self.target, self.answer = target, answer

    @property
    @override
    def problem(self) -> str:
        return f"{self.target} is protected by a token: its dashboard answered {self.answer}."

    @property
    @override
    def remedy(self) -> str:
        return (
            "set `auth_options={'mode': 'token'}` on the cluster spec (KubeRay 1.5.1 or later), so that the token is "
            "read from the cluster's Secret, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN for the step."
        )


class ClientPortClosedError(DagsterRayError):
    """The operator calls the cluster ready, but its head accepts no Ray Client drivers."""

    code = "client-port-closed"

    def __init__(self, target: str, place: str, budget_seconds: float, log: str = "") -> None:
        """Take the display name, where it was tried, the whole budget in seconds and the head's last lines."""
        super().__init__(target, place, budget_seconds, log)
        self.target, self.place, self.budget_seconds, self.log = target, place, budget_seconds, log

    @property
    @override
    def problem(self) -> str:
        log = f" The head's last lines:\n{self.log}\n" if self.log else ""
        return f"{self.target} is ready, but {self.place} accepted no driver within {self.budget_seconds:g} s.{log}"

    @property
    @override
    def remedy(self) -> str:
        return (
            "check that the image has `ray[client]`, that no start parameter moves the client port away from the "
            "head Service's port `client`, and that no NetworkPolicy stands between the step and the head."
        )
