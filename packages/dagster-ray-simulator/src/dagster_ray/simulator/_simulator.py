"""`Simulator`: a Kubernetes cluster with the KubeRay operator, in this process."""

import contextlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from dagster_ray.simulator._api.access import ADMIN_TOKEN, Access
from dagster_ray.simulator._api.faults import Faults
from dagster_ray.simulator._api.schema import admit
from dagster_ray.simulator._api.server import ApiServer, Request
from dagster_ray.simulator._api.store import Object, Store
from dagster_ray.simulator._kubelet.kubelet import Kubelet, KubeletOptions
from dagster_ray.simulator._kubelet.resources import RESOURCES, definition
from dagster_ray.simulator._operator.autoscaler import Autoscaler
from dagster_ray.simulator._operator.dashboard import http_dashboard
from dagster_ray.simulator._operator.loop import Operator, OperatorOptions
from dagster_ray.simulator._operator.own_pod import OPERATOR_NAMESPACE, operator_pod

_MARK = "current-context: simulator"


class Simulator:
    """A Kubernetes API server, the KubeRay operator and a node that runs real Ray on this machine.

    Use it as a context manager: everything that it has started ends with it, also when this process is killed.

    Args:
        kuberay_version: The version that operator and CRDs behave as: 1.3 to 1.7, with or without patch release.
        fake_heads: Whether heads become ready without Ray; nothing can be computed on them then.
        operator: Whether the operator runs.
        namespace: A namespace that exists beside `default`.
        port: The API's port on 127.0.0.1; 0 is a free one.
        kubeconfig: Where the kubeconfig is written, and removed at the end; None for a temporary file. A file of
            another cluster is not overwritten: that raises FileExistsError.
        operator_options: How the operator runs.
        kubelet_options: How the node runs.
    """

    def __init__(
        self,
        kuberay_version: str = "1.7.0",
        *,
        fake_heads: bool = False,
        operator: bool = True,
        namespace: str = "default",
        port: int = 0,
        kubeconfig: str | os.PathLike[str] | None = None,
        operator_options: OperatorOptions | None = None,
        kubelet_options: KubeletOptions | None = None,
    ) -> None:
        if kubeconfig is not None:
            _refuse_foreign(Path(kubeconfig))
        self.kuberay_version = kuberay_version
        self.namespace = namespace
        self.store = Store(admit=self._defaulted)
        self.access = Access()
        self.faults = Faults(self.store, self.access)
        self.kubelet = Kubelet(self.store, fake_heads=fake_heads, options=kubelet_options)
        self.kubelet.may_connect = self.access.may_connect
        dashboard = http_dashboard(self.store, self.kubelet.address)
        self.operator = Operator(self.store, kuberay_version, dashboard=dashboard, options=operator_options)
        self._runs_operator = operator
        options = operator_options or OperatorOptions()
        self._autoscaler = Autoscaler(self.store, dashboard) if operator and options.autoscales else None
        self._folder = tempfile.TemporaryDirectory(prefix="kuberay-")
        self.kubeconfig = Path(kubeconfig) if kubeconfig is not None else Path(self._folder.name) / "kubeconfig"
        self._server = ApiServer(self.store, self.faults, self.access, self.kubelet, kuberay_version, port)
        started = self.store.now()
        self._server.objects.operator_pod = lambda: (
            operator_pod(self.operator.version.name, started) if self.operator.is_running else None
        )
        names = {"default", namespace} | ({OPERATOR_NAMESPACE} if operator else set[str]())
        for name in sorted(names):
            self.add_namespace(name)
        for plural in ("rayjobs", "rayclusters"):
            self.store.create("customresourcedefinitions", definition(RESOURCES[plural]))

    @property
    def url(self) -> str:
        """Where the API is served."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> list[Request]:
        """Every request that was received, in order."""
        return self._server.requests

    def add_namespace(self, name: str) -> None:
        """Make a namespace."""
        self.store.create("namespaces", {"metadata": {"name": name}, "status": {"phase": "Active"}})

    def remove_namespace(self, name: str) -> None:
        """Delete a namespace with everything in it."""
        if self.store.get("namespaces", "", name) is not None:
            self.store.delete("namespaces", "", name)

    def __enter__(self) -> Self:
        """Start to serve; what has begun ends if the rest cannot start."""
        try:
            self._write_kubeconfig()
            self.kubelet.start()
            if self._runs_operator:
                self.operator.start()
            if self._autoscaler is not None:
                self._autoscaler.start()
            self._server.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the API, the operator, and every Ray process."""
        self._stop()

    def _stop(self) -> None:
        with contextlib.ExitStack() as ends:
            ends.callback(self._folder.cleanup)
            ends.callback(self.kubeconfig.unlink, missing_ok=True)
            ends.callback(self.kubelet.stop)
            if self._runs_operator:
                ends.callback(self.operator.stop)
            if self._autoscaler is not None:
                ends.callback(self._autoscaler.stop)
            ends.callback(self._server.stop)

    def account(self, token: str) -> dict[str, Any]:
        """Return a kubeconfig, as an object, for another account of `access`."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "simulator",
            "clusters": [{"name": "simulator", "cluster": {"server": self.url}}],
            "users": [{"name": "simulator", "user": {"token": token}}],
            "contexts": [
                {
                    "name": "simulator",
                    "context": {"cluster": "simulator", "user": "simulator", "namespace": self.namespace},
                }
            ],
        }

    def _write_kubeconfig(self) -> None:
        text = yaml.safe_dump(self.account(ADMIN_TOKEN))
        file = os.open(self.kubeconfig, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(file, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as writer:
            writer.write(text)

    def _defaulted(self, kind: str, obj: Object, old: Object | None) -> Object:
        """Prune and default what is stored without the API, for example by the operator."""
        return admit(kind, obj, self.kuberay_version, old).object  # type: ignore[arg-type]


def _refuse_foreign(kubeconfig: Path) -> None:
    """Raise FileExistsError if a file is the kubeconfig of a cluster that is not simulated."""
    if kubeconfig.exists() and _MARK not in kubeconfig.read_text(encoding="utf-8"):
        raise FileExistsError(f"{kubeconfig} is the kubeconfig of another cluster; name a file of its own")
