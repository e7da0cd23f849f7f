"""What a call of the Pipes client means, and which RayJob it is about: tables."""

from typing import Any

import pytest

from dagster_ray.kuberay._jobs.ends import VERDICT_ANNOTATION, end_of, has_no_head, keeps_jobs
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._pipes.attempts import ATTEMPT_ANNOTATION, CALL_LABEL, choose_rayjob
from dagster_ray.kuberay._pipes.job import PipesJob, read_call
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay.errors import InvalidSpecError

CLUSTER: dict[str, Any] = {"headGroupSpec": {"template": {}}}
GROWING = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))])
"""YAML whose aliases come to a hundred million values once they are written out."""

CALLS: dict[str, tuple[dict[str, Any], PipesJob]] = {
    "parameters": (
        {"entrypoint": "python a.py", "entrypoint_num_cpus": 1.0},
        PipesJob({"entrypoint": "python a.py", "entrypoint_num_cpus": 1.0}, {}, None),
    ),
    "a template": (
        {"entrypoint": "a", "template": {"spec": {"rayClusterSpec": CLUSTER}}},
        PipesJob({"entrypoint": "a"}, {"spec": {"rayClusterSpec": CLUSTER}}, None),
    ),
    "a selector": (
        {"entrypoint": "a", "cluster_selector": {"ray.io/cluster": "mine"}},
        PipesJob({"entrypoint": "a"}, {}, "mine"),
    ),
    "a selector as a name": (
        {"entrypoint": "a", "cluster_selector": "mine"},
        PipesJob({"entrypoint": "a"}, {}, "mine"),
    ),
    "a manifest": (
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {"name": "n", "labels": {"a": "b"}},
            "spec": {
                "submissionMode": "HTTPMode",
                "entrypoint": "python a.py",
                "entrypointNumCpus": 2,
                "entrypointNumGpus": 1,
                "entrypointResources": '{"tpu": 1}',
                "runtimeEnvYAML": "pip: [x]\nenv_vars: {A: b}\n",
                "metadata": {"who": "me"},
                "jobId": "mine",
                "rayClusterSpec": CLUSTER,
                "activeDeadlineSeconds": 60,
            },
        },
        PipesJob(
            {
                "entrypoint": "python a.py",
                "entrypoint_num_cpus": 2,
                "entrypoint_num_gpus": 1,
                "entrypoint_resources": {"tpu": 1},
                "runtime_env": {"pip": ["x"], "env_vars": {"A": "b"}},
                "metadata": {"who": "me"},
                "submission_id": "mine",
            },
            {
                "metadata": {"name": "n", "labels": {"a": "b"}},
                "spec": {"rayClusterSpec": CLUSTER, "activeDeadlineSeconds": 60},
            },
            None,
        ),
    ),
    "a manifest in snake case": (
        {"spec": {"entrypoint": "a", "entrypoint_num_cpus": 1, "runtime_env_yaml": "pip: [x]", "job_id": "j"}},
        PipesJob(
            {"entrypoint": "a", "entrypoint_num_cpus": 1, "runtime_env": {"pip": ["x"]}, "submission_id": "j"},
            {"metadata": {}, "spec": {}},
            None,
        ),
    ),
    "a manifest with a selector": (
        {"spec": {"entrypoint": "a", "clusterSelector": {"ray.io/cluster": "mine"}}},
        PipesJob({"entrypoint": "a"}, {"metadata": {}, "spec": {}}, "mine"),
    ),
    "resources quoted for a shell": (
        {"spec": {"entrypoint": "a", "entrypointResources": "'{\"tpu\": 1}'"}},
        PipesJob({"entrypoint": "a", "entrypoint_resources": {"tpu": 1}}, {"metadata": {}, "spec": {}}, None),
    ),
}


