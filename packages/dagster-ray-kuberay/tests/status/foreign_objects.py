"""Objects that no API server, operator or person should have written, made from good ones."""

import copy
import random
from typing import Any, cast

SCRAPS: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        2.5,
        10**30,
        "",
        "x",
        "NaN",
        "1e999",
        "9" * 5000,
        "0/9999999999 nodes are available: 9 Insufficient cpu",
    ),
    *([], {}, [None], [[]], [{}], {"": None}, {"name": []}, {"status": {"conditions": "x"}}, ["head", {"a": 1}]),
)


def scrambled(value: Any, rng: random.Random, *, rate: float = 0.08) -> Any:
    """Return a copy of a JSON value in which some part is something else, or missing, or there twice."""
    if rng.random() < rate:
        return copy.deepcopy(rng.choice(SCRAPS))
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: scrambled(item, rng, rate=rate) for key, item in items if rng.random() > rate / 3}
    if isinstance(value, list):
        listed = cast("list[Any]", value)
        return [scrambled(item, rng, rate=rate) for item in listed for _ in range(2 if rng.random() < 3 * rate else 1)]
    return value


def scrambled_object(value: dict[str, Any], rng: random.Random, *, rate: float = 0.08) -> dict[str, Any]:
    """Return the same, but a mapping in any case: an answer that is none is not taken for an object."""
    return {key: scrambled(item, rng, rate=rate) for key, item in value.items() if rng.random() > rate / 3}
