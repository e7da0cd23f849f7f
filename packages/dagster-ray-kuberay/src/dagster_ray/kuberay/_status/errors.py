"""What can go wrong between a RayJob and the driver that waits for it. `target` is an object's display name.

DagsterRayError
  SpecRefusedError        the operator refused the spec
  RayJobEndedError        the RayJob ended before the driver was there
  ClusterGoneError        the RayJob was deleted by somebody else
  CannotStartError        the cluster cannot start, and waiting does not help: image, crash, quota, rights
  RightsMissingError      the account lacks rights that the step will need
  OperatorSilentError     the deadline passed and no operator had looked at the RayJob
  QueueTimeoutError       a queue held the RayJob longer than `queue_timeout`
  PoolBusyError           other steps had all clusters of the pool until the deadline
  NameTakenError          an object of that name exists and is not ours
  WriteDeniedError        a policy or webhook denies what a step must write into its object
  FieldNotSupportedError  the cluster's KubeRay is older than a field of the spec
  VersionMismatchError    Ray or Python of the step and of the cluster differ
  TokenRequiredError      the cluster wants a token that we do not have
  ClientPortClosedError   the head is ready but does not accept Ray Client drivers
"""

from dagster_ray.core.errors import DagsterRayError, clause
from dagster_ray.core.failures import FailureClass
from dagster_ray.kuberay._status.failure_classes import class_of


class SpecRefusedError(DagsterRayError):
    """The KubeRay operator refused the spec. It does not look at it again; a new RayJob is needed."""

    code = "spec-refused"
    failure_class = "configuration"
    problem = "The KubeRay operator refused {target} ({reason}): {message}."
    remedy = "change the spec as the message says."

    target: str
    reason: str
    """The operator's reason."""
    message: str
    """The operator's message."""


class RayJobEndedError(DagsterRayError):
    """The RayJob reached its end while the step was still waiting for the cluster."""

    code = "rayjob-ended"
    problem = "{target} became {status} before a driver was connected: {why}."
    remedy = "{advice}."

    target: str
    status: str
    """The RayJob's deployment status."""
    reason: str
    """The operator's reason."""
    message: str
    """The operator's message."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Configuration for a limit that the spec sets and a spec that is refused; else infrastructure."""
        return "configuration" if self.reason in {"DeadlineExceeded", "ValidationFailed"} else "infrastructure"

    @property
    def why(self) -> str:
        """Reason and message, as far as there are any."""
        return f"{self.reason}: {self.message}" if self.message else self.reason or "no reason given"

    @property
    def advice(self) -> str:
        """What to do about this reason."""
        if self.reason == "PreRunningDeadlineExceeded":
            return "raise `timeout`, from which `preRunningDeadlineSeconds` follows, or set that field yourself"
        if self.reason == "DeadlineExceeded":
            return "raise `activeDeadlineSeconds`, which counts from the start of the cluster"
        return "look at the RayJob's events and at the head pod's log"


class ClusterGoneError(DagsterRayError):
    """The RayJob or its cluster was deleted by somebody else while the step needed it."""

    code = "cluster-gone"
    failure_class = "infrastructure"
    problem = "{target} is gone: {what}."
    remedy = "find out who deleted it (audit log, quota or clean-up jobs of the namespace), and run the step again."

    target: str
    what: str
    """What happened to it."""


class CannotStartError(DagsterRayError):
    """The cluster cannot start, and waiting longer will not change that."""

    code = "cannot-start"
    problem = "{target} cannot start ({reason}): {message}.{last_lines}"
    remedy = "{what_to_do} (diagnosis {diagnosis})."

    target: str
    diagnosis: str
    """The code of the diagnosis: a section of the page on troubleshooting."""
    reason: str
    """The reason that Kubernetes, KubeRay or Kueue gives."""
    message: str
    """The message that belongs to the reason."""
    advice: str
    """What to do about it, as a sentence."""
    log: str = ""
    """The last lines of the head's log."""

    @property
    def failure_class(self) -> FailureClass:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the diagnosis."""
        return class_of(self.diagnosis)

    @property
    def last_lines(self) -> str:
        """The log, as a part of the text."""
        return f" The head's last lines:\n{self.log}\n" if self.log else ""

    @property
    def what_to_do(self) -> str:
        """The advice, as a part of the text."""
        return clause(self.advice)


class RightsMissingError(DagsterRayError):
    """The account lacks rights that the step will need; nothing was created."""

    code = "rights-missing"
    failure_class = "configuration"
    problem = "The account lacks rights in namespace {namespace} that the step will need: {rights}."
    remedy = "grant them; `dagster-ray rbac {options}` prints the Role."

    namespace: str
    """The namespace in which they are missing."""
    missing: tuple[tuple[str, str], ...]
    """Pairs of verb and resource."""
    features: tuple[str, ...]
    """The features that need them, as `dagster-ray rbac` calls them."""

    @property
    def rights(self) -> str:
        """The missing rights, as a part of the text."""
        return ", ".join(f"`{verb}` on `{resource}`" for verb, resource in self.missing)

    @property
    def options(self) -> str:
        """The options of `dagster-ray rbac` that print them."""
        return " ".join(f"--feature {feature}" for feature in self.features)


class OperatorSilentError(DagsterRayError):
    """No operator wrote a status into the RayJob before the deadline."""

    code = "operator-silent"
    failure_class = "infrastructure"
    problem = "No KubeRay operator has looked at {target} within {budget_seconds:g} s: its status is empty."
    remedy = (
        "check that the operator runs (`kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator`) and that it "
        "watches this namespace."
    )

    target: str
    budget_seconds: float
    """The whole budget, in seconds."""


class QueueTimeoutError(DagsterRayError):
    """A queue held the RayJob back for longer than `queue_timeout`."""

    code = "queue-timeout"
    failure_class = "infrastructure"
    problem = "{target} was not admitted within {budget_seconds:g} s: {queue}."
    remedy = "look at the queue's Workload objects; raise `queue_timeout` if the queue is only long."

    target: str
    queue: str
    """What holds it."""
    budget_seconds: float
    """The seconds that were allowed."""


class WriteDeniedError(DagsterRayError):
    """The API server, or a policy or webhook behind it, denies what a step must write into an object that exists."""

    code = "write-denied"
    failure_class = "configuration"
    problem = "{what} could not be written into {target}: {reason}."
    remedy = "let the policy or webhook that denied this update allow it for the step's account."

    target: str
    what: str
    """What was to be written."""
    reason: str
    """The server's words."""


