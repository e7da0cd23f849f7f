"""Every value has the type that KubeRay's CRDs want, or is refused by the name of its field."""

import re
from typing import Any

import dagster as dg
import pytest
import ray
from dagster_shared.yaml_utils import load_run_config_yaml
from pydantic import ValidationError
from ray.scripts.scripts import start

from dagster_ray.core.errors import InvalidVariableError
from dagster_ray.core.variables import Variable
from dagster_ray.kuberay import KubeRayCluster
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.file import parse_spec
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster, render_rayjob
from dagster_ray.kuberay._spec.typed_values import START_NUMBERS, START_SWITCHES, typed
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, RayClusterConfig
from dagster_ray.kuberay.groups import head_group, worker_group

CONTAINER = {"name": "ray-head"}
WHOLE = {"template": {"spec": {"containers": [CONTAINER]}}}
GROUP = "spec.workerGroupSpecs[0]"


def one_group(**group: Any) -> dict[str, Any]:
    return {"spec": {"workerGroupSpecs": [{"groupName": "a", **group}]}}


def wish(**environ: str) -> RenderInput:
    return RenderInput(name="a", namespace="b", image="c", environ=environ)


def rendered(group: dict[str, Any], **environ: str) -> dict[str, Any]:
    config = RayClusterConfig(spec={"workerGroupSpecs": [group]})
    (found,) = render_raycluster(config.plain(), wish(**environ))["spec"]["workerGroupSpecs"]
    return found


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param({"env": "MOST"}, id="as in run config"),
        pytest.param(dg.EnvVar("MOST"), id="EnvVar"),
        pytest.param(dg.EnvVar.int("MOST"), id="EnvVar.int"),
    ],
)
def test_a_number_from_the_environment_is_the_one_that_is_sent(reference: object) -> None:
    group = rendered({"groupName": "a", "minReplicas": reference, "maxReplicas": reference}, MOST="3")
    assert (group["minReplicas"], group["maxReplicas"], group["replicas"]) == (3, 3, 3)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        pytest.param(3, 3, id="a number"),
        pytest.param("3", 3, id="text that is one"),
        pytest.param(3.0, 3, id="nothing behind the point"),
    ],
)
def test_text_and_floats_that_are_whole_numbers_are_taken(value: object, number: int) -> None:
    group = rendered({"groupName": "a", "replicas": value})
    assert [group[key] for key in ("replicas", "minReplicas", "maxReplicas")] == [number] * 3
    assert all(type(group[key]) is int for key in ("replicas", "minReplicas", "maxReplicas"))


@pytest.mark.parametrize("value", ["lots", "3.5", 3.5, True, "", "1e3"])
@pytest.mark.parametrize("key", ["replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds"])
def test_everything_else_is_refused_by_name_when_the_code_location_loads(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"workerGroupSpecs\[0\]\.{key}` is .*, not a whole number"):
        RayClusterConfig(spec={"workerGroupSpecs": [{"groupName": "a", key: value}]})


def test_a_variable_that_is_no_number_is_refused_by_name_without_its_value() -> None:
    config = RayClusterConfig(spec={"workerGroupSpecs": [{"groupName": "a", "maxReplicas": {"env": "MOST"}}]})
    with pytest.raises(InvalidVariableError) as caught:
        render_raycluster(config.plain(), wish(MOST="canary-4711"))
    told = str(caught.value)
    assert told.startswith("`spec.workerGroupSpecs[0].maxReplicas` refers to the environment variable MOST,")
    assert "canary" not in told


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_a_boolean_from_the_environment(text: str, value: object) -> None:
    config = RayClusterConfig(spec={"enableInTreeAutoscaling": {"env": "SCALE"}})
    assert render_raycluster(config.plain(), wish(SCALE=text))["spec"]["enableInTreeAutoscaling"] is value


def test_a_whole_manifest_takes_a_number_from_a_variable_but_not_from_quotes() -> None:
    given = {"headGroupSpec": WHOLE, **one_group(maxReplicas="3")["spec"]}
    variable = {f"{GROUP}.maxReplicas": Variable("MOST")}
    found = typed({"metadata": {}, "spec": given}, "RayCluster", variable)
    assert found["spec"]["workerGroupSpecs"][0]["maxReplicas"] == 3
    with pytest.raises(InvalidSpecError, match=r"maxReplicas` is text in a whole manifest, where `kubectl apply`"):
        typed({"metadata": {}, "spec": given}, "RayCluster", {})


def test_a_number_below_a_rayjob_is_read_too() -> None:
    spec = {"deletionStrategy": {"deletionRules": [{"policy": "DeleteCluster", "condition": {
        "jobStatus": "FAILED", "ttlSeconds": {"env": "SECONDS"}}}]}}  # fmt: skip
    config = InteractiveRayJobConfig(spec=spec)
    (rule,) = render_rayjob(config.plain(), wish(SECONDS="30"))["spec"]["deletionStrategy"]["deletionRules"]
    assert rule["condition"]["ttlSeconds"] == 30


