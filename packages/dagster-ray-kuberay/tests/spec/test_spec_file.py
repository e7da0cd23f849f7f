"""Specifications in YAML files, under what code sets."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from dagster_ray.kuberay._operator_rules.runtime_env_yaml import runtime_env_fault
from dagster_ray.kuberay._spec.errors import SpecFileError
from dagster_ray.kuberay._spec.file import LIMIT_BYTES, parse_spec, read_spec
from dagster_ray.kuberay._spec.manifests import RenderInput, render_rayjob
from dagster_ray.kuberay._spec.plain_json import merged
from dagster_ray.kuberay.configs import (
    InteractiveRayJobConfig,
    InteractiveRayJobSpec,
    RayClusterConfig,
    RayClusterSpec,
)

RAYJOB = """
apiVersion: ray.io/v1
kind: RayJob
metadata: {name: not-used, namespace: team, labels: {team: ml, tier: low}}
spec:
  submissionMode: InteractiveMode
  ttlSecondsAfterFinished: 30
  deletionStrategy: {onSuccess: {policy: DeleteSelf}, onFailure: {policy: DeleteCluster}}
  rayClusterSpec:
    rayVersion: 2.55.0
    headGroupSpec:
      template:
        spec:
          serviceAccountName: ray
          containers:
          - name: head
            image: file
            env: [{name: A, value: file}, {name: B, value: file}]
            args: [file]
    workerGroupSpecs:
    - {groupName: cpu, maxReplicas: 3}
    - {groupName: gpu, maxReplicas: 1}
