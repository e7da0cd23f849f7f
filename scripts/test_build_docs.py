from build_docs import variables_of


def test_without_urls_the_site_has_a_version_and_no_link_to_the_source() -> None:
    assert variables_of({"project": {"version": "0.5.0"}}) == {"SITE_VERSION": "dagster-ray 0.5.0"}


def test_the_urls_of_the_project_are_those_of_the_site() -> None:
    urls = {"Source": "https://example.com/source", "Documentation": "https://example.com/docs/", "Issues": "unused"}
    assert variables_of({"project": {"version": "0.6.0", "urls": urls}}) == {
        "SITE_VERSION": "dagster-ray 0.6.0",
        "SITE_SOURCE": "https://example.com/source",
        "SITE_URL": "https://example.com/docs/",
    }
