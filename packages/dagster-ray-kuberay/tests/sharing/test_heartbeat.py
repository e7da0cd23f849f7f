"""The heartbeat itself: nothing but proof ends it, and `stop` does."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fault_world import eventually, simulated
from scripted_server import Handler, Reply, ScriptedServer, answer, reset
from typing_extensions import override

from dagster_ray.core import Deadline, Lifecycle, RayResource
from dagster_ray.kuberay import ClusterSharing, KubeRayCluster
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.heartbeat import Heartbeat, Sign
from dagster_ray.kuberay.groups import head_group

pytestmark = pytest.mark.many_processes  # make test runs them

BEFORE = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
LOCK = Lock("a", "run", "step", BEFORE, BEFORE, 10)
CLUSTER: dict[str, Any] = {"metadata": {"name": "c", "namespace": "default", "uid": "u", "resourceVersion": "1"}}
OWN = created(RAYCLUSTERS, "default", CLUSTER)
INTERVAL_SECONDS = 0.02


def refusal(code: int, message: str = "", **details: Any) -> Reply:
    return answer(code, {"kind": "Status", "code": code, "message": message, "details": details})


def as_patched(handler: Handler) -> None:
    """Answer with the cluster as it is after the patch."""
    patch: Any = handler.server.seen[-1].body or {"metadata": {}}
    answer(200, {"metadata": {**CLUSTER["metadata"], **patch["metadata"]}})(handler)


def going(handler: Handler) -> None:
    answer(200, {"metadata": {**CLUSTER["metadata"], "deletionTimestamp": "2026-01-01T12:00:00Z"}})(handler)


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Away(logging.Handler):
    """A storage that is away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.asked.set()
        raise OSError("the database is away")


