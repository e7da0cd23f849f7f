"""Whose an object is that has the wanted name, how a head is reached, and where its token stands."""

from typing import Any

import pytest

from dagster_ray.kuberay._head.dashboard import secret_name
from dagster_ray.kuberay._head.route import Access, Ends, checked_head_host, goes_direct, host_of
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._status.cluster_state import Head
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, whose

LABELS = {
    "app.kubernetes.io/managed-by": "dagster-ray",
    "dagster/run-id": "run-1",
    "dagster/step-key": "train",
    "dagster/resource-key": "ray_cluster",
}


def rayjob(
    creation: str, labels: dict[str, str] | None = None, status: str = "Initializing", **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {"labels": LABELS if labels is None else labels, "annotations": {CREATION_ANNOTATION: creation}},
        "spec": spec,
        "status": {"jobDeploymentStatus": status},
    }


WANTED = rayjob("mine")


@pytest.mark.parametrize(
    ("existing", "owner"),
    [
        pytest.param(rayjob("mine"), "ours", id="this very POST made it"),
        pytest.param(rayjob("mine", {}, "Complete"), "ours", id="this very POST made it, whatever became of it"),
        pytest.param(rayjob("theirs"), "ours", id="an earlier process of this step made it, and no driver came"),
        pytest.param(
            rayjob("theirs", status="Complete"), "used", id="an earlier process of this step made it, and it has ended"
        ),
        pytest.param(
            rayjob("theirs", jobId="01000000"), "used", id="an earlier process of this step made it, and used it"
        ),
        pytest.param(rayjob("theirs", {**LABELS, "dagster/run-id": "run-2"}), "foreign", id="another run made it"),
        pytest.param(rayjob("theirs", {}), "foreign", id="somebody else made it"),
        pytest.param({"metadata": {"name": "x"}}, "foreign", id="somebody else made it, without labels"),
    ],
)
def test_whose_an_object_is(existing: dict[str, Any], owner: str) -> None:
    assert whose(RAYJOBS, existing, WANTED) == owner


@pytest.mark.parametrize(
    ("existing", "owner"),
    [
        pytest.param(
            rayjob("theirs", status=""),
            "ours",
            id="an earlier process of this step made it, and any number of drivers may use it",
        ),
        pytest.param(
            {"metadata": {**WANTED["metadata"], "annotations": {}, "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            "used",
            id="an earlier process of this step made it, and it is being deleted",
        ),
        pytest.param(rayjob("theirs", {}), "foreign", id="somebody else made it"),
    ],
)
def test_whose_a_raycluster_is(existing: dict[str, Any], owner: str) -> None:
    assert whose(RAYCLUSTERS, existing, WANTED) == owner


def test_a_request_without_a_run_adopts_nothing() -> None:
    assert whose(RAYJOBS, {"metadata": {}}, {"metadata": {"annotations": {CREATION_ANNOTATION: "mine"}}}) == "foreign"


@pytest.mark.parametrize(
    ("access", "in_cluster", "head_host", "direct"),
    [
        pytest.param("auto", True, None, True, id="in a pod"),
        pytest.param("auto", False, None, False, id="on a laptop"),
        pytest.param("auto", False, "{cluster}.example.com", True, id="with a name outside"),
        pytest.param("direct", False, None, True, id="asked for"),
        pytest.param("port_forward", True, "{cluster}.example.com", False, id="asked for in a pod"),
    ],
)
def test_when_drivers_dial_the_head_itself(
    access: Access,
    in_cluster: bool,
    head_host: str | None,
    direct: bool,
) -> None:
    assert goes_direct(access, in_cluster=in_cluster, head_host=head_host) is direct


def test_the_name_of_a_head() -> None:
    head = Head("c", "c-head-svc", "pod", "10.0.0.7")
    assert host_of(head, "ray", None) == "c-head-svc.ray.svc"
    assert host_of(head, "ray", "{cluster}.{namespace}.example.com") == "c.ray.example.com"
    assert host_of(head, "ray", "{pod_ip}") == "10.0.0.7"


@pytest.mark.parametrize(
    "template", [pytest.param("{pod_ip}", id="plain"), pytest.param("[{pod_ip}]", id="in brackets")]
)
def test_an_ipv6_address_of_a_head_has_brackets_before_a_port_and_none_when_it_is_dialed(template: str) -> None:
    host = host_of(Head("c", "c-head-svc", "pod", "fd00:10::5"), "ray", template)
    route = Ends(host, 10001, 8265)
    assert (route.host, route.address) == ("fd00:10::5", "ray://[fd00:10::5]:10001")
    assert route.dashboard_url == Ends(host, None, 8265).address == "http://[fd00:10::5]:8265"
    assert route.place == "[fd00:10::5]:10001"


@pytest.mark.parametrize(
    "template",
    [pytest.param("{clustr}", id="misspelled"), pytest.param("{0}", id="a number"), pytest.param("{", id="open")],
)
def test_a_head_host_that_cannot_be_filled_in_is_refused_at_load(template: str) -> None:
    with pytest.raises(InvalidSpecError, match="head_host"):
        checked_head_host(template)


@pytest.mark.parametrize(
    ("options", "cluster", "name"),
    [
        pytest.param(None, "c", None, id="no options"),
        pytest.param({}, "c", None, id="no mode"),
        pytest.param({"mode": "disabled"}, "c", None, id="disabled"),
        pytest.param({"mode": "token"}, "c", "c", id="token"),
        pytest.param({"mode": "token", "secretName": "own"}, "c", "own", id="an own Secret"),
        pytest.param({"mode": "token"}, "a" * 3 + "-" + "b" * 49, "r" + "b" * 49, id="cut to a dash"),
        pytest.param({"mode": "token"}, "a" * 53, "a" * 50, id="cut to a letter"),
    ],
)
def test_which_secret_holds_the_token(options: dict[str, str] | None, cluster: str, name: str | None) -> None:
    assert secret_name({"authOptions": options}, cluster) == name
