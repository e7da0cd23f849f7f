"""The page `troubleshooting` has what the code tells: every code, whether and when it is fatal, and what to do."""

import re
from pathlib import Path

import pytest
from diagnosis_cases import CASES

from dagster_ray.kuberay._diagnosis.situations import CANNOT_RUN, PROOFS, REMEDIES, Code

PAGE = Path(__file__).parents[4] / "docs/troubleshooting.md"
_SECTION = re.compile(r"(?ms)^### (\S+)\n(.*?)(?=^##|\Z)")
SECTIONS = dict(_SECTION.findall(PAGE.read_text(encoding="utf-8")))


def waiting_helps(code: Code) -> str:
    """Whether waiting helps against trouble of the head or of the whole cluster."""
    fatal = {case.fatal for name, case in CASES.items() if case.code == code and "worker" not in name}
    return {frozenset({True}): "no", frozenset({True, False}): "it depends"}.get(frozenset(fatal), "yes")


def test_every_code_has_a_section_and_every_section_a_code() -> None:
    assert set(SECTIONS) == set(REMEDIES)


@pytest.mark.parametrize("code", REMEDIES)
def test_a_section_says_why_whether_waiting_helps_and_what_to_do(code: Code) -> None:
    example, why, waiting, fatal, remedy = [line for line in SECTIONS[code].splitlines() if line]

    assert re.fullmatch(r"> `.+`", example)
    assert re.match(r"- Why: .+\.$", why)
    assert re.match(rf"- Does waiting help: {waiting_helps(code)}\. .+\.$", waiting)
    words = PROOFS[code].words if code in PROOFS else "never"
    assert re.fullmatch(rf"- Fails the step: {re.escape(words)}(?:; .+)?\.", fatal)
    assert remedy == f"- What to do: {REMEDIES[code]}"


@pytest.mark.parametrize("code", REMEDIES)
def test_the_example_of_a_section_is_what_is_told(code: Code) -> None:
    (example,) = re.findall(r"(?m)^> `(.+)`$", SECTIONS[code])

    parts = [case.says for case in CASES.values() if case.code == code]
    assert any(all(" ".join(part.split()) in example for part in says) for says in parts)


def test_what_fails_a_step_has_a_proof_and_what_never_does_has_none() -> None:
    assert {case.code for case in CASES.values() if case.fatal} == set(PROOFS)
    assert CANNOT_RUN.words in SECTIONS["container"]


def test_the_table_says_how_often_and_how_long_each_situation_is_seen_before_it_is_fatal() -> None:
    rows = re.findall(r"(?m)^\| (\[`.+?) \| (.+) \|$", PAGE.read_text(encoding="utf-8"))
    told = {code: words for codes, words in rows for code in re.findall(r"\[`([a-z-]+)`\]", codes)}
    assert told == {code: proof.words for code, proof in PROOFS.items()}
