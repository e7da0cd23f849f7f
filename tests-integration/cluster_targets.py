"""The Kubernetes clusters that the suite can run on. Only this file and conftest.py know which one it is."""

# The official client has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import contextlib
import threading
import uuid
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from kubernetes import client, config
from urllib3.exceptions import InsecureRequestWarning

from dagster_ray.core import Deadline
from dagster_ray.kuberay import KubeRayInteractiveJob

SESSION_LABEL = "dagster-ray-tests"
PATIENCE_SECONDS = 120


def eventually(found: Callable[[], object], what: str) -> None:
    """Return when something is so; the cluster decides how long that takes."""
    deadline = Deadline(PATIENCE_SECONDS)
    never = threading.Event()
    while not found():
        assert not deadline.is_over(), what
        never.wait(0.5)


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """A Kubernetes cluster with the KubeRay operator, for one session of tests."""

    kubeconfig: str
    context: str | None
    namespace: str
    image: str | None
    session: str = field(default_factory=lambda: uuid.uuid4().hex[:10])
    """The value of a label on all that the suite makes."""

    def fields(self, **more: Any) -> dict[str, Any]:
        """Return the fields of a resource on this cluster, with the session's label."""
        metadata: dict[str, Any] = {"namespace": self.namespace, "labels": {SESSION_LABEL: self.session}}
        spec = more.pop("spec", {})
        metadata |= {"labels": {**metadata["labels"], **more.pop("labels", {})}}
        return {
            "kubeconfig_file": self.kubeconfig,
            "kube_context": self.context,
            "image": self.image,
            "ray_job": {"metadata": metadata, "spec": spec},
            **more,
        }

    def pipes_options(self, **more: Any) -> dict[str, Any]:
        """Return the arguments of a Pipes client on this cluster, with the session's label."""
        fields = self.fields(**more)
        return {"template": fields.pop("ray_job"), **fields}

    def cluster_fields(self, **more: Any) -> dict[str, Any]:
        """Return the fields of a `KubeRayCluster` on this cluster, with the session's label."""
        fields = self.fields(**more)
        return {"ray_cluster": fields.pop("ray_job"), **fields}

    def resource(self, **more: Any) -> KubeRayInteractiveJob:
        """Return a resource on this cluster."""
        return KubeRayInteractiveJob(**self.fields(**more))

    def objects(self, plural: str) -> list[Mapping[str, Any]]:
        """Return what the session has made and is still there: rayjobs or rayclusters.

        The operator copies the labels of a RayJob to its RayCluster.
        """
        selector = f"{SESSION_LABEL}={self.session}"
        with self._client() as api:
            found = client.CustomObjectsApi(api).list_namespaced_custom_object(
                "ray.io", "v1", self.namespace, plural, label_selector=selector
            )
        return list(cast("Any", found)["items"])

    def delete_all(self) -> None:
        """Delete every RayJob and RayCluster of the session."""
        for plural in ("rayjobs", "rayclusters"):
            for item in self.objects(plural):
                self._delete(plural, item["metadata"])

    def _delete(self, plural: str, metadata: Mapping[str, Any]) -> None:
        options: Any = {"preconditions": {"uid": metadata["uid"]}}
        with self._client() as api:
            try:
                client.CustomObjectsApi(api).delete_namespaced_custom_object(
                    "ray.io", "v1", self.namespace, plural, metadata["name"], body=options
                )
            except client.ApiException as error:
                if error.status != 404:
                    raise

    @contextlib.contextmanager
    def _client(self) -> Generator[client.ApiClient]:
        # A kubeconfig with insecure-skip-tls-verify: the official client warns of each connection.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)
            with config.new_client_from_config(self.kubeconfig, self.context) as api:
                yield api


@contextlib.contextmanager
def simulator_target(version: str) -> Generator[ClusterTarget]:
    """Yield the simulator with real local Ray heads."""
    from dagster_ray.simulator import Simulator

    with Simulator(version) as simulator:
        yield ClusterTarget(str(simulator.kubeconfig), None, "default", None)


@contextlib.contextmanager
def kubeconfig_target(config: pytest.Config) -> Generator[ClusterTarget]:
    """Yield the cluster of a kubeconfig; what the session made is deleted at the end, also after an interrupt."""
    kubeconfig = config.getoption("--kubeconfig")
    namespace = config.getoption("--namespace")
    if not kubeconfig or not Path(kubeconfig).exists() or not namespace:
        raise pytest.UsageError("--target kubeconfig needs --kubeconfig (a file) and --namespace.")
    target = ClusterTarget(kubeconfig, config.getoption("--context"), namespace, config.getoption("--image"))
    try:
        yield target
    finally:
        target.delete_all()


@contextlib.contextmanager
def kind_target(config: pytest.Config) -> Generator[ClusterTarget]:
    """Yield a kind cluster with the operator, made by pytest-kind. Needs Docker."""
    import shutil
    import subprocess

    from pytest_kind.cluster import KindCluster

    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], check=False, capture_output=True).returncode != 0:
        raise pytest.UsageError("--target kind needs a running Docker daemon.")
    if shutil.which("helm") is None:
        raise pytest.UsageError("--target kind needs helm, which installs the operator.")
    cluster = KindCluster(str(config.getoption("--cluster-name")))
    cluster.create()
    try:
        kubeconfig = str(cluster.kubeconfig_path)
        helm = ["helm", "--kubeconfig", kubeconfig, "upgrade", "--install", "kuberay-operator", "kuberay-operator"]
        release = str(config.getoption("--kuberay-version"))
        repository = ["--repo", "https://ray-project.github.io/kuberay-helm/", "--version", release, "--wait"]
        subprocess.run([*helm, *repository], check=True)
        yield ClusterTarget(kubeconfig, None, "default", config.getoption("--image"))
    finally:
        if not config.getoption("--keep-cluster"):
            cluster.delete()
