"""Diagnoses of what the real operator, scheduler and API server wrote, at each moment of a recording."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diagnosis_objects import explained

from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis, explain_head
from dagster_ray.kuberay._status.cluster_state import head_of_raycluster

RECORDINGS = Path(__file__).parents[4] / "tests-integration/recordings/objects"


def moments(version: str, scenario: str) -> Iterator[dict[str, list[Any]]]:
    """The objects that were there, by resource, after each event of the watches."""
    there: dict[tuple[str, str], Any] = {}
    for kind, resource, thing in json.loads((RECORDINGS / version / f"{scenario}.json").read_text(encoding="utf-8")):
        key = (resource, thing["metadata"]["name"])
        if kind == "DELETED":
            there.pop(key, None)
        else:
            there[key] = thing
        yield {
            name: [thing for (resource, _), thing in there.items() if resource == name]
            for name in ("rayjobs", "rayclusters", "pods", "events")
        }


def told(moment: dict[str, list[Any]]) -> Diagnosis | None:
    return explained(
        moment["pods"],
        moment["events"],
        rayjob=next(iter(reversed(moment["rayjobs"])), None),
        raycluster=next(iter(reversed(moment["rayclusters"])), None),
    )


def codes(version: str, scenario: str) -> list[str | None]:
    """What was told in turn, each once."""
    found = [told(moment) for moment in moments(version, scenario)]
    said = [None if one is None else one.code for one in found]
    return [code for number, code in enumerate(said) if number == 0 or said[number - 1] != code]


# Before the operator's first status nobody has looked at an object; while it is deleted a finalizer holds it.
BEGINNING, END = ["operator-silent", None, "operator-silent"], [None, "deletion-stuck", None]


@pytest.mark.parametrize(
    ("version", "scenario"),
    [
        ("1.4.2", "interactive-client-driver-success"),
        ("1.7.0", "interactive-client-driver-success"),
        ("1.7.0", "interactive-head-killed"),
    ],
)
def test_a_cluster_that_works_has_no_trouble_between_its_beginning_and_its_end(version: str, scenario: str) -> None:
    assert codes(version, scenario) == BEGINNING + END


def test_a_cluster_with_a_worker_has_no_trouble_after_its_beginning() -> None:
    assert codes("1.7.0", "raycluster-worker-lifecycle") == ["operator-silent", None]


def test_an_image_that_does_not_exist_is_told_as_long_as_the_pod_is_there() -> None:
    found = [one for moment in moments("1.7.0", "head-image-missing") if (one := told(moment)) is not None]
    images = [one for one in found if one.code == "image-not-found"]

    assert codes("1.7.0", "head-image-missing")[: len(BEGINNING) + 2] == [*BEGINNING, None, "image-not-found"]
    assert {one.proof is not None for one in images} == {True}
    (sentence,) = {one.sentence for one in images}  # the same while kubelet backs off and tries again
    assert sentence.startswith("image rayproject/ray:missing of container ray-head of pod job-k-")
    assert {one.reason for one in images} == {"ErrImagePull", "ImagePullBackOff"}


def test_the_clusters_own_condition_tells_of_the_image() -> None:
    heads = [
        explain_head(head_of_raycluster(cluster))
        for moment in moments("1.7.0", "head-image-missing")
        for cluster in moment["rayclusters"]
    ]

    assert {one.code for one in heads if one is not None} == {"image-not-found"}


def test_a_head_that_fits_nowhere_is_told_with_what_it_needs() -> None:
    found = [one for moment in moments("1.7.0", "head-unschedulable") if (one := told(moment)) is not None]
    (sentence,) = {one.sentence for one in found if one.code == "unschedulable-resources"}

    assert sentence.endswith("needs 500 CPU; it fits no node: 0/1 nodes are available: 1 Insufficient cpu")
    assert not any(one.proof for one in found)


def test_each_spec_that_was_refused_is_told_in_the_operators_words() -> None:
    refused = [
        (one.sentence, job["status"]["message"])
        for moment in moments("1.7.0", "invalid-specs")
        for job in moment["rayjobs"]
        if job["status"].get("jobDeploymentStatus") == "ValidationFailed"
        and (one := explained([], moment["events"], rayjob=job)) is not None
        and one.code == "refused"
    ]

    assert len({message for _, message in refused}) == 11
    assert all(" ".join(message.split()) in sentence for sentence, message in refused)
