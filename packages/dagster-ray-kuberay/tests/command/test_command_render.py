"""`dagster-ray render`: the manifest that would be sent, without values of the environment."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_world import dagster_ray
from fault_world import fields, run_step, simulated

from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay.command._rendered import MARK, References, marked_yaml

CANARY = "canary-4711"
DEFINITIONS = """
import dagster as dg
from dagster_ray.kuberay import ClusterSharing, KubeRayCluster, KubeRayInteractiveJob, RayClusterConfig

secret = {"name": "WITHIN", "value": {"env": "RENDER_SECRET"}}
container = {"name": "ray-head", "env": [secret]}
spec = {"rayClusterSpec": {"headGroupSpec": {"template": {"spec": {"containers": [container]}}}}}
job = KubeRayInteractiveJob(
    image=dg.EnvVar("RENDER_IMAGE"),
    env_vars={"TOKEN": dg.EnvVar("RENDER_SECRET"), "PLAIN": "1"},
    ray_job={"metadata": {"name": {"env": "RENDER_NAME"}}, "spec": spec},
)
shared = KubeRayCluster(cluster_sharing=ClusterSharing(enabled=True), image="own:1")
defs = dg.Definitions(resources={"job": job, "shared": shared, "own": KubeRayCluster(image="own:1"), "number": 1})
"""
CLUSTER_FILE = """
kind: RayCluster
spec:
  headGroupSpec:
    rayStartParams: {}
    template:
      spec:
        containers:
        - name: ray-head
          image: own:1
          ports:
          - {containerPort: 10001, name: client}
          - {containerPort: 8265, name: dashboard}
