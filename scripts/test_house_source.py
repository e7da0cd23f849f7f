"""What the figures of the house count."""

from pathlib import Path

import house_source as house


def module(name: str, text: str) -> house.Module:
    return house.Module(name, Path("packages/dagster-ray-core/src", *name.split(".")).with_suffix(".py"), text)


def test_imports_count_also_inside_functions_and_for_type_checkers_only():
    graph = house.graph_of(
        [
            module("a.high", "if TYPE_CHECKING:\n    from a.low import Low\n"),
            module("a.low", "def late():\n    from a import high\n"),
            module("a", ""),
        ]
    )
    assert graph == {"a.high": {"a.low"}, "a.low": {"a.high"}, "a": set()}
    assert house.circles(graph) == [["a.high", "a.low"]]
    assert list(house.upward(graph, "a", ["high", "low"])) == ["a.low -> a.high"]


def test_a_module_beside_the_importing_one_is_no_lower_layer():
    graph = {"a.left.one": {"a.right"}, "a.right": {"a.low"}, "a.low": set[str]()}
    assert list(house.upward(graph, "a", ["left | right", "low"])) == ["a.left.one -> a.right"]
    assert not list(house.upward(graph, "a", ["left : right", "low"]))


def test_three_of_the_four_in_one_call_are_handed_on():
    text = "def yes(): f(api, x, deadline=deadline, log=log)\ndef no(): f(api, log); f(deadline)\n"
    kept = module("a", text + "def kept(self): f(self._api, self._log, deadline)\n")
    assert house.handing_on([kept], attributes=False) == ["a: yes"]
    assert house.handing_on([kept], attributes=True) == ["a: yes", "a: kept"]


def test_a_stretch_that_two_places_have_in_common_is_one_pair():
    stretch = "".join(f"name_{n} = {n}\n\n" for n in range(8))
    pairs = house.same_lines([module("a", stretch), module("b", f'"""Text."""\n{stretch}'), module("c", stretch[:50])])
    root = "packages/dagster-ray-core/src"
    assert pairs == [f"{root}/a.py:1 {root}/b.py:2"]