class Hanging(Away):
    """A storage that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.asked.set()
        self.released.wait(60)


def running() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@dataclass(frozen=True, slots=True)
class Beating:
    heartbeat: Heartbeat
    server: ScriptedServer

    @property
    def renewals(self) -> int:
        return len([seen for seen in self.server.seen if seen.method == "PATCH"])

    @property
    def is_alive(self) -> bool:
        return "dagster-ray heartbeat" in running()

    def goes_on(self) -> None:
        """Wait for three more renewals."""
        before = self.renewals
        eventually(lambda: self.renewals >= before + 3)
        assert self.is_alive


@contextmanager
def beating(
    tmp_path: Path, *replies: Reply, handler: logging.Handler | None = None, sign: Sign = LOCK
) -> Generator[Beating]:
    """Yield a heartbeat that gets these answers; after the last one the server does what it should."""
    log = logging.Logger("probe")
    log.addHandler(handler or Kept())
    with ScriptedServer(answer(200, CLUSTER), *replies, as_patched) as server:
        kubeconfig = {
            "clusters": [{"name": "k", "cluster": {"server": server.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "current-context": "c",
        }
        path = tmp_path / "config"
        path.write_text(json.dumps(kubeconfig))
        api = KubernetesApi.load(str(path))
        api.get(RAYCLUSTERS, "default", "c", Deadline(10))  # whose answer tells the time
        heartbeat = Heartbeat(api, OWN, sign, INTERVAL_SECONDS, log)
        try:
            yield Beating(heartbeat, server)
        finally:
            heartbeat.stop()
            api.close()


SURVIVED: dict[str, Reply] = {
    "a webhook's denial, which is a 400": refusal(400, 'admission webhook "x" denied the request'),
    "a 422 for the length of the annotations": refusal(
        422, causes=[{"field": "metadata.annotations", "message": "Too long"}]
    ),
    "a 403": refusal(403, "forbidden"),
    "a 401": refusal(401, "Unauthorized"),
    "a 409": refusal(409, "the object has been modified"),
    "one 404 that names the object": refusal(404, name="c", kind="rayclusters"),
    "a 404 of the kind": answer(404, "404 page not found"),
    "a 404 of a proxy": answer(404, {"detail": "Not Found"}),
    "a 503 for longer than a call waits": answer(503, "starting", Retry_After="60"),
    "a webhook that removes the annotation": answer(200, CLUSTER),
}


@pytest.mark.parametrize("reply", SURVIVED.values(), ids=SURVIVED)
def test_it_goes_on_and_says_so_once(tmp_path: Path, reply: Reply) -> None:
    kept = Kept()
    with beating(tmp_path, reply, handler=kept) as it:
        it.goes_on()
        eventually(lambda: kept.lines[-1:] == ["RayCluster default/c: the annotation dagster/lock-a is renewed again."])
    assert len([line for line in kept.lines if "could not be renewed" in line]) == 1


ABSORBED: dict[str, Reply] = {
    "a 503": refusal(503, "starting"),
    "a connection that breaks": reset,
    "a login page with 200": answer(200, "<html>log in</html>"),
    "a redirect": answer(302, "", Location="https://login.example.com/"),
}


@pytest.mark.parametrize("reply", ABSORBED.values(), ids=ABSORBED)
def test_what_passes_within_one_call_is_not_worth_a_line(tmp_path: Path, reply: Reply) -> None:
    kept = Kept()
    with beating(tmp_path, reply, handler=kept) as it:
        it.goes_on()
    assert kept.lines == []


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        pytest.param([going], "the object is being deleted while this step uses it", id="it is being deleted"),
        pytest.param(
            [refusal(422, causes=[{"field": "metadata.uid", "message": "field is immutable"}])],
            "another object has its name while this step uses it",
            id="another uid",
        ),
        pytest.param(
            [refusal(404, name="c", kind="rayclusters")] * 2,
            "the API server does not know the object while this step uses it",
            id="two 404 that name it",
        ),
    ],
)
def test_proof_ends_it(tmp_path: Path, replies: list[Reply], said: str) -> None:
    kept = Kept()
    with beating(tmp_path, as_patched, *replies, handler=kept) as it:
        eventually(lambda: not it.is_alive)
        assert it.renewals == 1 + len(replies)
    assert kept.lines[-1] == f"RayCluster default/c: {said}."


def test_stop_ends_it(tmp_path: Path) -> None:
    with beating(tmp_path) as it:
        it.goes_on()
        it.heartbeat.stop()
        assert not {"dagster-ray heartbeat", "dagster-ray messages"} & running()


def test_each_renewal_writes_the_lock_whole_with_the_time_of_the_server(tmp_path: Path) -> None:
    with beating(tmp_path) as it:
        it.goes_on()
        patch: Any = it.server.seen[-1].body
        written = json.loads(patch["metadata"]["annotations"]["dagster/lock-a"])
    assert patch["metadata"]["uid"] == "u"
    assert written.keys() == json.loads(LOCK.text()).keys()
    assert datetime.fromisoformat(written["applied_at"]) == BEFORE
    assert written["renewed_at"] > written["applied_at"]
    assert isinstance(it.heartbeat.sign, Lock)
    assert it.heartbeat.sign.renewed_at > BEFORE


@dataclass(frozen=True, slots=True)
class Alive:
    """A sign of life that is no lock."""

    broken: Callable[[], bool] = lambda: False
    key: str = "example.com/alive-at"
    at: str = ""

    def text(self) -> str:
        return self.at

    def renewed(self, now: datetime) -> "Alive":
        if self.broken():
            raise ValueError("Invalid header value b'Bearer canary'")
        return Alive(self.broken, self.key, now.isoformat())


def test_what_is_renewed_is_the_callers_choice(tmp_path: Path) -> None:
    with beating(tmp_path, sign=Alive()) as it:
        it.goes_on()
        patch: Any = it.server.seen[-1].body
        assert list(patch["metadata"]["annotations"]) == ["example.com/alive-at"]


def test_an_exception_that_is_not_ours_ends_nothing_and_its_text_is_not_shown(tmp_path: Path) -> None:
    """Such as that of a token file which is empty for a moment, or that of a header, which quotes the token."""
    kept, broken = Kept(), threading.Event()
    broken.set()
    with beating(tmp_path, handler=kept, sign=Alive(broken.is_set)) as it:
        eventually(lambda: kept.lines)
        broken.clear()
        it.goes_on()
    assert "ValueError" in kept.lines[0]
    assert "canary" not in "".join(kept.lines)


def test_a_log_that_refuses_its_messages_ends_nothing(tmp_path: Path) -> None:
    away = Away()
    with beating(tmp_path, refusal(400, "denied"), handler=away) as it:
        assert away.asked.wait(60)
        it.goes_on()


def test_a_log_that_hangs_keeps_no_renewal_waiting(tmp_path: Path) -> None:
    hanging = Hanging()
    with beating(tmp_path, refusal(400, "denied"), handler=hanging) as it:
        assert hanging.asked.wait(60)
        it.goes_on()
        hanging.released.set()


# In a run


def test_the_api_server_and_dagsters_storage_may_be_away_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The lock is renewed as soon as the API server is back, and the step succeeds."""
    spec: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}
    history, away = tmp_path / "history", tmp_path / "away"
    with simulated() as simulator:

        def patches() -> int:
            return len([request for request in simulator.requests if request.method == "PATCH"])

        @dg.asset
        def step(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
            history.rename(away)
            with simulator.faults.outage() as fault:
                before = patches()
                eventually(lambda: fault.hits and patches() > before + 8)  # more than one renewal sends
            with pytest.raises(Exception, match="unable to open database file"):
                context.log.info("the storage is away")
            before = patches()
            eventually(lambda: patches() > before + 2)
            shutil.rmtree(history, ignore_errors=True)
            away.rename(history)

        cluster = KubeRayCluster(
            kubeconfig_file=str(simulator.kubeconfig),
            lifecycle=Lifecycle(connect=False),
            ray_cluster={"spec": spec},
            cluster_sharing=ClusterSharing(enabled=True, ttl_seconds=10, renew_seconds=0.05),
        )
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            assert dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance).success
    said = capfd.readouterr().err
    assert "could not be renewed. This is tried again while the step lives." in said
    assert "is renewed again." in said
