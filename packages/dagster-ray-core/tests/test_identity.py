"""A cluster's labels, annotations and name tell whose it is."""

# Dagster's decorators and resource classes are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import re
from typing import Any

import dagster as dg
import pytest

from dagster_ray.core import Identity, ImageCandidates, identity_of, image_candidates

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
RUN_ID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("train", "train", id="a valid text stays"),
        pytest.param("a" * 63, "a" * 63, id="63 characters stay"),
        pytest.param("", "", id="nothing stays nothing"),
        pytest.param("raw/table", "raw_table-", id="a slash is replaced and the rest keeps a hash"),
        pytest.param("map[2]", "map_2-", id="brackets at the end are dropped"),
        pytest.param("_x", "x-", id="a value starts with a letter or digit"),
        pytest.param("a" * 64, "a" * 54 + "-", id="a long text is cut"),
        pytest.param("日本", "", id="a text without any valid character becomes a hash"),
        pytest.param("a\n", "a-", id="a line break is no part of a value"),
    ],
)
def test_label_values(text: str, value: str) -> None:
    got = Identity.label_value(text)
    assert got.startswith(value)
    assert LABEL.fullmatch(got)
    assert len(got) <= 63
    assert (got == text) == bool(LABEL.fullmatch(text))


def test_different_texts_have_different_label_values() -> None:
    texts = ["a/b", "a_b", "a.b/", "a/b/", "x" * 64, "x" * 65]
    assert len({Identity.label_value(text) for text in texts}) == len(texts)


def test_labels_name_what_is_known_and_annotations_hold_what_did_not_fit() -> None:
    identity = Identity(run_id=RUN_ID, step_key="train", resource_key="ray", job="jobs", asset_keys=("b/c", "a"))
    assert identity.labels == {
        "app.kubernetes.io/managed-by": "dagster-ray",
        "dagster/run-id": RUN_ID,
        "dagster/step-key": "train",
        "dagster/resource-key": "ray",
        "dagster/job": "jobs",
        "dagster/asset-key": Identity.label_value("a,b/c"),
    }
    assert identity.annotations == {"dagster/asset-key": "a,b/c"}


def test_an_identity_of_which_nothing_is_known_is_still_ours() -> None:
    assert Identity().labels == {"app.kubernetes.io/managed-by": "dagster-ray"}
    assert Identity().annotations == {}


@pytest.mark.parametrize(
    ("prefix", "limit", "start"),
    [
        pytest.param("ray", 47, "ray-0a1b2c3d-", id="an ordinary prefix"),
        pytest.param("My Team's", 47, "my-team-s-0a1b2c3d-", id="a prefix that is no DNS label"),
        pytest.param("9lives", 47, "lives-0a1b2c3d-", id="a name starts with a letter"),
        pytest.param("--", 47, "ray-0a1b2c3d-", id="a prefix without letters"),
        pytest.param("p" * 99, 47, "p" * 29 + "-0a1b2c3d-", id="a long prefix is cut"),
        pytest.param("a" * 28 + "-b", 47, "a" * 28 + "-0a1b2c3d-", id="no two dashes meet at the cut"),
    ],
)
def test_names_are_dns_labels_within_the_limit(prefix: str, limit: int, start: str) -> None:
    name = Identity(run_id=RUN_ID, step_key="train").cluster_name(prefix, limit)
    assert name.startswith(start)
    assert DNS_1035.fullmatch(name)
    assert len(name) <= limit


def test_a_name_is_the_same_for_the_same_identity_and_differs_for_every_other() -> None:
    given: list[dict[str, Any]] = [
        {},
        {"step_key": "other"},
        {"attempt": 1},
        {"resource_key": "other"},
        {"step_key": "trainr", "resource_key": "ay"},
        {"run_id": RUN_ID[:8] + "-another"},
    ]
    same: dict[str, Any] = {"run_id": RUN_ID, "step_key": "train", "resource_key": "ray"}
    identities = [Identity(**(same | fields)) for fields in given]
    assert len({identity.cluster_name() for identity in identities}) == len(given)
    assert identities[0].cluster_name() == Identity(run_id=RUN_ID, step_key="train", resource_key="ray").cluster_name()
    assert Identity(run_id=RUN_ID, job="a").cluster_name() == Identity(run_id=RUN_ID, job="b").cluster_name()


SEEN: list[Identity] = []
IMAGES: list[ImageCandidates] = []


class Looker(dg.ConfigurableResource[Any]):
    """Notes in set-up who it is for."""

    note: str = ""  # Dagster warns of a resource without fields

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        SEEN.append(identity_of(context, environ={"DAGSTER_CLOUD_GIT_SHA": "abc"}))
        IMAGES.append(image_candidates(context, environ={"DAGSTER_CURRENT_IMAGE": "repo/img:7"}))


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()
    IMAGES.clear()


def test_set_up_of_an_asset_tells_run_step_resource_job_and_asset() -> None:
    @dg.asset(key_prefix="raw")
    def table(ray_cluster: Looker) -> None: ...

    result = dg.materialize(
        [table], resources={"ray_cluster": Looker()}, selection=[table], tags={"dagster/image": "i"}
    )
    (identity,) = SEEN
    assert identity.run_id == result.run_id
    assert (identity.step_key, identity.resource_key, identity.attempt) == ("raw__table", "ray_cluster", 0)
    assert (identity.git_sha, identity.code_location) == ("abc", None)
    assert identity.asset_keys in {("raw/table",), ()}
    (images,) = IMAGES
    assert images == ImageCandidates(run_tags={"dagster/image": "i"}, environ_image="repo/img:7")


def test_a_step_that_asks_itself_knows_its_assets_and_partition() -> None:
    seen: list[Identity] = []

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a|b"]))
    def table(context: dg.AssetExecutionContext) -> None:
        seen.append(identity_of(context, resource_key="mine"))

    dg.materialize([table], partition_key="a|b", tags={"dagster/backfill": "qhsmkxqf"})
    assert [(one.step_key, one.asset_keys, one.partition_key, one.resource_key) for one in seen] == [
        ("table", ("table",), "a|b", "mine")
    ]
    assert seen[0].labels["dagster/backfill"] == "qhsmkxqf"


def test_attempts_are_counted_from_the_events_of_the_step() -> None:
    seen: list[int] = []

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
    def stubborn(context: dg.OpExecutionContext) -> None:
        seen.append(identity_of(context).attempt)
        if context.retry_number < 2:
            raise RuntimeError("once more")

    @dg.job
    def job() -> None:
        stubborn()

    assert job.execute_in_process().success
    assert seen == [0, 1, 2]


def test_outside_of_a_run_each_call_has_a_name_of_its_own_and_no_run() -> None:
    context = dg.build_init_resource_context()
    first, second = identity_of(context), identity_of(context)
    assert first.run_id is None
    assert "dagster/run-id" not in first.labels
    assert first.cluster_name() != second.cluster_name()
    assert image_candidates(context, environ={}) == ImageCandidates()


def test_a_directly_called_op_has_no_run_either() -> None:
    assert identity_of(dg.build_op_context()).run_id is None
