"""`StepCluster`: the RayJob or RayCluster of one step, from what is asked for to its end."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from dagster_ray.core import DagsterContext, Deadline, StepOutcome, log_of
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.dashboard import greet, is_judged_by_kubernetes, read_token
from dagster_ray.kuberay._head.route import Route
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    KubernetesError,
    NotFoundError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, SAID_OF_DELETION, propagation_of
from dagster_ray.kuberay._labels import ALIVE_SECONDS
from dagster_ray.kuberay._spec.acceptance import portable_spec
from dagster_ray.kuberay._spec.rules import SELECTOR
from dagster_ray.kuberay._status.cluster_state import GATE_TEXT, Created, Ended, created, waits_for_pods
from dagster_ray.kuberay._status.errors import (
    ClusterGoneError,
    NameTakenError,
    RayJobEndedError,
    SpecRefusedError,
)
from dagster_ray.kuberay._steps.creation import (
    Attempt,
    ClusterRequest,
    await_end,
    find_lost,
    is_going_and_ours,
    refuse_strategy,
    whose,
)
from dagster_ray.kuberay._steps.ending import ending_of, ends_when_failed
from dagster_ray.kuberay._steps.handed_secret import hand_over
from dagster_ray.kuberay._steps.heartbeat import Alive, Heartbeat, Sign
from dagster_ray.kuberay._steps.preflight import Preflight, PreflightCheck
from dagster_ray.kuberay._steps.wait import ClusterWait, Reach

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_CHECK_SECONDS = 10.0
_AGAIN_SECONDS = 0.5


class StepCluster:
    """The RayJob or RayCluster of one step: asked for, waited for, greeted, looked after, and given up.

    Its methods are called in the order of a step: `create` or `use`, `wait`, `greet`, `record_outcome`, `delete`,
    `close`. What takes no deadline of its own spends the one that all phases share.

    Attributes:
        api: The Kubernetes API, which `close` closes.
        deadline: What creating, waiting and connecting may take together.
        context: The step's context.
        log: The step's log.
        reach: How the head is reached, and what the wait is for.
        own: The object as the API server gave it; None while there is none.
        route: The way to the head; None while it does not answer.
        token: The cluster's token, once it was greeted; None if it has none.
    """

    def __init__(self, api: "KubernetesApi", reach: Reach, context: DagsterContext, deadline: Deadline) -> None:
        """Ask for nothing yet."""
        self.api, self.context, self.deadline, self.log, self.reach = api, context, deadline, log_of(context), reach
        self.own: Created | None = None
        self.route: Route | None = None
        self.token: str | None = None
        self._request: ClusterRequest | None = None
        self._wait: ClusterWait | None = None
        self._heartbeat: Heartbeat | None = None
        self.is_closed = False

    @classmethod
    def open(
        cls, kubeconfig: tuple[str | None, str | None], reach: Reach, context: DagsterContext, deadline: Deadline
    ) -> Self:
        """Return a cluster on the Kubernetes that a kubeconfig's file and context name. Imports kubernetes."""
        from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

        return cls(KubernetesApi.load(*kubeconfig), reach, context, deadline)

    # What is known

    @property
    def made(self) -> Created:
        """The object, which there is."""
        assert self.own is not None  # noqa: S101 - set by create or use
        return self.own

    @property
    def may_exist(self) -> bool:
        """Whether there is, or may be, an object that this step has asked for."""
        return self._request is not None

    @property
    def cluster_name(self) -> str | None:
        """The RayCluster's name; None while it is not known."""
        return self._wait.cluster if self._wait is not None else None

    @property
    def head_pod(self) -> str | None:
        """The head's pod, as far as is known."""
        return self._wait.head_pod if self._wait is not None else None

    @property
    def is_shared(self) -> bool:
        """Whether other steps may use, or have used, the RayCluster as well: this step has not asked for it."""
        own = self.own
        return own is not None and (self._request is None or bool(at(own.manifest, "spec", SELECTOR)))

    @property
    def queued_seconds(self) -> float:
        """Seconds that a queue held the cluster back."""
        return self._wait.queued_seconds if self._wait is not None else 0.0

    # From nothing to an object

    @property
    def is_direct(self) -> bool:
        """Whether this process dials the head itself."""
        return self.reach.is_direct(in_cluster=self.api.in_cluster)

    def check_before(self, request: ClusterRequest, level: Preflight, feature: str, *, is_driver: bool = True) -> None:
        """Raise if what is about to be created cannot work; `PreflightCheck.run` has the errors."""
        features = (feature,) if self.is_direct else (feature, "port-forward")
        features = features if request.handed is None else (*features, "secret-context")
        PreflightCheck(self.api, self.deadline, self.log).run(request, features, level, is_driver=is_driver)

    def create(self, request: ClusterRequest) -> None:
        """POST the object under the first free name, then the Secret that its containers wait for, if there is one.

        A name that an object of dagster-ray keeps while it is being deleted is waited for.

        Raises:
            NameTakenError: All names are taken by objects that are not ours, or no longer fit.
            NotReadyError: The deadline passed while an earlier object of the name was being deleted.
            FieldNotSupportedError: The API server's CRD is older than a field of the spec.
            CannotStartError: A quota, an admission policy or a namespace that ends keeps the object out.
            KubernetesError: The API server refused for another reason.
            InvalidSpecError, NotReadyError: The Secret cannot be made; the object exists.
        """
        self.own, self._request = None, request
        with self.if_refused(self.forget):
            attempt = Attempt(request, self.api.server, self.log)
            while self.own is None:
                try:
                    answer = self.api.create(request.kind, request.namespace, attempt.body, self.deadline)
                    self.own = created(request.kind, request.namespace, answer)
                except ConflictError:
                    self._take_name(attempt)
                except KubernetesError as error:
                    attempt.after(error)
        self.log.info("%s was created.", self.own.target)
        self.hand_over()

    def hand_over(self) -> None:
        """Make the Secret that the object's containers wait for; nothing if they wait for none, or it is there.

        Raises:
            InvalidSpecError, NameTakenError, NotReadyError, KubernetesError: As the function `hand_over`.
        """
        if self._request is not None and self._request.handed is not None:
            hand_over(self.api, self.made, self._request.handed, self.deadline)

    def use(self, own: Created, request: ClusterRequest | None = None) -> None:
        """Take an object that exists. Without a request it is never deleted."""
        self.own, self._request = own, request

    @contextmanager
    def if_refused(self, forget: Callable[[], None]) -> Generator[None]:
        """Call `forget`, which drops what the cleanup would look for, if the body fails and has made nothing.

        A refusal proves that only if every attempt before it was answered: a server may carry out a request, lose the
        answer, and refuse the repetition, for example because the first request has used up the quota. A name that is
        taken was read after the last attempt, so that it is proof as well.
        """
        unanswered = self.api.unanswered_writes
        try:
            yield
        except DagsterRayError as error:
            all_answered = not isinstance(error, UnavailableError) and self.api.unanswered_writes == unanswered
            if all_answered or isinstance(error, NameTakenError):
                forget()
            raise

    def forget(self) -> None:
        """Let `delete` look for nothing."""
        self._request = None

    def _take_name(self, attempt: Attempt) -> None:
        """Take the object that has the name if it is ours, else go on to the next name."""
        request = attempt.request
        try:
            existing = self.api.get(request.kind, request.namespace, attempt.name, self.deadline)
        except NotFoundError:  # it went in between, so the name is free
            if self.deadline.sleep(_AGAIN_SECONDS):
                return
            raise
        found = created(request.kind, request.namespace, existing)
        if whose(request.kind, existing, request.manifest) == "ours":
            self.own = found
        elif not attempt.next_name():
            if not is_going_and_ours(existing):
                raise NameTakenError(found.target)
            self.log.info("%s from an earlier step is still being deleted. This step waits for its name.", found.target)
            await_end(self.api, found, self.deadline)

    # From an object to a head that answers

    def wait(self, *, even_if_complete: bool = False) -> Route:
        """Return the way to the head once it answers: drivers, or the dashboard, as the plan says.

        An operator that refuses the deletion strategy although its CRD has it (KubeRay 1.5 with default gates) gets
        the portable form in a second RayJob.

        Args:
            even_if_complete: Whether a RayJob whose job has succeeded is a goal as well, while its cluster is there.

        Raises:
            SpecRefusedError, RayJobEndedError, ClusterGoneError, CannotStartError: No driver will ever connect.
            QueueTimeoutError: A queue held the RayJob for too long.
            OperatorSilentError, ClientPortClosedError, NotReadyError: The deadline passed.
        """
        while True:
            self._close_route()
            self._wait = ClusterWait(self.api, self.made, self.reach, self.log, even_if_complete=even_if_complete)
            try:
                self.route = route = self._wait.run(self.deadline)
            except SpecRefusedError as error:
                own, request = self.made, self._request
                is_portable = portable_spec(mapping(own.manifest.get("spec"))) is not None
                if request is None or GATE_TEXT not in error.message or not is_portable:
                    raise
            else:
                return route
            self.log.info("%s: this operator refuses deletionStrategy; the portable form is used.", own.target)
            self.api.delete(own.kind, own.namespace, own.name, self.deadline, uid=own.uid)
            refuse_strategy(self.api.server)
            self.create(request)

    def greet(self) -> None:
        """Read the cluster's token, and make sure that Ray Client will be understood.

        Raises:
            TokenRequiredError: The cluster wants a token, and we have none or a wrong one.
            VersionMismatchError: Ray or Python differ too much.
            KubernetesError, CredentialsError: The token cannot be read.
        """
        self.read_token()
        url = self.route.dashboard_url if self.route is not None else None
        if url is not None:
            own, seconds = self.made, self.deadline.remaining_seconds()
            by_kubernetes = is_judged_by_kubernetes(own.cluster_spec)
            greet(own.target, url, self.token, seconds, self.log, by_kubernetes=by_kubernetes)

    def read_token(self) -> str | None:
        """Read the cluster's token; None if it has none."""
        self.token = read_token(self.api, self.made, self.cluster_name or self.made.name, self.deadline)
        return self.token

    def keep_alive(self, sign: Sign | None = None, interval_seconds: float | None = None) -> None:
        """Renew an annotation of the object from now on, until `stop_heartbeat`.

        Args:
            sign: The annotation as it was applied. None: one by which the cleanup sensors of all Dagster instances
                know that this step lives, whatever they know of its run.
            interval_seconds: Seconds between renewals. None: ten minutes.
        """
        self.stop_heartbeat()
        self._heartbeat = Heartbeat(self.api, self.made, sign or Alive(), interval_seconds or ALIVE_SECONDS, self.log)

    def stop_heartbeat(self) -> Sign | None:
        """End the renewals; return the annotation as it was renewed last, None if there was none."""
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is None:
            return None
        heartbeat.stop()
        return heartbeat.sign

    # While it is used

    def check(self) -> None:
        """Raise if the RayJob has ended, or it or the RayCluster is gone; take note of a new head pod.

        An API server that cannot be asked is no reason: the cluster may be well.
        """
        own = self.made
        try:
            found = self.api.get(own.kind, own.namespace, own.name, Deadline(_CHECK_SECONDS))
        except NotFoundError as error:
            raise ClusterGoneError(own.target, "it was deleted by somebody else") from error
        except DagsterRayError as error:
            self.log.warning("%s could not be read: %s", own.target, error)
            return
        state = own.state_of(found)
        if at(found, "metadata", "uid") != own.uid or (isinstance(state, Ended) and state.is_deleted):
            raise ClusterGoneError(own.target, "it was deleted by somebody else")
        if isinstance(state, Ended):
            raise RayJobEndedError(own.target, state.status, state.reason, state.message)
        self.note(found)
        self.note_raycluster()

    def note(self, manifest: Manifest) -> None:
        """Take in the object as it was read after the wait, so that the route finds a new head pod."""
        if self._wait is not None:
            self._wait.take(manifest)

    def note_raycluster(self) -> Manifest | None:
        """Take note of the head pod that the RayCluster has now; return the RayCluster, None if not known.

        A RayJob's own copy of that status stands still once the operator has seen all pods ready.
        """
        own, waiting, deadline = self.made, self._wait, Deadline(_CHECK_SECONDS)
        if waiting is None or waiting.cluster is None:
            return None
        try:
            found = self.api.listed(RAYCLUSTERS, own.namespace, waiting.cluster, deadline)
        except DagsterRayError as error:
            self.log.debug("The RayCluster of %s could not be read: %s", own.target, error)
            return None
        if found is not None:
            waiting.take_cluster(found)
        return found

    def change(self, patch: Mapping[str, Any], deadline: Deadline) -> Manifest:
        """Send a merge patch to the object, if it is still the one that is meant; return the object."""
        own = self.made
        body = {**patch, "metadata": {**mapping(patch.get("metadata")), "uid": own.uid}}
        return self.api.patch(own.kind, own.namespace, own.name, body, deadline)

    # The end

    def record_outcome(self, outcome: StepOutcome, deadline: Deadline, *, always: bool) -> None:
        """Write how the step ended, and what follows from it, into the RayJob while its driver still runs.

        If the operator now deletes what the spec says for a failure, nothing is left for `delete`.

        Args:
            outcome: How the step ended.
            deadline: Ends the call.
            always: Whether the lifecycle deletes the RayJob after every outcome.
        """
        own = self.made
        ending = ending_of(mapping(own.manifest.get("spec")), outcome, always=always)
        if ending.patch is None:
            return
        try:
            seen = self.change(ending.patch, deadline)
        except DagsterRayError as error:
            self.log.warning("%s: the outcome could not be written: %s", own.target, error)
            return
        if not ending.left_to_operator:
            return
        if waits_for_pods(seen) and not ends_when_failed(mapping(own.manifest.get("spec"))):
            self.log.info("%s: a pod is missing, so the operator would never see the failure.", own.target)
        else:
            self.log.info("%s: the operator does what the spec says for a failure.", own.target)
            self.forget()

    def delete(self, deadline: Deadline) -> None:
        """Delete the object if this step has asked for it, also if its creation was interrupted."""
        self.stop_heartbeat()
        if self._request is None:
            return
        found = self.own or find_lost(self.api, self._request, deadline)
        if found is None:
            return
        how = propagation_of(found.kind)
        try:
            deletion = self.api.delete(
                found.kind, found.namespace, found.name, deadline, uid=found.uid, propagation=how
            )
        except ConflictError:  # another uid: somebody made a new object of this name
            deletion = "gone"
        self.log.info("%s %s.", found.target, SAID_OF_DELETION[deletion])

    def _close_route(self) -> None:
        if self.route is not None:
            self.route.close()
            self.route = None

    def close(self) -> None:
        """End the renewals, and close the connections to the head and to Kubernetes."""
        self.is_closed, self.token = True, None
        self.stop_heartbeat()
        self._close_route()
        self.api.close()