"""
ENVIRON: dict[str, str | None] = {"RENDER_SECRET": CANARY, "RENDER_IMAGE": f"registry/{CANARY}", "RENDER_NAME": "named"}


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    # A module of its own name for each test: Python keeps modules by name.
    found = tmp_path / f"definitions_{abs(hash(request.node.nodeid))}.py"
    found.write_text(DEFINITIONS, encoding="utf-8")
    return found


def head_env(manifest: dict[str, Any]) -> dict[str, Any]:
    (container,) = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def test_a_file_is_found_by_its_path_although_a_module_of_its_name_is_loaded(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        found = tmp_path / name / "definitions_of_two_folders.py"
        found.write_text(DEFINITIONS.replace("own:1", f"{name}:1"), encoding="utf-8")
        assert f"image: {name}:1" in dagster_ray("render", found, "own").out


def test_references_to_the_environment_stay_references(file: Path) -> None:
    printed = dagster_ray("render", file, "job", environ=ENVIRON)
    assert printed.code == 0, printed.err
    assert CANARY not in printed.out + printed.err
    manifest = yaml.safe_load(printed.out)
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("RayJob", {"env": "RENDER_NAME"})
    env = head_env(manifest)
    assert env["TOKEN"] == {"env": "RENDER_SECRET"}
    assert env["WITHIN"] == {"env": "RENDER_SECRET"}
    assert env["PLAIN"] == "1"
    assert manifest["metadata"]["labels"]["dagster/run-id"] == "RUN-ID"
    assert manifest["metadata"]["labels"]["dagster/cleanup"] == "on_exception"


def test_they_are_resolved_when_somebody_asks_for_it(file: Path) -> None:
    printed = dagster_ray("render", file, "job", "--resolve-env", "--json", environ=ENVIRON)
    assert printed.data["metadata"]["name"] == "named"
    assert head_env(printed.data)["TOKEN"] == CANARY


@pytest.mark.parametrize("flags", [[], ["--resolve-env"]])
def test_variables_that_are_not_set_matter_only_if_they_are_resolved(file: Path, flags: list[str]) -> None:
    printed = dagster_ray("render", file, "job", *flags, environ=dict.fromkeys(ENVIRON))
    assert printed.code == (1 if flags else 0)
    assert ("[dagster-ray: missing-variable]" in printed.err) is bool(flags)


def test_a_shared_cluster_has_the_name_and_labels_that_its_steps_look_for(file: Path) -> None:
    manifest = dagster_ray("render", file, "shared", "-n", "ray", "--json").data
    assert manifest["kind"] == "RayCluster"
    assert manifest["metadata"]["namespace"] == "ray"
    assert manifest["metadata"]["name"].endswith("-1")
    labels = manifest["metadata"]["labels"]
    assert (labels["dagster/cluster-sharing"], labels["dagster/sharing-generation"]) == ("true", "1")
    assert "dagster/cluster-sharing" not in dagster_ray("render", file, "own", "--json").data["metadata"]["labels"]


@pytest.mark.parametrize(
    ("key", "text"),
    [("number", "is a int"), ("nothing", "does not exist")],
)
def test_what_cannot_be_rendered_is_wrong_usage(file: Path, key: str, text: str) -> None:
    printed = dagster_ray("render", file, key)
    assert (printed.code, printed.out) == (2, "")
    told = " ".join(printed.err.split())
    assert text in told
    assert "job, own, shared" in told


def test_a_module_that_fails_is_told_without_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "fails_4711.py").write_text(f"raise ValueError('{CANARY}')", encoding="utf-8")
    printed = dagster_ray("render", tmp_path / "fails_4711.py", "job")
    assert printed.code == 2
    assert "ValueError" in printed.err
    assert CANARY not in printed.err
    assert "does not exist" in dagster_ray("render", tmp_path / "nowhere.py", "job").err


REFUSED: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "a misspelled field": ("timout=3", [("unknown-field", "`timout`", "write `timeout`.")]),
    "a misspelled key of the manifest": (
        "ray_job={'spec': {'rayClusterSpec': {'rayVersio': '2'}}}",
        [("invalid-spec", "`spec.rayClusterSpec.rayVersio`", "write `rayVersion`")],
    ),
    "a value that is quoted elsewhere": (
        f"ray_job={{'spec': {{'rayClusterSpec': {{'workerGroupSpecs': [{{'maxReplicas': '{CANARY}'}}]}}}}}}",
        [("invalid-spec", "`spec.rayClusterSpec.workerGroupSpecs[0].maxReplicas` is '...'", "write a whole number")],
    ),
    "two fields": (
        f"timeout='{CANARY}', image=['{CANARY}']",
        [
            ("invalid-field", "`KubeRayInteractiveJob.timeout` was refused: Input should be a valid number", "correct"),
            ("invalid-field", "`KubeRayInteractiveJob.image` was refused: Input should be a valid string", "correct"),
        ],
    ),
}


@pytest.mark.parametrize(("written", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_refused_configuration_names_field_and_remedy_and_no_value(
    tmp_path: Path, written: str, expected: list[tuple[str, str, str]]
) -> None:
    file = tmp_path / "refused_4711.py"
    file.write_text(
        f"from dagster_ray.kuberay import KubeRayInteractiveJob\njob = KubeRayInteractiveJob({written})\n", "utf-8"
    )
    printed = dagster_ray("render", file, "job")
    assert (printed.code, printed.out) == (1, "")
    assert CANARY not in printed.err
    assert f"{file} has a configuration that dagster-ray refuses." in printed.err
    machine = dagster_ray("render", file, "job", "--json")
    assert CANARY not in machine.out + machine.err
    assert machine.data["error"] == machine.data["errors"][0]
    for (code, problem, remedy), error in zip(expected, machine.data["errors"], strict=True):
        assert error["code"] == code
        assert problem in error["problem"]
        assert remedy in error["remedy"]
        assert f"Error: {error['problem']}\nTo fix: {error['remedy']} [dagster-ray: {code}]" in printed.err


def test_a_refusal_of_somebody_elses_model_is_told_without_its_text(tmp_path: Path) -> None:
    file = tmp_path / "other_4711.py"
    file.write_text(
        "import pydantic\n"
        "class Other(pydantic.BaseModel):\n"
        "    field: str\n"
        "    @pydantic.field_validator('field')\n"
        "    def check(cls, value): raise ValueError(value)\n"
        f"Other(field='{CANARY}')\n",
        "utf-8",
    )
    printed = dagster_ray("render", file, "job")
    assert printed.code == 1
    assert "`Other.field` has a value that its own check refuses" in printed.err
    assert CANARY not in printed.err


def test_the_kind_of_manifest_is_the_one_that_a_step_sends(tmp_path: Path) -> None:
    """All that differs is what only a step knows."""
    source = (
        "from dagster_ray.kuberay import KubeRayInteractiveJob\n"
        "from dagster_ray.kuberay.groups import head_group\n"
        "cluster = {'headGroupSpec': head_group(cpus=1, memory='2Gi'), 'workerGroupSpecs': []}\n"
        "ray_cluster = KubeRayInteractiveJob(ray_job={'spec': {'rayClusterSpec': cluster}}, timeout=20.0)\n"
    )
    (tmp_path / "sent_4711.py").write_text(source, encoding="utf-8")
    rendered = dagster_ray("render", tmp_path / "sent_4711.py", "ray_cluster", "--json").data
    with simulated() as simulator:
        assert run_step(KubeRayInteractiveJob(**fields(simulator))).success
        (sent,) = simulator.store.list("rayjobs")
    wanted, own = rendered["spec"], sent["spec"]
    assert {key: own[key] for key in wanted if key != "rayClusterSpec"} == {
        key: value for key, value in wanted.items() if key != "rayClusterSpec"
    }
    for spec in (wanted, own):
        spec["rayClusterSpec"]["headGroupSpec"]["template"]["metadata"] = None
    assert own["rayClusterSpec"]["headGroupSpec"]["template"] == wanted["rayClusterSpec"]["headGroupSpec"]["template"]


def test_a_reference_inside_a_text_is_shown_as_a_variable() -> None:
    environ = References()
    assert environ.shown({"a": f"x-{environ['HOME']}-y", "b": [environ["HOME"], 1]}) == {
        "a": "x-$(HOME)-y",
        "b": [{"env": "HOME"}, 1],
    }


WRITTEN: dict[str, Any] = {
    "spec": {
        "text": "a: b # c",
        "lines": "one\ntwo",
        "number": "1.10",
        "long": "word " * 60,
        "none": None,
        "empty": {"mapping": {}, "list": []},
        "containers": [{"name": "a", "args": ["-c", "x"], "nested": [[1, 2], [{"k": True}]]}],
        "changed": 1,
    }
}


def added_lines(manifest: dict[str, Any], written: dict[str, Any]) -> list[str]:
    lines = marked_yaml(manifest, written).splitlines()
    return [line.removesuffix(MARK).strip() for line in lines if line.endswith(MARK)]


def test_only_lines_that_nobody_has_written_are_marked() -> None:
    assert added_lines(WRITTEN, WRITTEN) == []
    sent = copy.deepcopy(WRITTEN)
    sent["spec"]["changed"] = "1"
    sent["spec"]["new"] = {"a": [1]}
    sent["spec"]["containers"][0]["env"] = [{"name": "A"}]
    sent["spec"]["containers"].append({"name": "b"})
    assert added_lines(sent, WRITTEN) == [
        "env:",
        "- name: A",
        "- name: b",
        "changed: '1'",
        "new:",
        "a:",
        "- 1",
    ]


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(WRITTEN, id="all"),
        pytest.param({}, id="nothing"),
        pytest.param({"spec": {"containers": "text"}}, id="another"),
    ],
)
def test_a_marked_manifest_is_yaml_of_the_same_values(written: dict[str, Any]) -> None:
    assert yaml.safe_load(marked_yaml(WRITTEN, written)) == WRITTEN


def test_the_file_of_a_resource_is_what_its_author_has_written(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER_FILE, encoding="utf-8")
    source = (
        "from dagster_ray.kuberay import KubeRayCluster, RayClusterConfig\n"
        f"own = KubeRayCluster(ray_cluster=RayClusterConfig(spec_file={str(tmp_path / 'cluster.yaml')!r}))\n"
    )
    (tmp_path / "marked_4711.py").write_text(source, encoding="utf-8")
    lines = dagster_ray("render", tmp_path / "marked_4711.py", "own").out.splitlines()
    ours = [line.removesuffix(MARK).split(":")[0].strip() for line in lines if line.endswith(MARK)]
    assert set(ours) == {
        *("name", "namespace", "labels"),  # of the metadata and of the pod template
        *("metadata", "app.kubernetes.io/managed-by", "dagster/run-id", "dagster/step-key"),
        *("dagster/resource-key", "dagster/cleanup"),
        *("env", "- name", "value"),
    }
    assert "          - containerPort: 10001" in lines, "what the file has is not marked"
