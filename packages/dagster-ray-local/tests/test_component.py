# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import dagster as dg

from dagster_ray.local import LocalRay, LocalRayComponent


def test_a_defs_yaml_can_declare_local_ray() -> None:
    component = LocalRayComponent.from_attributes_dict(attributes={"num_cpus": 2, "lifecycle": {"cleanup": "never"}})

    resources = component.build_defs(dg.ComponentTree.for_test().load_context).resources or {}
    made = resources["ray_cluster"]
    assert isinstance(made, LocalRay)
    assert (made.num_cpus, made.lifecycle.cleanup, made.lifecycle.wait) == (2, "never", True)
