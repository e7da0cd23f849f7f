"""What the store of the simulated cluster promises: versions, conflicts, finalizers, owners, history."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from dagster_ray.simulator._api.statuses import Refused
from dagster_ray.simulator._api.store import Store

Object = dict[str, Any]


@pytest.fixture
def store() -> Store:
    return Store(lambda: datetime(2026, 1, 1, tzinfo=UTC))


def named(name: str, **metadata: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "ns", **metadata}, "spec": {"a": 1}}


def owned_by(*owners: Object, blocks: bool = True) -> list[Object]:
    return [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }
        for owner in owners
    ]


def heard(store: Store) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    store.subscribe(lambda kind, plural, obj: found.append((kind, plural, obj["metadata"]["name"])))
    return found


def refusal(call: Any, *args: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        call(*args, **more)
    return refused.value.code, refused.value.reason


def test_what_comes_in_and_goes_out_is_not_shared(store: Store) -> None:
    given = named("one")
    made = store.create("rayclusters", given)
    given["spec"]["a"] = made["spec"]["a"] = 2
    store.list("rayclusters")[0]["spec"]["a"] = 3
    found = store.get("rayclusters", "ns", "one")
    assert found is not None
    assert found["spec"] == {"a": 1}


def test_versions_grow_over_all_resources_and_every_change_is_heard_once_in_order(store: Store) -> None:
    events = heard(store)
    versions = [int(store.create(plural, named("x"))["metadata"]["resourceVersion"]) for plural in ("pods", "secrets")]
    store.delete("secrets", "ns", "x")
    assert versions[1] == versions[0] + 1
    assert store.resource_version == versions[1] + 1
    assert events == [("ADDED", "pods", "x"), ("ADDED", "secrets", "x"), ("DELETED", "secrets", "x")]


def test_a_write_that_changes_nothing_keeps_the_version_and_is_not_heard(store: Store) -> None:
    made = store.create("rayclusters", named("one"))
    events = heard(store)
    assert store.replace("rayclusters", made)["metadata"] == made["metadata"]
    assert store.patch("rayclusters", "ns", "one", {"spec": {"a": 1}}, "")["metadata"] == made["metadata"]
    assert events == []


def test_the_generation_counts_changes_of_the_spec_alone(store: Store) -> None:
    store.create("rayclusters", named("one"))
    steps: list[Object] = [{"metadata": {"labels": {"x": "y"}}}, {"spec": {"a": 2}}, {"status": {"ignored": True}}]
    found = [store.patch("rayclusters", "ns", "one", body, "") for body in steps]
    found.append(store.patch("rayclusters", "ns", "one", {"status": {"b": 1}, "spec": {"a": 3}}, "", status=True))
    assert [obj["metadata"]["generation"] for obj in found] == [1, 2, 2, 2]
    assert (found[2].get("status"), found[3]["status"], found[3]["spec"]) == (None, {"b": 1}, {"a": 2})


def test_an_old_version_is_a_conflict_and_no_version_is_none(store: Store) -> None:
    made = store.create("rayclusters", named("one"))
    store.patch("rayclusters", "ns", "one", {"spec": {"a": 2}}, "")
    version = made["metadata"]["resourceVersion"]
    assert refusal(store.replace, "rayclusters", made) == (409, "Conflict")
    patch = {"metadata": {"resourceVersion": version}}
    assert refusal(store.patch, "rayclusters", "ns", "one", patch, "") == (409, "Conflict")
    assert refusal(store.delete, "rayclusters", "ns", "one", resource_version=version) == (409, "Conflict")
    assert refusal(store.delete, "rayclusters", "ns", "one", uid="other") == (409, "Conflict")
    assert store.replace("rayclusters", named("one"))["spec"] == {"a": 1}


def test_of_many_creations_of_one_name_one_wins(store: Store) -> None:
    outcomes: list[int] = []

    def create() -> None:
        try:
            store.create("rayclusters", named("one"))
            outcomes.append(201)
        except Refused as refused:
            outcomes.append(refused.code)

    threads = [threading.Thread(target=create) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [201, *[409] * 19]


def test_patches_of_different_keys_at_once_all_count(store: Store) -> None:
    store.create("rayclusters", named("one"))

    def patch(number: int) -> None:
        store.patch("rayclusters", "ns", "one", {"metadata": {"annotations": {f"a{number}": "x"}}}, "")

    threads = [threading.Thread(target=patch, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get("rayclusters", "ns", "one")
    assert found is not None
    assert len(found["metadata"]["annotations"]) == 50


def test_a_generated_name_is_short_and_of_the_servers_alphabet(store: Store) -> None:
    made = store.create("rayclusters", {"metadata": {"generateName": "x" * 70, "namespace": "ns"}})
    assert len(made["metadata"]["name"]) == 63
    assert set(made["metadata"]["name"][58:]) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_a_finalizer_holds_an_object_until_it_is_taken_away(store: Store) -> None:
    store.create("rayclusters", named("one", finalizers=["f"]))
    held = store.delete("rayclusters", "ns", "one")
    assert held["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    assert held["metadata"]["generation"] == 2
    assert store.delete("rayclusters", "ns", "one") == held
    assert refusal(store.create, "rayclusters", named("one")) == (409, "AlreadyExists")
    more = {"metadata": {"finalizers": ["f", "g"]}}
    assert refusal(store.patch, "rayclusters", "ns", "one", more, "") == (422, "Invalid")
    events = heard(store)
    last = store.patch("rayclusters", "ns", "one", {"metadata": {"finalizers": None}}, "")
    assert last["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    assert store.get("rayclusters", "ns", "one") is None
    assert events == [("DELETED", "rayclusters", "one")]


def test_what_an_object_owns_goes_with_it(store: Store) -> None:
    job = store.create("rayjobs", named("job"))
    cluster = store.create("rayclusters", named("cluster", ownerReferences=owned_by(job)))
    store.create("services", named("svc", ownerReferences=owned_by(cluster)))
    store.create("secrets", named("unowned"))
    store.delete("rayjobs", "ns", "job")
    assert [store.list(plural) for plural in ("rayclusters", "services")] == [[], []]
    assert len(store.list("secrets")) == 1


def test_an_owner_that_lives_keeps_what_a_second_owner_loses(store: Store) -> None:
    one, two = store.create("rayjobs", named("one")), store.create("rayjobs", named("two"))
    store.create("secrets", named("both", ownerReferences=owned_by(one, two)))
    store.delete("rayjobs", "ns", "one")
    (left,) = store.list("secrets")
    assert [owner["name"] for owner in left["metadata"]["ownerReferences"]] == ["two"]
    store.delete("rayjobs", "ns", "two")
    assert store.list("secrets") == []


def test_a_new_object_whose_owner_does_not_exist_goes_at_once(store: Store) -> None:
    gone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gone", "uid": "no-such-uid"}}
    store.create("rayjobs", named("one", ownerReferences=owned_by(gone)))
    unknown = {**gone, "apiVersion": "apps/v1", "kind": "Deployment"}
    store.create("rayjobs", named("two", ownerReferences=owned_by(unknown)))
    assert [job["metadata"]["name"] for job in store.list("rayjobs")] == ["two"]


def running_pod(name: str, **metadata: Any) -> Object:
    return {**named(name, **metadata), "spec": {"nodeName": "node", "containers": []}}


def test_foreground_deletion_waits_for_what_blocks_it(store: Store) -> None:
    cluster = store.create("rayclusters", named("cluster"))
    store.create("pods", running_pod("pod", ownerReferences=owned_by(cluster)))
    events = heard(store)
    held = store.delete("rayclusters", "ns", "cluster", propagation="Foreground")
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert store.get("rayclusters", "ns", "cluster") is not None
    store.remove("pods", "ns", "pod")
    assert store.get("rayclusters", "ns", "cluster") is None
    gone = [(plural, name) for kind, plural, name in events if kind == "DELETED"]
    assert gone == [("pods", "pod"), ("rayclusters", "cluster")]


def test_orphans_stay_without_their_owner(store: Store) -> None:
    cluster = store.create("rayclusters", named("cluster"))
    store.create("secrets", named("left", ownerReferences=owned_by(cluster)))
    answer = store.delete("rayclusters", "ns", "cluster", propagation="Orphan")
    assert answer["metadata"]["finalizers"] == ["orphan"]
    (left,) = store.list("secrets")
    assert "ownerReferences" not in left["metadata"]
    assert store.list("rayclusters") == []


PODS: dict[str, tuple[Object, int | None, bool]] = {
    "a pod that runs stays until it has ended": (running_pod("pod"), None, True),
    "a pod that runs goes at once with a grace of 0": (running_pod("pod"), 0, False),
    "a pod without a node goes at once": (named("pod"), None, False),
    "a pod that has ended goes at once": ({**running_pod("pod"), "status": {"phase": "Failed"}}, None, False),
}


@pytest.mark.parametrize(("pod", "grace", "stays"), PODS.values(), ids=PODS)
def test_the_grace_of_pods(store: Store, pod: Object, grace: int | None, stays: bool) -> None:
    store.create("pods", pod)
    store.delete("pods", "ns", "pod", grace_seconds=grace)
    found = store.get("pods", "ns", "pod")
    assert (found is not None) is stays
    if found is not None:
        assert found["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:30Z"
        store.delete("pods", "ns", "pod", grace_seconds=0)
        assert store.get("pods", "ns", "pod") is None


def test_a_namespace_goes_with_what_is_in_it(store: Store) -> None:
    store.create("namespaces", {"metadata": {"name": "ns"}})
    store.create("secrets", named("one"))
    store.create("secrets", {"metadata": {"name": "two", "namespace": "other"}})
    store.delete("namespaces", "", "ns")
    assert [obj["metadata"]["name"] for obj in store.list("secrets")] == ["two"]


def test_the_past_can_be_listed_as_far_as_it_is_remembered(store: Store) -> None:
    one = store.create("secrets", named("one"))
    version = store.resource_version
    store.create("secrets", named("two"))
    store.patch("secrets", "ns", "one", {"data": {"a": "b"}}, "")
    store.delete("secrets", "ns", "one")
    past = store.snapshot("secrets", "ns", version)
    assert past is not None
    assert past.objects == [one]
    assert [change.type for change in store.events_since("secrets", "ns", version) or []] == [
        "ADDED",
        "MODIFIED",
        "DELETED",
    ]
    store.expire_history()
    assert store.snapshot("secrets", "ns", version) is None
    assert store.events_since("secrets", "ns", version) is None
    assert store.events_since("secrets", "ns", store.resource_version) == []


def test_a_full_history_forgets_its_oldest_change() -> None:
    store = Store(history=2)
    versions = [int(store.create("secrets", named(name))["metadata"]["resourceVersion"]) for name in "abc"]
    assert store.events_since("secrets", None, versions[0] - 1) is None
    found = store.events_since("secrets", None, versions[0]) or []
    assert [change.version for change in found] == versions[1:]


def test_a_dry_run_changes_nothing(store: Store) -> None:
    events = heard(store)
    made = store.create("secrets", named("one"), dry_run=True)
    assert "uid" in made["metadata"]
    assert "resourceVersion" not in made["metadata"]
    assert (store.list("secrets"), events) == ([], [])