CLUSTER = """headGroupSpec:
  rayStartParams: {{{0}}}
  template:
    spec:
      containers: [{{name: a, env: [{1}]}}]
"""
WRITTEN = ["1.10", "012345", "12:30:45", "1_000", "0x1F", "yes", "1e3", "2024-01-01", "3", ".5"]


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("kind", ["", "kind: RayCluster\nspec:\n  "])
def test_text_of_a_file_stays_as_it_was_written(text: str, kind: str) -> None:
    cluster = CLUSTER.format(f"num-cpus: {text}", f"{{name: A, value: {text}}}")
    if kind:
        metadata = f"metadata: {{labels: {{version: {text}}}, annotations: {{a: {text}}}}}\n"
        cluster = metadata + kind + cluster.replace("\n", "\n  ")
    found = parse_spec("a.yaml", cluster)
    head = found.cluster["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": text}
    assert head["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": text}]
    if kind:
        assert found.metadata == {"labels": {"version": text}, "annotations": {"a": text}}


def test_numbers_of_a_file_stay_numbers_and_text_fields_of_rayjobs_text() -> None:
    found = parse_spec(
        "a.yaml", "kind: RayJob\nspec: {ttlSecondsAfterFinished: 60, rayClusterSpec: {rayVersion: 2.50, suspend: no}}"
    )
    assert (found.rayjob, found.cluster) == ({"ttlSecondsAfterFinished": 60}, {"rayVersion": "2.50", "suspend": False})


def test_aliases_and_merges_are_written_out_as_before() -> None:
    text = (
        "headGroupSpec: {rayStartParams: &p {a: 1.10}}\n"
        "workerGroupSpecs: [{groupName: w, replicas: 1, rayStartParams: {<<: *p, b: 012}}]"
    )
    found = parse_spec("a.yaml", text).cluster
    assert found["workerGroupSpecs"][0]["rayStartParams"] == {"a": "1.10", "b": "012"}


@pytest.mark.parametrize(
    ("where", "spec"),
    [
        pytest.param(r"rayStartParams\.a", {"headGroupSpec": {"rayStartParams": {"a": 1.1}}}, id="a parameter"),
        pytest.param(
            r"env\[0\]\.value",
            {"headGroupSpec": {"template": {"spec": {"containers": [{"name": "ray-head", "env": [
                {"name": "A", "value": 5349}]}]}}}},
            id="the value of an environment variable",
        ),
        pytest.param(
            r"labels\.version",
            {"headGroupSpec": {"template": {"metadata": {"labels": {"version": 1.1}}}}},
            id="a label of a pod",
        ),
    ],
)  # fmt: skip
def test_a_number_where_text_belongs_is_to_be_quoted(where: str, spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=rf"{where}` is [\d.]+ where text belongs. To fix: put it in quotes"):
        RayClusterConfig(spec=spec)


def test_so_it_is_in_the_labels_of_the_object() -> None:
    with pytest.raises(ValidationError, match=r"`metadata\.labels\.version` is 1\.1 where text belongs"):
        RayClusterConfig(metadata={"labels": {"version": 1.1}})


# What `safe_load` makes of 012345, 12:30:45, yes and 1.10. A number of Python cannot be told from these.
READ_BY_YAML = [5349, 45045, True, 1.1]
TEXT_MAPS = [
    pytest.param(("headGroupSpec", "template", "metadata", "labels"), id="labels"),
    pytest.param(("headGroupSpec", "template", "metadata", "annotations"), id="annotations"),
    pytest.param(("headGroupSpec", "template", "spec", "nodeSelector"), id="a node selector"),
    pytest.param(("headGroupSpec", "labels"), id="Ray's labels of a group"),
    pytest.param(("headServiceAnnotations",), id="annotations of the Service"),
    pytest.param(("headGroupSpec", "rayStartParams"), id="a parameter that Ray reads as text"),
]


@pytest.mark.parametrize("value", READ_BY_YAML)
@pytest.mark.parametrize("path", TEXT_MAPS)
def test_what_yaml_may_have_changed_is_refused_in_every_map_of_text(path: tuple[str, ...], value: object) -> None:
    spec: Any = {"node-name": value}
    for key in reversed(path):
        spec = {key: spec}
    where = re.escape(f"`spec.{'.'.join(path)}.node-name`")
    with pytest.raises(ValidationError, match=rf"{where} is \S+ where text belongs. To fix: put it in quotes"):
        RayClusterConfig(spec=spec)


@pytest.mark.parametrize("kind", ["labels", "annotations"])
@pytest.mark.parametrize("value", READ_BY_YAML)
def test_so_it_is_in_the_metadata_of_both_objects(kind: str, value: object) -> None:
    for config in (RayClusterConfig, InteractiveRayJobConfig):
        with pytest.raises(ValidationError, match=rf"`metadata\.{kind}\.version` is \S+ where text belongs"):
            config(metadata={kind: {"version": value}})


