"""Every situation is told: its code, whether waiting helps, the names and numbers, and what to do."""

import random
from typing import Any, cast, get_args

import pytest
from diagnosis_cases import CASES
from diagnosis_objects import Case, explained
from foreign_objects import scrambled

from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis
from dagster_ray.kuberay._diagnosis.situations import REMEDIES, Code
from dagster_ray.kuberay._kubernetes.fields import mapping, mappings


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_situation_is_told(case: Case) -> None:
    found = explained(**case.facts)

    assert found is not None
    assert (found.code, found.proof is not None) == (case.code, case.fatal), found
    assert [part for part in case.says if part not in found.sentence] == [], found.sentence
    assert case.remedy in found.remedy
    assert found.reason


def test_every_code_has_a_case_and_a_remedy() -> None:
    assert {case.code for case in CASES.values()} == set(get_args(Code)) == set(REMEDIES)


@pytest.mark.parametrize("code", REMEDIES)
def test_a_remedy_is_a_sentence(code: Code) -> None:
    assert REMEDIES[code].endswith(".")
    assert REMEDIES[code][0].isupper()
    assert Diagnosis(code, False, "r", "s", REMEDIES[code]).page == f"troubleshooting#{code}"


# Foreign objects


@pytest.mark.parametrize("seed", range(20))
def test_no_shape_of_an_object_raises(seed: int) -> None:
    rng = random.Random(seed)
    whole: dict[str, list[Any]] = {}
    for case in CASES.values():
        for key, value in case.facts.items():
            whole.setdefault(key, []).extend(cast("list[Any]", value) if isinstance(value, list) else [value])
    for _ in range(40):
        facts: dict[str, Any] = {}
        for key, values in whole.items():
            if key == "closed_port":
                continue
            some = rng.sample(values, k=min(len(values), 3))
            one = key in {"rayjob", "raycluster", "logs"}
            made = [scrambled(item, rng) for item in some]
            facts[key] = mapping(made[0]) if one else list(mappings(made))  # as the API's client hands them on
        found = explained(**facts)
        assert found is None or (found.sentence is not None and found.remedy)
