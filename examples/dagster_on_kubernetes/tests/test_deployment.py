"""What the guide "Dagster on Kubernetes" deploys fits the named charts, the API server, and what the steps need.

Checked: every key of the Helm values, every plain manifest, the labels that the network policies select, the module
that the code location serves. Not checked here: the Dockerfile and kind.sh, which need Docker, and dagster_cloud.yaml,
which a Dagster+ agent reads; they are parsed or read only. dagster-k8s is not installed here: it asks for an older
kubernetes than the one that the workspace tests.
"""

# YAML has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dagster_ray.simulator import Simulator

EXAMPLE = Path(__file__).parents[1]
DEPLOY = EXAMPLE / "deploy"
GUIDE = EXAMPLE.parents[1] / "docs/dagster-on-kubernetes.md"
KEYS = EXAMPLE / "tests/helm_keys"
CHARTS = {"dagster": "dagster", "kuberay": "kuberay-operator", "agent": "dagster-cloud-agent"}
"""The values files, and the charts that they are for."""
PLURALS = {
    "NetworkPolicy": "networkpolicies",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ServiceAccount": "serviceaccounts",
}
MANIFESTS = [
    pytest.param(obj, id=f"{path.name}: {obj['kind']}")
    for path in (DEPLOY / "rights.yaml", DEPLOY / "service-account.yaml", DEPLOY / "network-policies.yaml")
    for obj in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
# What construct_dagster_k8s_job of dagster-k8s 0.29.27 gives every pod; K8sRunLauncher adds the component run_worker,
# k8s_job_executor step_worker.
LAUNCHER_LABELS = {
    "app.kubernetes.io/name": "dagster",
    "app.kubernetes.io/instance": "dagster",
    "app.kubernetes.io/part-of": "dagster",
}
FEATURES = "interactive,diagnosis,cleanup"


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every value; the items of a list have the path of the list with `[]`."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from keys_of(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from keys_of(item, f"{path}[]")
    else:
        yield path


def is_known(key: str, listed: set[str]) -> bool:
    """Return whether a chart has a key. Kubernetes defines what is below a line that ends in ` *`."""
    opened = [line.removesuffix(" *") for line in listed if line.endswith(" *")]
    return key in listed or any(key == start or key.startswith((f"{start}.", f"{start}[]")) for start in opened)


def chart_keys(chart: str) -> tuple[str, set[str]]:
    """Return the release of a chart whose keys are kept, and the keys of its values.yaml."""
    (path,) = KEYS.glob(f"{chart}-[0-9]*.txt")
    return path.stem.removeprefix(f"{chart}-"), set(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("name", CHARTS)
def test_every_key_of_the_values_is_one_of_the_named_chart(name: str) -> None:
    path = DEPLOY / f"{name}-values.yaml"
    release, listed = chart_keys(CHARTS[name])
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# For the chart {CHARTS[name]} {release}.")
    assert [key for key in keys_of(yaml.safe_load(text)) if not is_known(key, listed)] == []


def test_a_misspelled_key_is_not_known() -> None:
    _release, listed = chart_keys("dagster")
    assert is_known("dagster-user-deployments.deployments[].env[].name", listed)
    assert not is_known("dagster-user-deployments.deployments[].dagsterApiGrpcArg[]", listed)
    assert not is_known("dagster-user-deployments.serviceAccountName", listed)


def test_the_guide_and_the_recipe_install_the_releases_that_are_checked() -> None:
    for text in (GUIDE.read_text(encoding="utf-8"), (DEPLOY / "kind.sh").read_text(encoding="utf-8")):
        found = dict(re.findall(r"helm upgrade --install \S+ (\S+) .*--version (\S+)", text))
        assert {"dagster", "kuberay-operator"} <= set(found)
        assert {chart: chart_keys(chart)[0] for chart in found} == found


def test_the_recipe_is_the_guides() -> None:
    lines = [line for line in (DEPLOY / "kind.sh").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert "\n".join(lines[1:]) in GUIDE.read_text(encoding="utf-8")
    for path in re.findall(r"deploy/[\w.-]+", "\n".join(lines)):
        assert (EXAMPLE / path).is_file()


@pytest.fixture(scope="module")
def simulator() -> Generator[Simulator]:
    with Simulator(fake_heads=True) as found:
        found.store.create("namespaces", {"metadata": {"name": "dagster"}})
        yield found


@pytest.mark.parametrize("obj", MANIFESTS)
def test_the_api_server_accepts_the_manifests(simulator: Simulator, obj: dict[str, Any]) -> None:
    """As `kubectl apply --dry-run=server` asks it, with strict validation of fields."""
    group = "api/v1" if obj["apiVersion"] == "v1" else f"apis/{obj['apiVersion']}"
    url = f"{simulator.url}/{group}/namespaces/{obj['metadata']['namespace']}/{PLURALS[obj['kind']]}"
    request = urllib.request.Request(
        f"{url}?dryRun=All&fieldValidation=Strict",
        json.dumps(obj).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201


def test_the_rights_are_those_that_the_command_prints() -> None:
    account = ["--namespace", "dagster", "--service-account", "dagster-user-code"]
    printed = subprocess.run(
        [str(Path(sys.executable).with_name("dagster-ray")), "rbac", "--feature", FEATURES, *account],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed == (DEPLOY / "rights.yaml").read_text(encoding="utf-8")
    assert f"dagster-ray rbac --feature {FEATURES} {' '.join(account)}" in GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize("component", ["run_worker", "step_worker"])
def test_the_network_policy_lets_the_pods_of_dagsters_launcher_in(component: str) -> None:
    labels = {**LAUNCHER_LABELS, "app.kubernetes.io/component": component}
    (policy,) = yaml.safe_load_all((DEPLOY / "network-policies.yaml").read_text(encoding="utf-8"))
    steps = policy["spec"]["ingress"][1]
    (peer,) = steps["from"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    (expression,) = peer["podSelector"]["matchExpressions"]
    assert labels[expression["key"]] in expression["values"]
    assert [port["port"] for port in steps["ports"]] == [10001, 8265]


def test_the_image_has_the_module_that_the_code_location_serves() -> None:
    values = yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text(encoding="utf-8"))
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"] == ["--module-name", "definitions"]
    dockerfile = (EXAMPLE / "Dockerfile").read_text(encoding="utf-8")
    assert "definitions.py /opt/code/" in dockerfile
    assert "ENV PYTHONPATH=/opt/code" in dockerfile
    agent = yaml.safe_load((DEPLOY / "dagster_cloud.yaml").read_text(encoding="utf-8"))
    assert agent["locations"][0]["code_source"] == {"module_name": "definitions"}


LOOK = """
import definitions
repository = definitions.definitions.get_repository_def()
print(type(definitions.definitions.resources["ray_cluster"]).__name__, definitions.definitions.executor is not None,
      [sensor.name for sensor in repository.sensor_defs])
"""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        pytest.param({}, "LocalRay False []", id="on a laptop"),
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
            "KubeRayInteractiveJob True ['cleanup_expired_rayclusters']",
            id="in a pod",
        ),
    ],
)
def test_the_code_location_chooses_by_where_it_runs(tmp_path: Path, variables: Mapping[str, str], said: str) -> None:
    """An executor of Dagster's own is in the place of that of dagster-k8s."""
    stand_in = "from dagster import multiprocess_executor as k8s_job_executor\n"
    (tmp_path / "dagster_k8s.py").write_text(stand_in, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=EXAMPLE,
        env={**os.environ, "PYTHONPATH": str(tmp_path), **variables},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == said, done.stderr
