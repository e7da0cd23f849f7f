"""What all verbs of the command have in common, and the verbs that ask no cluster."""

import subprocess
import sys

import pytest
import yaml
from command_world import dagster_ray

from dagster_ray.kuberay import _rights as rights
from dagster_ray.kuberay.command._cluster_rows import duration, table
from dagster_ray.kuberay.command._terminal import coloured


def test_the_package_does_not_load_its_command() -> None:
    code = "import sys, dagster_ray.kuberay; print([name for name in sys.modules if 'kuberay.command' in name])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_help_names_the_exit_codes() -> None:
    printed = dagster_ray("--help")
    assert printed.code == 0
    assert "3 the cluster could not be asked" in " ".join(printed.out.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(["rbac"], "at least one --feature", id="no feature"),
        pytest.param(["rbac", "--feature", "sharring"], "sharring does not exist", id="a feature that does not exist"),
        pytest.param(
            ["rbac", "--feature", "cleanup", "--service-account", "steps"],
            "--service-account needs the account's name, and --namespace",
            id="a service account without its namespace",
        ),
        pytest.param(["doctr"], "No such command", id="a verb that does not exist"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], text: str) -> None:
    printed = dagster_ray(*arguments)
    assert (printed.code, printed.out) == (2, "")
    assert text in printed.err


def test_rbac_prints_a_role_that_kubectl_takes() -> None:
    printed = dagster_ray("rbac", "--feature", "interactive, tokens", "--feature", "owner", "--name", "a", "-n", "ray")
    assert printed.code == 0
    chosen = rights.features_of(["interactive", "tokens", "owner"])
    assert yaml.safe_load(printed.out) == rights.roles("a", "ray", chosen)[0][0]
    assert (
        dagster_ray("rbac", "--feature", "cleanup", "--json").data
        == rights.roles("dagster-ray", None, rights.features_of(["cleanup"]))[0][0]
    )


@pytest.mark.parametrize(("account", "namespace"), [("steps", "ray"), ("dagster:steps", "dagster")])
def test_rbac_binds_the_role_to_a_service_account(account: str, namespace: str) -> None:
    words = ["rbac", "--feature", "cleanup", "--name", "a", "-n", "ray", "--service-account", account]
    printed = dagster_ray(*words)
    assert printed.code == 0, printed.err
    role, binding = yaml.safe_load_all(printed.out)
    assert role == rights.roles("a", "ray", rights.features_of(["cleanup"]))[0][0]
    assert (binding["kind"], binding["metadata"]) == ("RoleBinding", {"name": "a", "namespace": "ray"})
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "steps", "namespace": namespace}]
    machine = dagster_ray(*words, "--json").data
    assert (machine["kind"], machine["items"]) == ("List", [role, binding])


def test_rbac_marks_what_steps_can_do_without_and_binds_what_is_cluster_wide() -> None:
    words = ["rbac", "--feature", "tokens,diagnosis-wide", "-n", "ray", "--service-account", "steps"]
    printed = dagster_ray(*words)
    kinds = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"]
    documents = list(yaml.safe_load_all(printed.out))
    assert [one["kind"] for one in documents] == kinds
    assert documents[3]["metadata"] == {"name": "dagster-ray"}
    assert documents[3]["roleRef"]["kind"] == "ClusterRole"
    assert documents[3]["subjects"][0]["namespace"] == "ray"
    assert printed.out.count("# Optional. Without it, ") == 2
    assert [one["kind"] for one in dagster_ray(*words, "--json").data["items"]] == kinds


def test_rbac_lists_every_feature() -> None:
    printed = dagster_ray("rbac", "--list", "--json")
    assert {row["feature"] for row in printed.data} == set(rights.NAMES)
    assert "pods/portforward" in dagster_ray("rbac", "--list").out


def test_a_table_has_columns_as_wide_as_their_cells() -> None:
    assert table(("a", "long header"), [("wide cell", "x"), ("y", "")]).splitlines() == [
        "a          long header",
        "wide cell  x",
        "y",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (-3, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (5400, "1h30m"),
        (90_000, "1d1h"),
        (86_400, "1d"),
    ],
)
def test_a_time_span_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_there_is_no_colour_without_a_terminal() -> None:
    assert coloured("plain", "red") == "plain"
