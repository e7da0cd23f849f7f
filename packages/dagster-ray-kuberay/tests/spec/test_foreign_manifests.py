"""Manifests as `kubectl get -o yaml` prints them, of several documents, or that choose a cluster that exists."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportArgumentType=false

from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_world import TIMEOUT_SECONDS, eventually, left, run_step, simulated
from pydantic import ValidationError

from dagster_ray.core import Lifecycle
from dagster_ray.kuberay import KubeRayCluster
from dagster_ray.kuberay._head.dashboard import secret_name
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster, render_rayjob
from dagster_ray.kuberay.configs import ClusterSharing, InteractiveRayJobConfig, RayClusterConfig
from dagster_ray.simulator import Simulator

FACTS = RenderInput(name="a", namespace="n", image="i")
TEMPLATE: dict[str, Any] = {
    "metadata": {"creationTimestamp": None},
    "spec": {"containers": [{"name": "h", "image": "i"}]},
}
SPEC: dict[str, Any] = {"headGroupSpec": {"rayStartParams": {}, "template": TEMPLATE}}
FROM_SERVER: dict[str, Any] = {
    "creationTimestamp": None,
    "generation": 3,
    "managedFields": [{"manager": "kubectl"}],
    "resourceVersion": "17",
    "uid": "0a1b",
    "selfLink": "/x",
    "labels": {"team": "a"},
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "1"},
}


def file(folder: Path, *documents: object) -> str:
    (path := folder / "spec.yaml").write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return str(path)


def cluster(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": metadata,
        "spec": SPEC,
        "status": {"state": "ready"},
    }


def test_what_only_a_server_writes_is_left_out(tmp_path: Path) -> None:
    for config in (
        RayClusterConfig(spec_file=file(tmp_path, cluster(name="x", **FROM_SERVER))),
        RayClusterConfig(metadata=FROM_SERVER, spec=SPEC),
    ):
        sent = render_raycluster(config.plain(), FACTS)
        assert sent["metadata"] == {
            "name": "a",
            "namespace": "n",
            "labels": {"team": "a"},
            "annotations": {"kept": "1"},
        }
        assert sent["spec"]["headGroupSpec"]["template"]["metadata"] == {"labels": {}}
        assert "status" not in sent


@pytest.mark.parametrize("key", ["labels", "annotations"])
def test_an_empty_key_of_the_metadata_says_nothing(key: str, tmp_path: Path) -> None:
    config = RayClusterConfig(spec_file=file(tmp_path, cluster(**{key: None})))
    assert key not in config.plain()["metadata"]


EMPTY: dict[str, object] = {
    "jobId": "",
    "entrypoint": "",
    "entrypointNumCpus": 0,
    "entrypointNumGpus": 0.0,
    "runtimeEnvYAML": "",
    "metadata": {},
    "clusterSelector": {},
    "submitterPodTemplate": None,
    "submissionMode": "",
}


@pytest.mark.parametrize(("key", "value"), EMPTY.items())
def test_an_empty_field_of_a_job_says_nothing(key: str, value: object, tmp_path: Path) -> None:
    job = {"kind": "RayJob", "spec": {key: value, "rayClusterSpec": SPEC}}
    sent = render_rayjob(InteractiveRayJobConfig(spec_file=file(tmp_path, job)).plain(), FACTS)["spec"]
    assert sent.get(key) == ("InteractiveMode" if key == "submissionMode" else None)


def test_a_field_that_says_something_is_refused_all_the_same() -> None:
    for spec in ({"jobId": "a"}, {"entrypointNumCpus": 1}, {"submissionMode": "HTTPMode"}):
        with pytest.raises(ValidationError, match="has no place here"):
            InteractiveRayJobConfig(spec=spec)


def test_capitals_in_the_name_of_a_group_are_accepted() -> None:
    group = {"groupName": "GPU-Workers", "template": TEMPLATE}
    sent = render_raycluster(RayClusterConfig(spec={**SPEC, "workerGroupSpecs": [group]}).plain(), FACTS)
    assert sent["spec"]["workerGroupSpecs"][0]["groupName"] == "GPU-Workers"


CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}}
SERVICE = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "serve"}}


def test_of_several_documents_the_one_that_is_meant_is_taken(tmp_path: Path) -> None:
    config = RayClusterConfig(spec_file=file(tmp_path, CONFIG_MAP, cluster(name="x"), SERVICE, None))
    assert config.plain()["spec"]["headGroupSpec"]["rayStartParams"] == {}


@pytest.mark.parametrize(
    ("documents", "text"),
    [
        pytest.param(
            (cluster(name="first"), CONFIG_MAP, {"kind": "RayJob", "metadata": {"name": "second"}}),
            "2 documents that could be meant: RayCluster first, RayJob second",
            id="two of KubeRay",
        ),
        pytest.param((CONFIG_MAP, SERVICE), "it has 2 documents", id="none"),
        pytest.param((SPEC, SPEC), "it has 2 documents", id="two without a kind"),
    ],
)
def test_documents_of_which_none_or_several_are_meant_are_refused(
    documents: tuple[object, ...], text: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=text):
        RayClusterConfig(spec_file=file(tmp_path, *documents))


# A RayJob that selects a cluster


def selecting(folder: Path, **selector: object) -> str:
    return file(
        folder, {"kind": "RayJob", "metadata": {"name": "j"}, "spec": {"entrypoint": "x", "clusterSelector": selector}}
    )


def adopting(simulator: Simulator, path: str, **more: Any) -> KubeRayCluster:
    return KubeRayCluster(
        kubeconfig_file=str(simulator.kubeconfig),
        lifecycle=Lifecycle(connect=False, cleanup="always"),
        timeout=TIMEOUT_SECONDS,
        ray_cluster=RayClusterConfig(spec_file=path),
        **more,
    )


def test_the_cluster_that_a_rayjob_selects_is_used_and_stays(tmp_path: Path) -> None:
    with simulated() as simulator:
        simulator.store.create("rayclusters", {**cluster(name="team", namespace="default")})
        before = len(simulator.requests)
        outcome = run_step(adopting(simulator, selecting(tmp_path, **{"ray.io/cluster": "team"})))
        assert outcome.success, outcome.log
        assert left(simulator) == ["team"]
        methods = {request.method for request in simulator.requests[before:] if "rayclusters" in request.path}
        assert "POST" not in methods
        assert "DELETE" not in methods


def test_nothing_is_made_in_the_place_of_a_selected_cluster_that_does_not_exist(tmp_path: Path) -> None:
    with simulated() as simulator:
        outcome = run_step(adopting(simulator, selecting(tmp_path, **{"ray.io/cluster": "nowhere"})))
        assert not outcome.success
        assert "default/nowhere, which does not exist" in outcome.log
        assert left(simulator) == []


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param({"team": "a"}, id="another label"),
        pytest.param({"ray.io/cluster": "a", "team": "b"}, id="two labels"),
        pytest.param({"ray.io/cluster": ""}, id="no name"),
    ],
)
def test_another_selector_is_refused(selector: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"spec\.clusterSelector"):
        RayClusterConfig(spec_file=selecting(tmp_path, **selector))
    with pytest.raises(ValidationError, match="clusterSelector"):
        InteractiveRayJobConfig(spec={"clusterSelector": selector})


def test_a_selected_cluster_is_not_shared_by_other_rules(tmp_path: Path) -> None:
    config = RayClusterConfig(spec_file=selecting(tmp_path, **{"ray.io/cluster": "team"}))
    with pytest.raises(ValidationError, match="cluster_sharing"):
        KubeRayCluster(ray_cluster=config, cluster_sharing=ClusterSharing(enabled=True))


JUDGED = {**SPEC, "rayVersion": "2.60.0", "authOptions": {"mode": "token", "enableK8sTokenAuth": True}}


def test_the_token_of_the_account_opens_a_cluster_that_lets_kubernetes_judge(tmp_path: Path) -> None:
    """Run with Ray 2.60: its dashboard and its client server take the token of whoever has `ray:write`."""
    assert secret_name(JUDGED, "c") is None, "the operator makes no Secret"
    with simulated() as simulator:
        simulator.store.create("rayclusters", {**cluster(name="team", namespace="default"), "spec": JUDGED})
        path = selecting(tmp_path, **{"ray.io/cluster": "team"})
        outcome = run_step(adopting(simulator, path))
        assert outcome.success, outcome.log
        simulator.faults.deny("ray:write", "rayclusters")
        outcome = run_step(adopting(simulator, path))
        assert "its dashboard answered the account's token with 403 Forbidden: Invalid" in outcome.log
        assert "grant the step's account the verb `ray:write` on rayclusters" in outcome.log
        assert "[dagster-ray: token-required]" in outcome.log


def test_the_simulators_operator_gives_its_pods_no_token_of_a_secret_then() -> None:
    with simulated() as simulator:
        simulator.store.create("rayclusters", {**cluster(name="team", namespace="default"), "spec": JUDGED})
        eventually(lambda: simulator.store.list("pods"))
        (head,) = simulator.store.list("pods")
        assert simulator.store.list("secrets") == []
    env = {one["name"]: one.get("value") for one in head["spec"]["containers"][0]["env"]}
    assert env["RAY_ENABLE_K8S_TOKEN_AUTH"] == "true"
    assert "RAY_AUTH_TOKEN" not in env


def test_a_token_of_rays_own_file_opens_an_existing_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head wants the token of a variable, which no authOptions tell of."""
    (tmp_path / "token").write_text("t0k3n\n")
    for name, value in {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    env = [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "RAY_AUTH_TOKEN", "value": "t0k3n"}]
    template = {"spec": {"containers": [{"name": "h", "image": "i", "env": env}]}}
    made = {
        **cluster(name="team", namespace="default"),
        "spec": {"headGroupSpec": {"rayStartParams": {}, "template": template}},
    }
    with simulated() as simulator:
        simulator.store.create("rayclusters", made)
        path = selecting(tmp_path, **{"ray.io/cluster": "team"})
        outcome = run_step(adopting(simulator, path))
        assert outcome.success, outcome.log
        (tmp_path / "token").write_text("another\n")
        outcome = run_step(adopting(simulator, path))
        assert "[dagster-ray: token-required]" in outcome.log