def test_so_it_is_in_run_config_which_dagster_reads_as_yaml() -> None:
    written = load_run_config_yaml("{ray_cluster: {metadata: {labels: {version: 012345}}}}")
    with pytest.raises(dg.DagsterResourceFunctionError) as caught:
        dg.build_resources({"ray": KubeRayCluster()}, resource_config={"ray": {"config": written}}).__enter__()
    assert "`metadata.labels.version` is 5349 where text belongs. To fix: put it in quotes" in str(
        caught.value.__cause__
    )


def test_numbers_and_switches_of_ray_start_and_rays_own_resources_are_numbers_however_they_were_written() -> None:
    head = {"rayStartParams": {"num-cpus": 0, "block": True, "metrics-export-port": 8080}, "resources": {"CPU": 4}}
    found = render_raycluster(RayClusterConfig(spec={"headGroupSpec": {**head, "resources": None}}).plain(), wish())[
        "spec"
    ]
    params = {"num-cpus": "0", "block": "true", "metrics-export-port": "8080"}
    assert found["headGroupSpec"]["rayStartParams"] == params
    given = RayClusterConfig(spec={"headGroupSpec": {"resources": head["resources"]}})
    assert render_raycluster(given.plain(), wish())["spec"]["headGroupSpec"]["resources"] == {"CPU": "4"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param({"rayVersion": ["2.60"]}, "`spec.rayVersion` is a list where text belongs", id="text"),
        pytest.param(
            {"headGroupSpec": {"rayStartParams": {"num-cpus": {"a": 1}}}},
            "num-cpus` is a mapping where text belongs",
            id="text in a map",
        ),
        pytest.param(
            one_group(replicas=[1])["spec"], "replicas` is a list where a whole number belongs", id="a number"
        ),
        pytest.param(
            {"suspend": {"if": True}}, "`spec.suspend` is a mapping where true or false belongs", id="a switch"
        ),
    ],
)
def test_a_list_or_a_mapping_is_refused_where_one_value_belongs(spec: dict[str, Any], told: str) -> None:
    plain = {"metadata": {}, "spec": spec}
    with pytest.raises(InvalidSpecError, match=re.escape(told)):
        typed(plain, "RayCluster", {})


@pytest.mark.parametrize(("name", "value"), [("num-cpus", True), ("num-cpus", 1.5), ("block", 1)])
def test_a_number_is_no_switch_and_a_switch_no_number(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"rayStartParams\.{name}` is \S+ where text belongs"):
        RayClusterConfig(spec={"headGroupSpec": {"rayStartParams": {name: value}}})


@pytest.mark.skipif(tuple(map(int, ray.__version__.split(".")[:2])) < (2, 60), reason="the table is that of Ray 2.60")
def test_the_parameters_that_are_numbers_and_switches_are_those_of_ray_start() -> None:
    options = {name.removeprefix("--"): option for option in start.params for name in option.opts if name[:2] == "--"}
    numbers = {name for name, option in options.items() if option.type.name.startswith("integer")}
    switches = {name for name, option in options.items() if option.type.name == "boolean"}
    assert (numbers, switches) == (START_NUMBERS, START_SWITCHES)


def test_fractions_are_quantities() -> None:
    worker = {"name": "w", "resources": {"requests": {"cpu": 0.5, "memory": 1024}}}
    group = {"groupName": "a", "template": {"spec": {"containers": [worker]}}}
    found = render_raycluster(RayClusterConfig(spec={"workerGroupSpecs": [group]}).plain(), wish())["spec"]
    container = found["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert container["resources"]["requests"] == {"cpu": "0.5", "memory": 1024}


@pytest.mark.parametrize("value", [8, 1.1, True, None])
def test_a_builder_names_the_variable_that_is_not_text(value: Any) -> None:
    with pytest.raises(
        InvalidSpecError,
        match=r"`env\.WORKERS` is .*, but the value of an environment variable is text\. To fix: write text, in quotes",
    ):
        head_group(env={"WORKERS": value})


def test_the_builders_take_variables_for_every_argument() -> None:
    number: Any = dg.EnvVar.int("N")
    text, env = dg.EnvVar("T"), {"A": dg.EnvVar("T"), "B": {"env": "T"}}
    head = head_group(cpus=number, memory=text, num_cpus=number, gpus=number, image=text, env=env)
    group = worker_group("a", cpus=text, min_replicas=number, max_replicas=number, replicas=number, env={"N": number})
    config = RayClusterConfig(spec={"headGroupSpec": head, "workerGroupSpecs": [group]})
    found = render_raycluster(config.plain(), wish(N="2", T="8"))["spec"]
    container = found["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": 2, "memory": "8", "nvidia.com/gpu": 2}
    assert (container["image"], found["headGroupSpec"]["rayStartParams"]) == ("8", {"num-cpus": "2"})
    assert [entry for entry in container["env"] if entry["name"] in "AB"] == [
        {"name": "A", "value": "8"}, {"name": "B", "value": "8"}
    ]  # fmt: skip
    (worker,) = found["workerGroupSpecs"]
    assert [worker[key] for key in ("minReplicas", "maxReplicas", "replicas")] == [2, 2, 2]
    assert {"name": "N", "value": "2"} in worker["template"]["spec"]["containers"][0]["env"]