@pytest.mark.parametrize(("given", "meant"), CALLS.values(), ids=CALLS)
def test_both_forms_of_a_call_mean_the_same_things(given: dict[str, Any], meant: PipesJob) -> None:
    assert read_call(given) == meant


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"kind": "RayCluster", "spec": {}}, "kind"),
    "parameters beside a spec": ({"spec": {}, "entrypoint": "a"}, "entrypoint"),
    "a spec that is none": ({"spec": "x"}, "spec"),
    "a mode that is none": ({"spec": {"submissionMode": "Other"}}, "spec.submissionMode"),
    "a runtime environment that is a list": ({"spec": {"runtimeEnvYAML": "[a]"}}, "spec.runtimeEnvYAML"),
    "a runtime environment whose aliases grow": ({"spec": {"runtimeEnvYAML": GROWING}}, "spec.runtimeEnvYAML"),
    "a runtime environment that is no YAML": ({"spec": {"runtimeEnvYAML": "{a"}}, "spec.runtimeEnvYAML"),
    "resources that are no JSON": ({"spec": {"entrypointResources": "{a"}}, "spec.entrypointResources"),
    "resources that are a number": ({"spec": {"entrypointResources": "1"}}, "spec.entrypointResources"),
    "another selector": ({"entrypoint": "a", "cluster_selector": {"app": "x"}}, "clusterSelector"),
    "two keys": ({"entrypoint": "a", "cluster_selector": {"ray.io/cluster": "x", "app": "y"}}, "clusterSelector"),
    "a selector beside a cluster": (
        {"spec": {"rayClusterSpec": CLUSTER, "clusterSelector": {"ray.io/cluster": "x"}}},
        "clusterSelector",
    ),
    "a template that is none": ({"entrypoint": "a", "template": "x"}, "template"),
}


