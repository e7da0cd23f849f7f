"""Why the containers of a pod do not run, or do not get ready. Pure.

Reasons and messages are kubelet's: pkg/kubelet/container/sync_result.go, pkg/kubelet/kuberuntime, and
pkg/kubelet/prober/prober.go of Kubernetes 1.36.
"""

import re
from collections.abc import Iterator

from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, condition_of, is_head, is_true, sentence_end
from dagster_ray.kuberay._diagnosis.images import PULL_REASONS, image_trouble
from dagster_ray.kuberay._diagnosis.patience import Proof
from dagster_ray.kuberay._diagnosis.situations import CANNOT_RUN, PROOFS, Code, Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, name_of, text, whole

_NOT_STARTED = {"RunContainerError", "StartError", "ContainerCannotRun"}
# Of a shell, and of a runtime that finds nothing to start (reason StartError).
_NO_COMMAND = {126, 127, 128}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError"}
_PROBE_FAILURES = 3  # Fewer are usual while Ray starts: KubeRay's probe begins after 10 s.
_BACK_OFF = re.compile(r'Back-off pulling image "[^"]*": (?:\w+: )?')  # so that the sentence stays as it is meanwhile
_NO_WGET = re.compile(r"wget: (?:command )?not found|\"wget\": executable file not found|wget: No such file")
_VERSIONS = re.compile(
    r"Version mismatch: The cluster was started with:\s+Ray: (\S+)\s+Python: (\S+)\s+"
    r"This process on .*? was started with:\s+Ray: (\S+)\s+Python: (\S+)"
)

# What the message of a container, of a mount or of an event names as missing (pkg/kubelet/kubelet_pods.go,
# pkg/volume/secret/secret.go, pkg/volume/configmap/configmap.go). The Secret or ConfigMap may still be made.
_MISSING: tuple[tuple[Code, re.Pattern[str]], ...] = (
    (
        "key-missing",
        re.compile(r"couldn't find key .+ in (?:Secret|ConfigMap)|references non-existent .*key"),
    ),
    ("secret-missing", re.compile(r'secrets? "[^"]+" not found')),
    ("config-map-missing", re.compile(r'configmaps? "[^"]+" not found')),
)


def missing_object(message: str) -> Code | None:
    """Return which kind of object a message says is missing; None if it says something else."""
    return next((code for code, pattern in _MISSING if pattern.search(message)), None)


def waiting_trouble(reason: str, message: str) -> Code | None:
    """Return what keeps a container waiting; None if it only starts."""
    if reason in PULL_REASONS:
        return image_trouble(reason, message)
    if reason == "CrashLoopBackOff" or reason in _NOT_STARTED:
        return "container"
    if reason in _CONFIG:
        return "runs-as-root" if "runAsNonRoot" in message else missing_object(message) or "container-config"
    return None


def ray_container(spec: Manifest) -> str:
    """Return the name of the container that runs Ray: the first one of a pod (KubeRay); empty where there is none."""
    containers = mappings(spec.get("containers"))
    return text(containers[0], "name") if containers else ""


def ray_container_of(cluster_spec: Manifest) -> str:
    """Return the name of the container that runs Ray in the head of a cluster; empty where the spec has none."""
    return ray_container(mapping(at(cluster_spec, "headGroupSpec", "template", "spec")))


def _keeps_drivers_away(pod: Manifest, name: str) -> bool:
    """Return whether a head pod's container that does not run keeps Ray from running: Ray's own, and what comes first.

    A sidecar does not, whatever becomes of it. One among the init containers has a restart policy of its own.
    """
    spec = mapping(pod.get("spec"))
    first = [text(one, "name") for one in mappings(spec.get("initContainers")) if one.get("restartPolicy") != "Always"]
    return is_head(pod) and name in {ray_container(spec), *first}