class PoolBusyError(DagsterRayError):
    """Other steps had all clusters of the pool until the deadline passed."""

    code = "pool-busy"
    failure_class = "infrastructure"
    problem = (
        "All {members} clusters of the pool {pool!r} were used by other steps, or going, for {budget_seconds:g} s "
        "(max_size is {max_size})."
    )
    remedy = "raise `max_size` of the pool or `timeout`, or let fewer such steps run at once, by a concurrency limit."

    pool: str
    """What its configuration calls it."""
    budget_seconds: float
    """The whole budget, in seconds."""
    members: int
    """How many clusters it had."""
    max_size: int
    """How many clusters it may have."""


class NameTakenError(DagsterRayError):
    """An object of the name that we need exists, and it is not ours."""

    code = "name-taken"
    failure_class = "configuration"
    problem = "{target} exists already and does not belong to this step. It was left as it is."
    remedy = "leave `metadata.name` unset, so that each step gets a name of its own."

    target: str


class FieldNotSupportedError(DagsterRayError):
    """The spec has a field that the KubeRay of this Kubernetes cluster does not know."""

    code = "field-not-supported"
    failure_class = "configuration"
    problem = "{target} sets `{field}`, which the KubeRay of this Kubernetes cluster does not know."
    remedy = "correct the field's name, leave it out, or upgrade the operator together with its CRDs."

    target: str
    field: str
    """The field's path."""


class VersionMismatchError(DagsterRayError):
    """Ray or Python of the step and of the cluster differ so much that Ray Client cannot work."""

    code = "version-mismatch"
    failure_class = "configuration"
    problem = "{target} runs {what} {theirs}, but the step runs {what} {ours}."
    remedy = "use an image with {what} {ours}, or run the step with {what} {theirs}."

    target: str
    what: str
    """`Ray` or `Python`."""
    ours: str
    """The step's version."""
    theirs: str
    """The cluster's version."""


class TokenRequiredError(DagsterRayError):
    """The cluster asks for a token that this process does not have, or has a wrong one of."""

    code = "token-required"
    failure_class = "configuration"
    problem = "{target} needs a token that the step does not have: {why}."
    remedy = "{what_to_do}."

    target: str
    answer: str
    """What the dashboard answered, or what is wrong with the Secret."""
    advice: str = ""
    """What to do about the Secret; empty for an answer of the dashboard."""

    @property
    def why(self) -> str:
        """Who said so."""
        return self.answer if self.advice else f"its dashboard answered {self.answer}"

    @property
    def what_to_do(self) -> str:
        """The advice, or how a step gets a token."""
        return self.advice or (
            "set `auth_options={'mode': 'token'}` on the cluster spec, so that the step reads the token from the "
            "cluster's Secret; before KubeRay 1.5.1, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN for the step"
        )


class ClientPortClosedError(DagsterRayError):
    """The operator calls the cluster ready, but its head accepts no Ray Client drivers."""

    code = "client-port-closed"
    failure_class = "configuration"
    problem = "{target} is ready, but {place} accepted no driver within {budget_seconds:g} s.{last_lines}"
    remedy = (
        "check that the image has `ray[client]`, that no start parameter moves the client port away from the head "
        "Service's port `client`, and that no NetworkPolicy separates the step from the head."
    )

    target: str
    place: str
    """Where it was tried."""
    budget_seconds: float
    """The whole budget, in seconds."""
    log: str = ""
    """The last lines of the head's log."""

    @property
    def last_lines(self) -> str:
        """The log, as a part of the text."""
        return f" The head's last lines:\n{self.log}\n" if self.log else ""