status: {jobStatus: RUNNING}
"""
CLUSTER: dict[str, Any] = {"headGroupSpec": {"rayStartParams": {}}, "workerGroupSpecs": [{"groupName": "g"}]}


@pytest.fixture
def rayjob_file(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(RAYJOB)
    return str(path)


def container(plain: dict[str, Any], index: int) -> dict[str, Any]:
    return plain["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][index]


def test_what_code_sets_wins_and_the_rest_comes_from_the_file(rayjob_file: str) -> None:
    groups: list[dict[str, Any]] = [{"groupName": "gpu", "maxReplicas": 8}, {"groupName": "new"}]
    plain = InteractiveRayJobConfig(
        spec_file=rayjob_file,
        metadata={"labels": {"tier": "high"}},
        spec=InteractiveRayJobSpec(
            ttl_seconds_after_finished=90, ray_cluster_spec=RayClusterSpec(worker_group_specs=groups)
        ),
    ).plain()
    cluster = plain["spec"].pop("rayClusterSpec")
    assert plain == {
        "metadata": {"namespace": "team", "labels": {"team": "ml", "tier": "high"}},
        "spec": {
            "ttlSecondsAfterFinished": 90,
            "deletionStrategy": {"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteCluster"}},
        },
    }
    assert cluster["rayVersion"] == "2.55.0"
    assert cluster["workerGroupSpecs"] == [
        {"groupName": "cpu", "maxReplicas": 3},
        {"groupName": "gpu", "maxReplicas": 8},
        {"groupName": "new"},
    ]


def test_containers_are_merged_by_their_names(rayjob_file: str) -> None:
    env = [{"name": "B", "value": "code"}, {"name": "C", "value": "code"}]
    containers: list[dict[str, Any]] = [{"name": "head", "env": env, "args": ["code"]}, {"name": "sidecar"}]
    cluster = RayClusterSpec(head_group_spec={"template": {"spec": {"containers": containers}}})
    config = InteractiveRayJobConfig(spec_file=rayjob_file, spec=InteractiveRayJobSpec(ray_cluster_spec=cluster))
    plain = config.plain()
    assert container(plain, 0) == {
        "name": "head",
        "image": "file",
        "env": [{"name": "A", "value": "file"}, *env],
        "args": ["code"],
    }
    assert container(plain, 1) == {"name": "sidecar"}
    head = plain["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["template"]["spec"]["serviceAccountName"] == "ray"


def test_plain_data_holds_the_file_and_means_the_same_without_it(rayjob_file: str) -> None:
    config = InteractiveRayJobConfig(spec_file=rayjob_file)
    plain = config.plain()
    wish = RenderInput(name="a", namespace="n", image="i")
    rendered = render_rayjob(config.plain(), wish)
    Path(rayjob_file).unlink()
    written_out = InteractiveRayJobConfig(**plain)
    assert written_out.spec_file is None
    assert written_out.plain() == plain
    assert render_rayjob(plain, wish) == rendered == render_rayjob(written_out.plain(), wish)


def test_a_cluster_takes_that_of_a_rayjobs_file(rayjob_file: str) -> None:
    plain = RayClusterConfig(spec_file=rayjob_file).plain()
    assert plain["spec"]["rayVersion"] == "2.55.0"
    assert RayClusterConfig(**plain).plain() == plain


PART = "{headGroupSpec: {rayStartParams: {}}, workerGroupSpecs: [{groupName: g}]}"
SNAKE = "{head_group_spec: {rayStartParams: {}}, worker_group_specs: [{groupName: g}]}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"metadata: {{}}\nspec: {PART}", id="a RayCluster without its kind"),
        pytest.param(PART, id="the spec of a RayCluster"),
        pytest.param(f"rayClusterSpec: {PART}", id="the spec of a RayJob"),
        pytest.param(f"---\nspec: {{rayClusterSpec: {PART}}}\n---\n", id="a RayJob without its kind"),
        pytest.param(f"ray_cluster_spec: {SNAKE}", id="snake_case"),
    ],
)
def test_what_a_file_holds_is_recognised(text: str, tmp_path: Path) -> None:
    (path := tmp_path / "spec.yaml").write_text(text)
    config = InteractiveRayJobConfig(spec_file=str(path))
    assert config.plain()["spec"] == {"rayClusterSpec": CLUSTER}


@pytest.mark.parametrize(
    ("text", "key", "reason", "advice"),
    [
        pytest.param("kind: Pod", "kind", "'Pod' is neither", "name a file", id="another kind"),
        pytest.param("a: 1", "", "neither `kind`", "name a file with a RayJob", id="nothing of KubeRay"),
        pytest.param(
            "kind: RayJob\n---\nkind: RayJob", "", "it has 2 documents", "leave one RayJob", id="two documents"
        ),
        pytest.param("", "", "it has 0 documents", "write one RayJob", id="an empty file"),
        pytest.param("[1]", "", "it has a list and no RayJob", "write one RayJob", id="a list"),
        pytest.param("a: [", "line 1", "expected the node content", "correct the YAML", id="no YAML"),
        pytest.param(
            "kind: RayJob\nspec: {on: 1, 2: x}",
            "spec.True",
            "is not text",
            "put the key in quotes",
            id="a key that is no text",
        ),
        pytest.param("kind: RayJob\nspec: {a: 2024-01-01}", "spec.a", "it is a date", "put it in quotes", id="a date"),
        pytest.param(
            "kind: RayJob\nspec: {a: !!python/name:os.system x}", "line 2", "could not", "correct the YAML", id="code"
        ),
        pytest.param("kind: RayJob\nspec: []", "spec", "it is a list", "write a mapping", id="a spec that is a list"),
    ],
)
def test_files_that_cannot_be_used(text: str, key: str, reason: str, advice: str) -> None:
    with pytest.raises(SpecFileError) as caught:
        parse_spec("job.yaml", text)
    assert (caught.value.file, caught.value.key) == ("job.yaml", key)
    assert reason in caught.value.reason
    assert caught.value.advice.startswith(advice)


def test_aliases_that_grow_without_end_are_refused() -> None:
    lines = ["kind: RayJob", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(SpecFileError, match="more than 50000 values"):
        parse_spec("job.yaml", "\n".join(lines))


def merges(levels: int) -> str:
    """Return a text each of whose mappings merges the one before ten times."""
    lines = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return "\n".join(["a0: &a0 {k1: 1, k2: 2}", *lines])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(merges(9), id="level after level"),
        pytest.param(
            "base: &base {" + ", ".join(f"k{n}: 1" for n in range(300)) + "}\n"
            "" + "\n".join(f"a{n}: {{<<: *base}}" for n in range(300)),
            id="each mapping a little",
        ),
    ],
)
def test_merge_keys_that_write_out_too_much_are_refused_while_the_text_is_read(text: str) -> None:
    with pytest.raises(SpecFileError, match=r"its merge keys \(`<<`\) write out more than 50000 values") as caught:
        parse_spec("job.yaml", f"kind: RayJob\n{text}")
    assert caught.value.remedy == "write out fewer values by aliases (`*name`) and merge keys (`<<`)."
    assert "merge keys" in str(runtime_env_fault(text, (1, 7, 0)))


def test_merge_keys_of_a_sensible_size_mean_what_they_mean_for_yaml() -> None:
    text = "kind: RayJob\nbase: &base {a: 1, b: 2}\nspec: {<<: [*base, {c: 3}], b: 4}"
    assert parse_spec("job.yaml", text).rayjob == {"a": 1, "b": 4, "c": 3}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecFileError, match="No such file"):
        read_spec(str(tmp_path / "missing.yaml"))
    (large := tmp_path / "large.yaml").write_bytes(b"#" * (LIMIT_BYTES + 1))
    with pytest.raises(SpecFileError, match="larger than 1 MiB"):
        read_spec(str(large))
    (binary := tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecFileError, match="not text in UTF-8"):
        read_spec(str(binary))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param("{entrypoint: python a.py, rayClusterSpec: {}}", "PipesKubeRayJobClient", id="an entrypoint"),
        pytest.param("{ttl_second_after_finished: 1, rayClusterSpec: {}}", "write `ttl_seconds_after", id="a typo"),
        pytest.param(
            "{ttlSecondsAfterFinished: soon, rayClusterSpec: {}}", "`ttlSecondsAfterFinished` in", id="a type"
        ),
        pytest.param("{ttlSecondsAfterFinished: -1, rayClusterSpec: {}}", "is -1", id="a value"),
    ],
)
def test_what_stands_in_a_file_is_checked_when_the_configuration_is_built(
    spec: str, message: str, tmp_path: Path
) -> None:
    (path := tmp_path / "job.yaml").write_text(f"kind: RayJob\nspec: {spec}")
    with pytest.raises(ValidationError) as caught:
        InteractiveRayJobConfig(spec_file=str(path))
    assert message in str(caught.value)


def test_metadata_that_no_object_has_is_refused_with_the_file(tmp_path: Path) -> None:
    (path := tmp_path / "job.yaml").write_text("kind: RayJob\nmetadata: {label: {}}\nspec: {}")
    with pytest.raises(ValidationError, match=r"`metadata\.label` in .*job\.yaml"):
        InteractiveRayJobConfig(spec_file=str(path))


def test_a_file_that_the_environment_names_is_looked_at_in_the_step_only() -> None:
    assert InteractiveRayJobConfig(spec_file=dg.EnvVar("SPEC_FILE")).spec_file == dg.EnvVar("SPEC_FILE")


@pytest.mark.parametrize(
    ("under", "over", "result"),
    [
        pytest.param({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}}, {"a": 1, "b": {"c": 1, "d": 2}}, id="dictionaries"),
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="lists are replaced"),
        pytest.param({"a": 1}, {"a": None}, {"a": 1}, id="None is not given"),
        pytest.param({"a": {"b": 1}}, {"a": 2}, {"a": 2}, id="another type wins"),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "A", "valueFrom": 1}]},
            {"env": [{"name": "A", "valueFrom": 1}]},
            id="a variable is replaced as a whole",
        ),
        pytest.param(
            {"containers": [{"name": "a"}, {}]},
            {"containers": [{"name": "b"}]},
            {"containers": [{"name": "b"}]},
            id="items without a name cannot be merged",
        ),
        pytest.param(
            {"deletionStrategy": {"deletionRules": []}},
            {"deletionStrategy": {"onSuccess": {}}},
            {"deletionStrategy": {"onSuccess": {}}},
            id="a strategy is taken as a whole",
        ),
    ],
)
def test_merging(under: dict[str, Any], over: dict[str, Any], result: dict[str, Any]) -> None:
    assert merged(under, over) == result