def container_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the containers of each pod."""
    for pod in facts.pods:
        if text(pod, "metadata", "deletionTimestamp"):
            continue  # it is ended by somebody, and what it ends with says nothing
        for key in ("containerStatuses", "initContainerStatuses"):
            for status in mappings(mapping(pod.get("status")).get(key)):
                yield from _of_container(facts, pod, status)
        yield from _probe(facts, pod)
        yield from _network(facts, pod)
    yield from _worker_waits(facts)


def _of_container(facts: Facts, pod: Manifest, status: Manifest) -> Iterator[Finding]:
    waiting = mapping(mapping(status.get("state")).get("waiting"))
    reason, message = text(waiting, "reason"), text(waiting, "message")
    where = f"container {text(status, 'name')} of pod {name_of(pod)}"
    if reason in PULL_REASONS:
        yield _image(facts, pod, status, where)
        return
    trouble = waiting_trouble(reason, message)
    if trouble is not None and trouble != "container":
        fatal = trouble in PROOFS and _keeps_drivers_away(pod, text(status, "name"))
        yield finding(trouble, reason, f"{where}{sentence_end(message)}", fatal=fatal, of_workers=not is_head(pod))
        return
    yield from _ended(facts, pod, status, where)


def _image(facts: Facts, pod: Manifest, status: Manifest, where: str) -> Finding:
    reason, message = text(status, "state", "waiting", "reason"), text(status, "state", "waiting", "message")
    code = image_trouble(reason, message)
    pulls = [event for event in facts.events_of_pod(pod) if event.message.startswith("Failed to pull")]
    if code == "image-pull" and pulls:  # an old kubelet that backs off: the cause stands in an event only
        message = pulls[-1].message
        code = image_trouble(reason, message)
    attempts = sum(event.count for event in pulls if image_trouble(reason, event.message) == code)
    fatal = code in PROOFS and _keeps_drivers_away(pod, text(status, "name"))
    sentence = f"image {text(status, 'image')} of {where}{sentence_end(_BACK_OFF.sub('', message))}"
    if code == "image-unauthorized":  # pkg/kubelet/kubelet_pods.go
        secrets = [e.message for e in facts.events_of_pod(pod) if e.reason == "FailedToRetrieveImagePullSecret"]
        sentence += "".join(f"; {said}" for said in secrets[-1:])
    return finding(code, reason, sentence, fatal=fatal, of_workers=not is_head(pod), attempts=attempts)


def _ended(facts: Facts, pod: Manifest, status: Manifest, where: str) -> Iterator[Finding]:
    """Yield what a container died of that is down now, or has been started again and is not ready yet."""
    waiting = mapping(mapping(status.get("state")).get("waiting"))
    reason, message = text(waiting, "reason"), text(waiting, "message")
    trouble = waiting_trouble(reason, message)
    end = mapping(mapping(status.get("state")).get("terminated")) or mapping(
        mapping(status.get("lastState")).get("terminated")
    )
    code_of_end = whole(end, "exitCode")
    if trouble is None and (status.get("ready") is True or (code_of_end == 0 and text(end, "reason") != "OOMKilled")):
        return
    restarts, log = whole(status, "restartCount"), facts.log_of(pod)
    workers = not is_head(pod)
    fatal = trouble is not None and _keeps_drivers_away(pod, text(status, "name"))
    again = {0: "", 1: ", restarted once"}.get(restarts, f", restarted {restarts} times")
    if text(end, "reason") == "OOMKilled":
        limit = _memory_limit(pod, text(status, "name"))
        sentence = f"{where} was killed for want of memory{limit} (exit code {code_of_end}{again})"
        yield finding(
            "out-of-memory", "OOMKilled", sentence, fatal=fatal, of_workers=workers, log=log, attempts=restarts
        )
        return
    if (versions := _VERSIONS.search(log or text(end, "message"))) is not None:
        ray, python, own_ray, own_python = versions.groups()
        sentence = f"{where} runs Ray {own_ray} with Python {own_python}; its head Ray {ray} with Python {python}"
        yield finding("version-mismatch", reason, sentence, of_workers=workers, log=log)
        return
    how = f" ended with exit code {code_of_end}{_meaning(code_of_end)}{again}" if end else ""
    said = sentence_end(text(end, "message").strip() or (message if reason != "CrashLoopBackOff" or not end else ""))
    word = reason or text(end, "reason") or "Error"
    yield finding(
        "container",
        word,
        f"{where}{how}{said}",
        fatal=fatal,
        of_workers=workers,
        log=log,
        proof=_proof_of_end(reason, code_of_end),
        attempts=restarts,
    )


def _proof_of_end(reason: str, exit_code: int) -> Proof | None:
    """Return what proves that a container will not run; None for what does as a rule."""
    return CANNOT_RUN if reason in _NOT_STARTED or exit_code in _NO_COMMAND else None


def _meaning(exit_code: int) -> str:
    """Return what a shell or the kernel means by an exit code."""
    words = {126: "not executable", 127: "command not found", 137: "killed", 139: "segmentation fault", 143: "SIGTERM"}
    return f" ({words[exit_code]})" if exit_code in words else ""


def _memory_limit(pod: Manifest, name: str) -> str:
    for container in mappings(mapping(pod.get("spec")).get("containers")):
        limit = mapping(mapping(container.get("resources")).get("limits")).get("memory")
        if container.get("name") == name and isinstance(limit, str | int):
            return f"; its limit is {limit}"
    return ""


def _probe(facts: Facts, pod: Manifest) -> Iterator[Finding]:
    """Yield why a pod that runs does not get ready, as far as its probes tell."""
    if is_true(pod, "Ready"):
        return
    workers = not is_head(pod)
    failures = [event for event in facts.events_of_pod(pod) if event.reason == "Unhealthy"]
    for event in failures:
        if _NO_WGET.search(event.message):
            sentence = f"the probe of pod {name_of(pod)} calls wget, which the image does not have: {event.message}"
            fatal = event.container in {"", ray_container(mapping(pod.get("spec")))}
            yield finding("probe-without-wget", "Unhealthy", sentence, fatal=fatal, of_workers=workers)
            return
    killed = [e for e in facts.events_of_pod(pod) if e.reason == "Killing" and "failed liveness probe" in e.message]
    if killed:
        yield finding("probe-failing", "Killing", f"pod {name_of(pod)}: {killed[-1].message}", of_workers=workers)
    elif (times := sum(event.count for event in failures)) >= _PROBE_FAILURES:
        sentence = f"pod {name_of(pod)} is not ready after {times} failed probes: {failures[-1].message}"
        yield finding("probe-failing", "Unhealthy", sentence, of_workers=workers)


def _network(facts: Facts, pod: Manifest) -> Iterator[Finding]:
    """Yield why a pod that has a node has no sandbox (pkg/kubelet/kuberuntime: FailedCreatePodSandBox)."""
    if text(pod, "status", "podIP") or condition_of(pod, "PodReadyToStartContainers").get("status") == "True":
        return
    failed = [event for event in facts.events_of_pod(pod) if event.reason == "FailedCreatePodSandBox"]
    if failed:
        sentence = f"pod {name_of(pod)} gets no network: {failed[-1].message}"
        yield finding("pod-network", "FailedCreatePodSandBox", sentence, of_workers=not is_head(pod))


def _worker_waits(facts: Facts) -> Iterator[Finding]:
    """Yield the worker whose init container `wait-gcs-ready` (KubeRay) does not find the head, which is ready."""
    heads = [pod for pod in facts.pods if is_head(pod)]
    if not any(is_true(head, "Ready") for head in heads):
        return
    for pod in facts.pods:
        for status in mappings(mapping(pod.get("status")).get("initContainerStatuses")):
            if text(status, "name") == "wait-gcs-ready" and mapping(mapping(status.get("state")).get("running")):
                sentence = f"worker {name_of(pod)} still waits for the GCS of head {name_of(heads[0])}, which is ready"
                yield finding("worker-waits-for-head", "wait-gcs-ready", sentence, of_workers=True)
