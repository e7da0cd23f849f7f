"""Which tests of a contract class run with `make test`, where its sister class runs all of them."""

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a class `weekly` that its marker `weekly_except` does not name."""
    for item in items:
        marker = item.get_closest_marker("weekly_except")
        if marker is None or not isinstance(item, pytest.Function) or item.cls is None:
            continue
        unknown = [name for name in marker.args if not hasattr(item.cls, name)]
        if unknown:
            raise pytest.UsageError(f"weekly_except of {item.cls.__name__} names no test: {', '.join(unknown)}")
        if item.originalname not in marker.args:
            item.add_marker(pytest.mark.weekly)
