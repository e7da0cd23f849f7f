"""`driver="cluster"` works under the Role that `dagster-ray rbac` prints for it, and doctor names what is missing."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_world import dagster_ray
from driver_steps import reconstructable
from driver_world import IN_PROCESS, DriverWorld, driver_world

from dagster_ray.simulator import Account, Rule

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning"),
    pytest.mark.many_processes,
]


@pytest.fixture
def world(tmp_path: Path) -> Generator[DriverWorld]:
    with driver_world(tmp_path) as found:
        yield found


def account(world: DriverWorld, rules: list[dict[str, Any]]) -> Path:
    """Return the kubeconfig of an account that has these rules in `default`, and nothing else."""
    granted = [Rule(one["apiGroups"], one["resources"], one["verbs"]) for one in rules]
    world.simulator.access.accounts["role"] = Account("role", granted, frozenset({"default"}))
    file = world.folder / "kubeconfig"
    file.write_text(yaml.safe_dump(world.simulator.account("role")), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("kind", "feature", "verb", "resource"),
    [
        pytest.param("RayJob", "interactive", "patch", "rayjobs", id="interactive"),
        pytest.param("RayCluster", "cluster", "watch", "rayclusters", id="a cluster of its own"),
    ],
)
def test_the_role_that_is_printed_is_enough_for_a_step_and_doctor_names_a_verb_that_is_missing(
    world: DriverWorld, kind: str, feature: str, verb: str, resource: str
) -> None:
    """From outside of the cluster, where events are read from the nodes by port-forward."""
    features = ("--feature", f"{feature},port-forward,node-logs")
    role: dict[str, Any] = yaml.safe_load(dagster_ray("rbac", *features).out)
    file = account(world, role["rules"])
    (world.folder / "go").touch()
    fields = world.fields(kubeconfig_file=str(file), lifecycle={"cleanup": "always", "connect": False})
    run = world.execute(reconstructable("slow", kind, fields, world.folder), IN_PROCESS)
    assert run.success, world.errors
    assert (world.objects("rayjobs"), world.objects("rayclusters")) == ([], [])
    assert not [entry.user_message for entry in world.logs if "forbidden" in entry.user_message]

    for rule in role["rules"]:
        if resource in rule["resources"] and verb in rule["verbs"]:
            rule["verbs"].remove(verb)
    account(world, role["rules"])
    (check,) = [
        one
        for one in dagster_ray("doctor", "--kubeconfig", file, *features, "--json").data
        if one["name"] == f"rights: {feature}"
    ]
    assert (check["state"], f"{verb} {resource}" in check["sentence"]) == ("failed", True)
