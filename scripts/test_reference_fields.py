import re

from reference_fields import Row, all_rows, default_text, lacks_of, table

from dagster_ray.kuberay import KubeRayInteractiveJob

ROWS = all_rows()
UNITS = re.compile(
    r"seconds|bytes|cpus|gpus|how (?:often|many)|status|exit code|port|tried before|repeatable|devices|pods",
    re.IGNORECASE,
)


def rows_of(path: str) -> dict[str, Row]:
    return {row.name: row for row in ROWS[path]}


def test_every_field_of_every_public_class_has_a_type_a_default_and_a_description() -> None:
    assert {
        f"{path}.{row.name}": lacks for path, rows in ROWS.items() for row in rows if (lacks := lacks_of(row))
    } == {}


def test_a_field_that_is_a_number_says_of_what() -> None:
    numbers = {
        f"{path}.{row.name}": row.description
        for path, rows in ROWS.items()
        for row in rows
        if row.type in {"`int`", "`float`", "`int` or `None`", "`float` or `None`"}
    }
    assert len(numbers) > 30
    assert {name: text for name, text in numbers.items() if not UNITS.search(f"{name}: {text}")} == {}


def test_a_resource_shows_the_fields_that_it_inherits_after_its_own() -> None:
    rows = rows_of("dagster_ray.kuberay.KubeRayCluster")
    names = list(rows)
    assert names[:2] == ["ray_cluster", "cluster_sharing"]
    assert {"image", "timeout", "lifecycle"} <= set(names)
    assert rows["timeout"] == Row(
        "timeout", "`float`", "`600.0`", "Seconds that creating, waiting and connecting may take together."
    )
    assert rows["access"].type == '`"auto"` or `"direct"` or `"port_forward"`'
    assert rows["cluster_sharing"].type == "[`ClusterSharing`][dagster_ray.kuberay.ClusterSharing]"


def test_a_kubernetes_class_shows_both_spellings() -> None:
    row = rows_of("dagster_ray.kuberay.InteractiveRayJobSpec")["ttl_seconds_after_finished"]
    assert row.alias == "ttlSecondsAfterFinished"
    assert row.default == "`None`"


def test_the_default_of_a_nested_configuration_is_what_the_resource_changes() -> None:
    lifecycle = KubeRayInteractiveJob.model_fields["lifecycle"]
    assert default_text(lifecycle.get_default(call_default_factory=True)) == '`Lifecycle(cleanup="on_exception")`'


def test_the_options_of_a_client_are_described_once() -> None:
    options, client = rows_of("dagster_ray.pipes.clients.ClientOptions"), rows_of("dagster_ray.pipes.PipesRayJobClient")
    assert options["termination_timeout"].description == client["termination_timeout"].description


def test_a_row_has_its_anchor_and_no_cell_too_many() -> None:
    text = table("package.Class", [Row("name", "`dict[str, int | None]`", "`1`", "One | two.\nThree.")])
    row = text.splitlines()[-1]
    assert 'id="package.Class.name"' in row
    assert row.endswith("| `dict[str, int | None]` | `1` | One \\| two. Three. |")


def test_the_words_of_a_choice_are_shown() -> None:
    assert rows_of("dagster_ray.pipes.PipesRayJobClient")["require_messages"].type == (
        '`"never"` or `"if_opened"` or `"always"`'
    )
    assert rows_of("dagster_ray.pipes.PipesRayJobClient")["client"].type == "`RayJobClient` or `str` or `None`"
