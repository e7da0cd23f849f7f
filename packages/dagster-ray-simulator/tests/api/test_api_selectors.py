"""Label and field selectors of the simulated API server."""

from typing import Any

import pytest

from dagster_ray.simulator._api.selectors import field_matcher, label_matcher
from dagster_ray.simulator._api.statuses import Refused
from dagster_ray.simulator._kubelet.resources import EVENTS_V1, RESOURCES

OBJECT: dict[str, Any] = {
    "metadata": {"name": "one", "namespace": "ns", "labels": {"n": "one", "example.com/run": "r-1", "v": "7", "e": ""}},
    "status": {"phase": "Running"},
    "involvedObject": {"name": "pod-1", "kind": "Pod"},
}

LABELS = {
    "n=one": True,
    "n==one": True,
    "n=two": False,
    "n!=two": True,
    "absent!=two": True,
    "n": True,
    "absent": False,
    "!absent": True,
    "! n": False,
    "n in (one, two)": True,
    "n in (two)": False,
    "n notin (two)": True,
    "absent notin (two)": True,
    "n=one,v=7": True,
    "n=one,v=8": False,
    "n in (one,two),!absent": True,
    "example.com/run=r-1": True,
    "e=": True,
    "e": True,
    "v>6": True,
    "v<7": False,
    "": True,
}


@pytest.mark.parametrize(("selector", "matches"), LABELS.items(), ids=LABELS)
def test_a_label_selector(selector: str, matches: bool) -> None:
    assert label_matcher(selector)(OBJECT) is matches


UNREADABLE = {
    "a b": "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
    "=x": "unable to parse requirement: found '=', expected: !, identifier, or 'end of string'",
    "a in b": "unable to parse requirement: found 'b', expected: '('",
    "a in (b": "unable to parse requirement: found '', expected: ',', ')' or identifier",
    "a=b c": "unable to parse requirement: found 'c', expected: ',' or 'end of string'",
}


@pytest.mark.parametrize(("selector", "text"), UNREADABLE.items(), ids=UNREADABLE)
def test_a_label_selector_that_cannot_be_read(selector: str, text: str) -> None:
    with pytest.raises(Refused) as refused:
        label_matcher(selector)
    assert (refused.value.code, refused.value.message) == (400, text)


FIELDS = {
    ("rayjobs", "metadata.name=one"): True,
    ("rayjobs", "metadata.name!=one"): False,
    ("rayjobs", "metadata.name=one,metadata.namespace=other"): False,
    ("pods", "status.phase=Running"): True,
    ("pods", "status.phase!=Running,metadata.name=one"): False,
    ("events", "involvedObject.name=pod-1,involvedObject.kind=Pod"): True,
    ("events", "involvedObject.name=pod-2"): False,
}


@pytest.mark.parametrize(("case", "matches"), FIELDS.items(), ids=[" ".join(case) for case in FIELDS])
def test_a_field_selector(case: tuple[str, str], matches: bool) -> None:
    assert field_matcher(case[1], RESOURCES[case[0]])(OBJECT) is matches


def test_the_second_view_of_events_names_the_same_fields_otherwise() -> None:
    assert field_matcher("regarding.name=pod-1", EVENTS_V1)(OBJECT)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        pytest.param(
            "spec.suspend=true", "field label not supported: spec.suspend", id="a field that cannot be selected by"
        ),
        pytest.param("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'", id="no comparison"),
    ],
)
def test_a_field_selector_that_is_refused(selector: str, text: str) -> None:
    with pytest.raises(Refused) as refused:
        field_matcher(selector, RESOURCES["rayjobs"])
    assert (refused.value.code, refused.value.message) == (400, text)
