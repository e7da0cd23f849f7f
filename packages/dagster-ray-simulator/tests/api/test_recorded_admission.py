"""Objects sent to a real API server (1.36.1) with a real operator (1.4.2, 1.7.0): ours answers and refuses the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from dagster_ray.kuberay._operator_rules.verdicts import (
    Rejection,
    event_message,
    raycluster_rejection,
    raycluster_rejections,
    rayjob_rejection,
    rayjob_rejections,
)
from dagster_ray.simulator._api.schema import Admission, admit
from dagster_ray.simulator._api.schema_answers import invalid_status, strict_status, warnings

Case = dict[str, Any]
CASES: list[Case] = json.loads((Path(__file__).parent / "data" / "admission_cases.json").read_text())


def _name(case: Case) -> str:
    return f"{case['version']} {case['kind']} {case['id']}"


def _admitted(case: Case) -> Admission:
    return admit(case["kind"], case["manifest"], case["version"], case.get("old"))


def _rejection(case: Case) -> Rejection | None:
    stored = _admitted(case).object
    stored["metadata"]["namespace"] = "ray"
    judge = rayjob_rejection if case["kind"] == "RayJob" else raycluster_rejection
    return judge(stored, case["version"])


@pytest.mark.parametrize("case", [case for case in CASES if "spec" in case], ids=_name)
def test_what_was_accepted_is_stored_with_the_same_fields_and_defaults(case: Case) -> None:
    admission = _admitted(case)
    assert admission.causes == ()
    assert admission.object["spec"] == case["spec"]


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["code"] < 300 and "Ignore" not in case["id"]], ids=_name
)
def test_unknown_fields_are_warned_of_in_the_same_words(case: Case) -> None:
    assert list(warnings(_admitted(case).unknown_fields)) == case.get("warnings", [])


@pytest.mark.parametrize("case", [case for case in CASES if case["code"] == 422], ids=_name)
def test_an_invalid_object_gets_the_same_answer(case: Case) -> None:
    kind = case["answer"]["details"]["kind"]
    name = case["manifest"]["metadata"].get("name", "")
    assert invalid_status(kind, "ray.io", name, _admitted(case).causes) == case["answer"]


@pytest.mark.parametrize("case", [case for case in CASES if case["code"] == 400], ids=_name)
def test_an_unknown_field_gets_the_same_answer_when_the_client_is_strict(case: Case) -> None:
    assert strict_status(case["kind"], _admitted(case).unknown_fields) == case["answer"]


@pytest.mark.parametrize("case", [case for case in CASES if "event" in case], ids=_name)
def test_the_operator_complains_in_the_same_event(case: Case) -> None:
    rejection = _rejection(case)
    stored = case["manifest"] | {"metadata": {**case["manifest"]["metadata"], "namespace": "ray"}}
    found = None if rejection is None else [rejection.reason, event_message(rejection, stored, case["version"])]
    assert found == case["event"]


@pytest.mark.parametrize("case", [case for case in CASES if "message" in case], ids=_name)
def test_the_operator_writes_the_same_status_message(case: Case) -> None:
    rejection = _rejection(case)
    assert (rejection and rejection.message) == case["message"]


@pytest.mark.parametrize("case", [case for case in CASES if "event" in case], ids=_name)
def test_a_manifest_is_judged_before_it_is_sent_as_it_is_after(case: Case) -> None:
    judge = rayjob_rejections if case["kind"] == "RayJob" else raycluster_rejections
    pruned = _admitted(case)
    if not pruned.unknown_fields:
        assert judge(case["manifest"], case["version"]) == judge(pruned.object, case["version"])
