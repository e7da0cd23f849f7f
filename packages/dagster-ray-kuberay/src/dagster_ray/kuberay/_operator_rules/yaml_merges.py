"""YAML whose merge keys (`<<`) may write out a bounded number of values. Pure.

A merge copies all pairs of the mappings that it names. Ten references a line, line after line, make a few hundred bytes
into millions of pairs while the text is still being read, before anything can look at the result.
"""

from typing import Any, cast

import yaml
from typing_extensions import override

LIMIT_MERGED = 50_000
"""Most pairs that the merge keys of one text may copy."""
_MERGE = "tag:yaml.org,2002:merge"


class TooManyMergesError(yaml.constructor.ConstructorError):
    """The merge keys of a text copy more than `LIMIT_MERGED` pairs."""


class BoundedMerges(yaml.constructor.SafeConstructor):
    """The part of a safe loader that merges mappings; it refuses to copy more than `LIMIT_MERGED` pairs."""

    _merged = 0

    @override
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for source in _sources(node):
            self.flatten_mapping(source)  # first, so that its size is known
            self._merged += len(source.value)
            if self._merged > LIMIT_MERGED:
                problem = f"its merge keys (`<<`) write out more than {LIMIT_MERGED} values"
                raise TooManyMergesError(None, None, problem, node.start_mark)
        super().flatten_mapping(node)


def _sources(node: yaml.MappingNode) -> list[yaml.MappingNode]:
    """Return the mappings that a mapping merges."""
    found: list[Any] = []
    for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
        if key.tag == _MERGE:
            found += value.value if isinstance(value, yaml.SequenceNode) else [value]
    return [source for source in found if isinstance(source, yaml.MappingNode)]


class BoundedLoader(BoundedMerges, yaml.SafeLoader):
    """PyYAML's safe loader with bounded merge keys."""
