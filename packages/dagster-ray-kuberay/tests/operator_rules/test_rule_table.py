"""Each rule of the table says what the operator says, in the releases that say it, and has advice of ours.

What the operator says is in operator_words.json, from KubeRay's source (scripts/operator_words.py). What real operators
answered is in the tests of the simulator.
"""

import json
import re
import string
from pathlib import Path

import pytest

from dagster_ray.kuberay._operator_rules.crd_fields import release
from dagster_ray.kuberay._operator_rules.rules import PREFIX, Rule
from dagster_ray.kuberay._operator_rules.verdicts import ALL_SECTIONS

WORDS: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "operator_words.json").read_text())
TABLE: dict[str, Rule] = {
    f"{number} {rule.words[:50] or rule.reason[:50]}": rule
    for number, rule in enumerate(dict.fromkeys(rule for _, rules in ALL_SECTIONS for rule in rules))
}
OF_OPERATOR = {name: rule for name, rule in TABLE.items() if rule.words}
# The API server's own rules make up these texts.
MADE_UP = ("{faults}", "{fault}")
NUMBERED = "deletionRules[{number}]: "
METADATA = "The RayJob metadata is invalid: "
# Only with features of 1.7 that are off by default, and that the table ends at; what the CRD has a default or an enum
# for; and what only passes on another text.
GATED = r"networkPolicy|tlsOptions|historyServerOptions|history server|embedded GCS FT|ClaimName"
BY_THE_CRD = r"must set both minReplicas and maxReplicas|Spec.UpgradeStrategy.Type value"
PASSED_ON = r"^(The RayJob spec is invalid: |deletionRules\[%d\]: )?%[sw]$"
ELSEWHERE = rf"{GATED}|{BY_THE_CRD}|{PASSED_ON}"


def pattern(text: str) -> str:
    """A format string of Python or Go as a pattern of what it makes."""
    parts = re.split(r"\{[^{}]*\}|%[sdwvq]", text)
    return ".+".join(map(re.escape, parts))


def is_same(ours: str, theirs: str) -> bool:
    return bool(re.fullmatch(pattern(ours), theirs) or re.fullmatch(pattern(theirs), ours))


def forms(rule: Rule, version: str) -> set[str]:
    """How a rule's words may be written in a release's source."""
    wanted = release(version)
    words = rule.earlier[1] if rule.earlier is not None and wanted < rule.earlier[0] else rule.words
    plain = words.removeprefix(NUMBERED)
    kinds = {plain.replace("{kind}", kind) for kind in ("RayJob", "RayCluster")}
    return {words, *kinds, *(METADATA + text for text in kinds), *([PREFIX + plain] if rule.is_prefixed else [])}


def is_said(rule: Rule, version: str) -> bool:
    texts = [text for text in WORDS[version].values() if not re.search(PASSED_ON, text)]
    return any(is_same(ours, theirs) for ours in forms(rule, version) for theirs in texts)


@pytest.mark.parametrize("rule", OF_OPERATOR.values(), ids=OF_OPERATOR)
def test_a_rule_is_in_the_releases_that_say_it_and_in_no_other(rule: Rule) -> None:
    if rule.words in MADE_UP:
        return
    twins = [other for other in OF_OPERATOR.values() if other.words == rule.words]
    having = [version for version in WORDS if any(twin.is_in(release(version)) for twin in twins)]
    assert [version for version in WORDS if any(is_said(twin, version) for twin in twins)] == having


@pytest.mark.parametrize("rule", OF_OPERATOR.values(), ids=OF_OPERATOR)
def test_a_rule_names_its_line_in_the_last_release_that_has_it(rule: Rule) -> None:
    last = [version for version in WORDS if rule.is_in(release(version))][-1]
    said = WORDS[last].get(str(rule.line), "")
    assert rule.words in MADE_UP or any(is_same(ours, said) for ours in forms(rule, last))
    assert rule.line


@pytest.mark.parametrize("version", WORDS)
def test_all_that_the_operator_says_is_in_the_table(version: str) -> None:
    wanted = release(version)
    ours = {form for rule in OF_OPERATOR.values() if rule.is_in(wanted) for form in forms(rule, version)}
    ours -= {form for form in ours if form.endswith(MADE_UP) and form.rpartition("{")[0] in {"", PREFIX, METADATA}}
    missing = [text for text in WORDS[version].values() if not any(is_same(form, text) for form in ours)]
    assert [text for text in missing if not re.search(ELSEWHERE, text)] == []


@pytest.mark.parametrize("rule", TABLE.values(), ids=TABLE)
def test_a_rule_names_a_field_and_says_what_to_do(rule: Rule) -> None:
    assert rule.field.startswith(("{path}", "metadata."))
    assert rule.advice
    assert not rule.advice.endswith(".")
    assert rule.words or rule.reason
    for text in (rule.field, rule.words, rule.reason, rule.advice):
        assert [name for _, name, _, _ in string.Formatter().parse(text) if name == ""] == []
