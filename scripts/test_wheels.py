"""A README whose links would be dead on a package index is not published."""

import pytest
from wheels import relative_links


@pytest.mark.parametrize(
    ("markdown", "found"),
    [
        pytest.param("[guides](docs/index.md)", ["docs/index.md"], id="a page of the repository"),
        pytest.param("![Bars](docs/images/a.svg)", ["docs/images/a.svg"], id="an image of the repository"),
        pytest.param("[Ray](https://docs.ray.io) and [below](#license)", [], id="addresses, and parts of the page"),
    ],
)
def test_relative_links_are_found(markdown: str, found: list[str]) -> None:
    assert relative_links(markdown) == found