@pytest.mark.parametrize(("given", "field"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        read_call(given)
    assert caught.value.field == field


def rayjob(
    key: str, number: int, status: str = "Running", job: str = "", verdict: str = "", **metadata: Any
) -> dict[str, Any]:
    """Return a RayJob that an attempt has left."""
    return {
        "metadata": {
            "name": f"{key}-{number}",
            "uid": f"uid-{key}-{number}",
            "labels": {CALL_LABEL: key},
            "annotations": {ATTEMPT_ANNOTATION: str(number), **({VERDICT_ANNOTATION: verdict} if verdict else {})},
            **metadata,
        },
        "status": {"jobDeploymentStatus": status, "jobStatus": job},
    }


CHOICES: dict[str, tuple[list[dict[str, Any]], tuple[int, str | None, bool]]] = {
    "nothing there": ([], (0, None, False)),
    "one that runs": ([rayjob("new", 0)], (1, "new-0", False)),
    "one that has no status yet": ([rayjob("new", 0, "")], (1, "new-0", False)),
    "one in a queue": ([rayjob("new", 0, "Suspended")], (1, "new-0", False)),
    "one that has succeeded": ([rayjob("new", 0, "Complete", "SUCCEEDED")], (1, "new-0", True)),
    "one that was stopped": ([rayjob("new", 0, "Complete", "STOPPED")], (1, None, False)),
    "one whose job has failed": ([rayjob("new", 0, "Running", "FAILED")], (1, None, False)),
    "one that has failed": ([rayjob("new", 0, "Failed", "FAILED")], (1, None, False)),
    "one that was refused": ([rayjob("new", 0, "ValidationFailed")], (1, None, False)),
    "one that is being deleted": ([rayjob("new", 0, deletionTimestamp="2026-01-01T00:00:00Z")], (1, None, False)),
    "the newest counts": (
        [rayjob("new", 0, "Failed", "FAILED"), rayjob("new", 10), rayjob("new", 9, "Failed", "FAILED")],
        (11, "new-10", False),
    ),
    "the earlier run's, if this run has none": ([rayjob("old", 3)], (0, "old-3", False)),
    "one that was of no use": ([rayjob("new", 0, "Complete", "SUCCEEDED", "bad")], (1, None, False)),
    "one that was of use": ([rayjob("new", 0, "Complete", "SUCCEEDED", "good")], (1, "new-0", True)),
    "one that was of use to the earlier run": ([rayjob("old", 0, "Complete", "SUCCEEDED", "good")], (0, None, False)),
    "one that the step's log rejects": ([rayjob("new", 7)], (8, None, False)),
    "this run's before the earlier one's": (
        [rayjob("old", 3), rayjob("new", 0, "Failed", "FAILED")],
        (1, None, False),
    ),
}


@pytest.mark.parametrize(("there", "wanted"), CHOICES.values(), ids=CHOICES)
def test_a_job_that_lives_is_followed_and_one_that_failed_is_not(
    there: list[dict[str, Any]], wanted: tuple[int, str | None, bool]
) -> None:
    choice = choose_rayjob(["new", "old"], there, {"uid-new-7"})
    found = choice.found
    name = None if found is None else found.rayjob["metadata"]["name"]
    assert (choice.number, name, found is not None and found.is_complete) == wanted


ENDS: dict[str, tuple[dict[str, Any], bool, str | None]] = {
    "it runs": (rayjob("k", 0), False, None),
    "it waits": (rayjob("k", 0, "Waiting"), False, None),
    "its job has succeeded": (rayjob("k", 0, "Complete", "SUCCEEDED"), False, None),
    "its job has failed": (rayjob("k", 0, "Failed", "FAILED"), False, None),
    "it ran out of time": (rayjob("k", 0, "Failed", "RUNNING"), False, "is Failed"),
    "somebody deletes it": (
        rayjob("k", 0, deletionTimestamp="2026-01-01T00:00:00Z"),
        False,
        "was deleted by somebody else",
    ),
    "it is gone": (rayjob("k", 0), True, "was deleted by somebody else"),
    "a queue takes its cluster": (rayjob("k", 0, "Suspending"), False, "lost its cluster"),
}


@pytest.mark.parametrize(("there", "deleted", "wanted"), ENDS.values(), ids=ENDS)
def test_only_an_end_that_is_not_the_jobs_own_counts(there: dict[str, Any], deleted: bool, wanted: str | None) -> None:
    found = end_of(created(RAYJOBS, "default", there), there, deleted=deleted)
    assert (found or "").startswith(wanted or "")
    assert (found is None) is (wanted is None)


@pytest.mark.parametrize(
    ("raycluster", "keeps"),
    [
        pytest.param({"spec": {}}, False, id="its jobs go with its head"),
        pytest.param({"spec": {"gcsFaultToleranceOptions": {"redisAddress": "r"}}}, True, id="its store is outside"),
        pytest.param({"metadata": {"annotations": {"ray.io/ft-enabled": "true"}}}, True, id="as before KubeRay 1.3"),
        pytest.param({"metadata": {"annotations": {"ray.io/ft-enabled": "false"}}}, False, id="switched off"),
    ],
)
def test_which_cluster_keeps_its_jobs_when_its_head_is_replaced(raycluster: dict[str, Any], keeps: bool) -> None:
    assert keeps_jobs(raycluster) is keeps


@pytest.mark.parametrize(
    ("conditions", "has_none"),
    [
        pytest.param([{"type": "HeadPodReady", "status": "False", "reason": "HeadPodNotFound"}], True, id="none"),
        pytest.param([{"type": "HeadPodReady", "status": "False", "reason": "Unknown"}], False, id="it starts"),
        pytest.param([{"type": "Other", "reason": "HeadPodNotFound"}], False, id="another condition"),
        pytest.param(None, False, id="an operator without conditions"),
        pytest.param("?", False, id="something else"),
    ],
)
def test_which_cluster_has_no_head_for_certain(conditions: Any, has_none: bool) -> None:
    assert has_no_head({"status": {"conditions": conditions}}) is has_none
    assert not has_no_head({})
